//! `/frameworks`, and frameworks in `/state` and `/state-summary`.

use super::tasks::{ShownExecutor, ShownOffer, brief};
use crate::cluster::snapshot::{FrameworkView, Snapshot};
use crate::cluster::tasks::Task;
use crate::usage::Table;
use api::convert::time;
use api::json::{self, Value};
use api::legacy::Query;
use api::legacy::amounts::Amounts;
use api::legacy::each::Each;
use api::legacy::task::labels;
use api::v1::{self, framework_info::capability};
use model::framework::Capabilities;
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// What all three documents say of a framework.
#[derive(Serialize)]
pub(super) struct Brief<'a> {
    id: &'a str,
    name: &'a str,
    used_resources: Amounts<'a>,
    offered_resources: Amounts<'a>,
    capabilities: Vec<&'static str>,
    hostname: &'a str,
    webui_url: &'a str,
    active: bool,
    connected: bool,
    recovered: bool,
}

impl<'a> Brief<'a> {
    pub(super) fn of(view: &'a FrameworkView) -> Self {
        Self {
            id: view.id.as_str(),
            name: &view.info.name,
            used_resources: Amounts::of(&view.used),
            offered_resources: Amounts::of(&view.offered),
            capabilities: capabilities(view.info.capabilities),
            hostname: &view.info.hostname,
            webui_url: view.info.webui_url.as_deref().unwrap_or_default(),
            active: view.is_active,
            connected: view.is_connected,
            recovered: view.is_recovered,
        }
    }
}

fn capabilities(set: Capabilities) -> Vec<&'static str> {
    let named = |number| capability::Type::try_from(i32::try_from(number).ok()?).ok();
    set.numbers().filter_map(named).map(|capability| capability.as_str_name()).collect()
}

/// A framework with its tasks, executors and offers.
pub(super) struct Full<'a> {
    view: &'a FrameworkView,
    table: &'a Table,
}

impl<'a> Full<'a> {
    pub(super) fn of(view: &'a FrameworkView, table: &'a Table) -> Self {
        Self { view, table }
    }

    fn tasks(&self, tasks: &'a [Arc<Task>]) -> impl Serialize + use<'a> {
        let table = self.table;
        Each(move || tasks.iter().map(move |task| brief(task, table)))
    }
}

/// The fields of [`Full`]. The lists are walked while they are written.
#[derive(Serialize)]
struct Fields<'a, T, O, E> {
    #[serde(flatten)]
    brief: Brief<'a>,
    user: &'a str,
    failover_timeout: f64,
    checkpoint: bool,
    registered_time: f64,
    unregistered_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    resources: Amounts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reregistered_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    tasks: T,
    unreachable_tasks: T,
    completed_tasks: T,
    offers: O,
    executors: E,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<Value<'a>>>,
    offer_constraints: json::View<'a>,
}

impl Serialize for Full<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (view, info) = (self.view, &self.view.info);
        let is_multi = info.capabilities.has(Capabilities::MULTI_ROLE);
        Fields {
            brief: Brief::of(view),
            user: &info.user,
            failover_timeout: info.failover_timeout_ns as f64 / 1e9,
            checkpoint: info.checkpoint,
            registered_time: time::seconds(view.registered),
            unregistered_time: view.unregistered.map_or(0.0, time::seconds),
            principal: info.principal.as_deref(),
            resources: Amounts::sum(view.used.iter().chain(view.offered.iter())),
            reregistered_time: view.reregistered.filter(|at| *at != view.registered).map(time::seconds),
            roles: is_multi.then(|| info.roles.iter().map(|role| role.as_str()).collect()),
            role: if is_multi { None } else { info.roles.first().map(|role| role.as_str()) },
            tasks: self.tasks(&view.tasks),
            unreachable_tasks: self.tasks(&view.unreachable_tasks),
            completed_tasks: self.tasks(&view.completed_tasks),
            offers: Each(|| view.offers.iter().map(|offer| ShownOffer::of(offer))),
            executors: Each(|| view.executors.iter().map(|executor| ShownExecutor::of(executor))),
            labels: labels(json::view::<v1::FrameworkInfo>(&info.body.0)),
            offer_constraints: json::view::<v1::scheduler::OfferConstraints>(&view.constraints.asked.0),
        }
        .serialize(serializer)
    }
}

/// `/frameworks`; `?framework_id=` narrows it to one.
pub(super) struct Frameworks<'a> {
    here: Vec<&'a Arc<FrameworkView>>,
    gone: Vec<&'a Arc<FrameworkView>>,
    table: &'a Table,
}

impl<'a> Frameworks<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, query: &Query) -> Self {
        let admits = |view: &&Arc<FrameworkView>| query.admits("framework_id", view.id.as_str());
        Self {
            here: snapshot.frameworks.iter().filter(admits).collect(),
            gone: snapshot.completed_frameworks.iter().filter(admits).collect(),
            table: &snapshot.usage,
        }
    }
}

impl Serialize for Frameworks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document<H, G> {
            frameworks: H,
            completed_frameworks: G,
            unregistered_frameworks: [(); 0],
        }
        Document {
            frameworks: Each(|| self.here.iter().map(|view| Full::of(view, self.table))),
            completed_frameworks: Each(|| self.gone.iter().map(|view| Full::of(view, self.table))),
            unregistered_frameworks: [],
        }
        .serialize(serializer)
    }
}
