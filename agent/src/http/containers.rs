//! `/containers` and `/monitor/statistics`: what each container uses, in Mesos' names; what has none there, under `ingot`.

use super::detail::{Behind, Owners};
use super::{Facts, frameworks, statistics};
use crate::node::view::{ExecutorView, FrameworkView};
use api::json::{self, Encoded};
use api::legacy::Query;
use api::legacy::each::Each;
use api::v1::ContainerStatus;
use serde::{Serialize, Serializer};

/// A container that runs, and whose it is.
#[derive(Clone, Copy)]
pub(super) struct Container<'a> {
    pub(super) framework: &'a FrameworkView<'a>,
    pub(super) executor: &'a ExecutorView<'a>,
}

impl Container<'_> {
    pub(super) fn status(&self) -> ContainerStatus {
        ContainerStatus {
            container_id: Some(self.executor.container_id.into()),
            executor_pid: self.executor.pid,
            ..ContainerStatus::default()
        }
    }
}

/// Every executor has one until it has ended.
pub(super) fn containers<'f>(facts: &'f Facts<'_>) -> impl Iterator<Item = Container<'f>> {
    let all = |framework: &'f FrameworkView<'f>| {
        framework.executors.iter().map(move |executor| Container { framework, executor })
    };
    facts.known.frameworks.iter().flat_map(all).filter(|container| !container.executor.is_ended)
}

/// Whose each of them is, by its id.
pub(super) fn owners<'f>(facts: &'f Facts<'_>) -> Owners<'f> {
    containers(facts).map(|container| (container.executor.container_id.as_str(), container)).collect()
}

/// `/monitor/statistics`: only containers that were looked at.
pub(super) struct Statistics<'f, 'a>(pub(super) &'f Facts<'a>);

impl Serialize for Statistics<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let owners = owners(self.0);
        let entry = |container: Container<'_>| {
            let statistics = Shown::of(self.0, &owners, container)?;
            Some(Entry {
                container_id: None,
                status: None,
                statistics: Some(statistics),
                ..Entry::of(container)
            })
        };
        Each(|| containers(self.0).filter_map(entry)).serialize(serializer)
    }
}

/// `/containers`: those that the query admits, by the container's id, the framework's, or the framework's and executor's.
pub(super) struct Containers<'f, 'a> {
    facts: &'f Facts<'a>,
    query: &'f Query,
}

impl<'f, 'a> Containers<'f, 'a> {
    pub(super) fn of(facts: &'f Facts<'a>, query: &'f Query) -> Result<Self, &'static str> {
        let given = |name| query.get(name).is_some();
        match (given("container_id"), given("framework_id"), given("executor_id")) {
            (true, false, false) | (false, true, _) | (false, false, false) => Ok(Self { facts, query }),
            _ => Err(
                "Supported query parameters are container_id only, framework_id only, or executor_id and framework_id only",
            ),
        }
    }

    fn admits(&self, container: &Container<'_>) -> bool {
        self.query.admits("container_id", container.executor.container_id.as_str())
            && self.query.admits("framework_id", frameworks::id(container.framework))
            && self.query.admits("executor_id", container.executor.info.executor_id.as_str())
    }
}

impl Serialize for Containers<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let owners = owners(self.facts);
        let entry = |container: Container<'_>| {
            let status = json::value(&container.status());
            let container_id = container.executor.container_id.as_str().to_owned();
            Entry {
                container_id: Some(container_id),
                status: Some(status),
                statistics: Shown::of(self.facts, &owners, container),
                ..Entry::of(container)
            }
        };
        let admitted = || containers(self.facts).filter(|container| self.admits(container));
        Each(|| admitted().map(entry)).serialize(serializer)
    }
}

#[derive(Serialize)]
struct Entry<'d, 'f, 'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
    executor_id: String,
    executor_name: String,
    framework_id: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<Shown<'d, 'f, 'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Encoded>,
}

impl Entry<'_, '_, '_> {
    fn of(Container { framework, executor }: Container<'_>) -> Self {
        Self {
            container_id: None,
            executor_id: executor.info.executor_id.as_str().to_owned(),
            executor_name: frameworks::name(executor),
            framework_id: frameworks::id(framework).to_owned(),
            source: frameworks::source(executor).to_owned(),
            statistics: None,
            status: None,
        }
    }
}

/// Mesos' statistics, and under `ingot` what it has no names for.
struct Shown<'d, 'f, 'a>(Behind<'d, 'f, 'a>);

impl<'d, 'f, 'a> Shown<'d, 'f, 'a> {
    fn of(facts: &'f Facts<'a>, owners: &'d Owners<'f>, container: Container<'_>) -> Option<Self> {
        let figures = (facts.figures)(container.executor.container_id)?;
        Some(Self(Behind { facts, owners, figures }))
    }
}

impl Serialize for Shown<'_, '_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<B> {
            #[serde(flatten)]
            statistics: Encoded,
            ingot: B,
        }
        let Self(behind) = self;
        let statistics = json::value(&statistics::of(behind.facts, &behind.figures));
        Fields { statistics, ingot: behind }.serialize(serializer)
    }
}
