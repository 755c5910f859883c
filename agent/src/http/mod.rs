//! What the agent tells people, pages and exporters: Mesos' JSON documents, the calls of the operator API that only read,
//! and the files of sandboxes. Rendered from [`Facts`], which nobody changes meanwhile; no socket, no clock. Only
//! [`files::Job::run`] and [`Scrape::write`] touch the world: the disk, and what `/proc` says of this process.

mod containers;
mod detail;
mod facts;
pub mod files;
mod frameworks;
mod held;
mod metrics;
mod operator;
mod prometheus;
mod qos;
mod state;
mod statistics;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod measured_tests;
#[cfg(test)]
mod tests;

pub use facts::{Facts, Figures, Known, Later, NestedView};
pub use prometheus::Scrape;

use crate::doctor;
use api::doctor::By;
use api::legacy::each::Pairs;
use api::legacy::version::Version;
use api::legacy::{Query, Reply, decode, duration};
use api::refusal::Refusal;
use api::v1;
use bytes::Bytes;
use http::request::Parts;

/// What a request gets.
#[derive(Debug)]
pub enum Answer {
    Reply(Reply),
    /// Something on disk: [`files::Job::run`], on a thread that may block, has the answer.
    File(files::Job),
    /// A call that acts on containers, checked: the runtime has the answer.
    Order(Box<Order>),
    /// Images that nobody uses are to be deleted, but for those.
    Prune(Vec<v1::Image>),
    /// A page of metrics, to be written likewise: [`Scrape::write`].
    Scrape(Box<Scrape>),
}

/// A call of the operator API about containers, which takes more than a look.
#[derive(Debug)]
pub struct Order {
    pub call: api::v1::agent::Call,
    pub kind: api::v1::agent::call::Type,
    /// How the answer is wanted.
    pub wanted: api::media::Body,
}

/// Answers a request with any method to any path but the executor API's.
///
/// As in Mesos, `/slave(1)` may stand in front, and what follows the name of a document is ignored: clients ask for
/// `/containers/` and `/api/v1/operator`.
pub fn answer(head: &Parts, body: &Bytes, facts: &Facts<'_>) -> Answer {
    let path = decode(head.uri.path());
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let mut parts = parts(&path);
    match (parts.next().unwrap_or_default(), parts.next()) {
        ("api", Some("v1")) => operator::answer(head, body, facts),
        ("files", Some(what)) => files::answer(what, &query, facts),
        ("metrics", None) => Answer::Scrape(Box::new(Scrape::of(facts))),
        (name, rest) => Answer::Reply(
            document(name, rest, &query, facts).unwrap_or_else(|| Reply::refused(&Refusal::NotFound)),
        ),
    }
}

/// Whether a request to this path is an executor's call, which is not answered here.
pub fn is_of_executor(path: &str) -> bool {
    parts(&decode(path)).take(3).eq(["api", "v1", "executor"])
}

/// Whether a request's body is a stream of records, which may last: a call to the operator API.
pub fn is_stream(head: &Parts) -> bool {
    let content_type = head.headers.get("content-type").and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|it| it.split(';').next()).unwrap_or_default().trim();
    head.method == http::Method::POST
        && essence.eq_ignore_ascii_case(api::media::RECORDIO)
        && !is_of_executor(head.uri.path())
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    let mut parts = path.trim_matches('/').split('/').peekable();
    parts.next_if(|part| *part == "slave(1)");
    parts
}

fn document(name: &str, rest: Option<&str>, query: &Query, facts: &Facts<'_>) -> Option<Reply> {
    Some(match (name, rest) {
        ("state", _) => Reply::json(&state::State(facts), query),
        ("flags", _) => Reply::json(&Pairs(|| [("flags", facts.flags)].into_iter()), query),
        ("version", _) => Reply::json(&Version::of(facts.version), query),
        ("health", _) => Reply::empty(),
        ("containers", _) => match containers::Containers::of(facts, query) {
            Ok(containers) => Reply::json(&containers, query),
            Err(why) => Reply::bad(why),
        },
        ("doctor", _) => {
            let mut report = doctor::report(facts.machine, facts.bpf, facts.enforcement, By::Agent);
            report.findings.extend(doctor::lost(&(facts.losses)()));
            Reply::json(&report, query)
        }
        ("monitor", Some("statistics")) => Reply::json(&containers::Statistics(facts), query),
        ("metrics", Some("snapshot")) => match query.get("timeout").map(duration) {
            Some(Err(why)) => Reply::bad(&format!("{why}.\n")),
            _ => Reply::json(&metrics::all(facts), query),
        },
        _ => return None,
    })
}
