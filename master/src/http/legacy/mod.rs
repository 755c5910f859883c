//! The read-only JSON documents at Mesos' paths, our own below `/ingot`, and the GET calls of the operator API: rendered
//! from a published [`Snapshot`], which nothing can change meanwhile. No socket, no state; who asks and who may is decided
//! before.

mod agents;
mod frameworks;
mod history;
mod maintenance;
mod metrics;
mod operator;
mod prometheus;
mod quantities;
mod roles;
mod state;
mod summary;
mod tasks;
mod version;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod prometheus_tests;
#[cfg(test)]
mod tests;

pub use api::legacy::{Gauge, Query, Reply};
pub use operator::answer;
pub use prometheus::{Around, page};

use crate::cluster::snapshot::Snapshot;
use api::json;
use api::legacy::{duration, version::Version};

/// The document at `path`, or `None` when there is none there and the next handler may look.
///
/// With and without `/master` in front, and whatever follows the name of a document is ignored, as in Mesos: clients ask
/// for `/tasks/` and `/master/frameworks/`. `gauges` are figures that the snapshot does not know; they go into the metrics.
pub fn get(path: &str, query: &Query, snapshot: &Snapshot, gauges: &[Gauge]) -> Option<Reply> {
    let mut parts = path.trim_matches('/').split('/').skip_while(|part| *part == "master");
    let (name, rest) = (parts.next()?, parts.next());
    Some(match (name, rest) {
        ("state", _) => Reply::json(&state::State(snapshot), query),
        ("state-summary", _) => Reply::json(&summary::Summary(snapshot), query),
        ("slaves", _) => Reply::json(&agents::Slaves::of(snapshot, query), query),
        ("frameworks", _) => Reply::json(&frameworks::Frameworks::of(snapshot, query), query),
        ("tasks", _) => Reply::json(&tasks::Tasks::of(snapshot, query), query),
        ("roles", _) => Reply::json(&roles::Roles::of(snapshot), query),
        ("version", _) => Reply::json(&Version::of(snapshot.master.version), query),
        ("flags", _) => Reply::json(&version::Flags::of(snapshot), query),
        ("weights", _) => Reply::json(&roles::Weights(snapshot), query),
        ("quota", _) => Reply::json(&roles::Quotas(snapshot), query),
        ("maintenance", Some("schedule")) => {
            Reply::json(&json::value(&maintenance::schedule(snapshot)), query)
        }
        ("maintenance", Some("status")) => Reply::json(&json::value(&maintenance::status(snapshot)), query),
        ("metrics", Some("snapshot")) => match query.get("timeout").map(duration) {
            Some(Err(bad)) => Reply::bad(&format!("{bad}.\n")),
            _ => Reply::json(&metrics::all(snapshot, gauges), query),
        },
        ("ingot", Some("history")) => history::get(query, snapshot),
        ("system", Some("stats.json")) => Reply::json(&metrics::SystemStats(gauges), query),
        ("health", _) => Reply::empty(),
        ("redirect", None) => {
            Reply::redirect(format!("//{}:{}", snapshot.master.hostname, snapshot.master.address.port()))
        }
        _ => return None,
    })
}
