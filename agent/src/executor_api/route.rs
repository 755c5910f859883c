//! Which path leads where. As in Mesos, a path with more parts than an endpoint's leads to that endpoint, and the prefix
//! `/slave(1)` may be there or not.

use crate::executor_api::body::{self, Answer};
use crate::executor_api::{call, files, metrics, monitor, state};
use crate::runtime::Agent;
use api::refusal::Refusal;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use std::rc::Rc;

/// The endpoints, longer ones before those that they begin with.
const ENDPOINTS: [&str; 11] = [
    "/api/v1/executor",
    "/monitor/statistics",
    "/metrics/snapshot",
    "/files/browse",
    "/files/read",
    "/files/download",
    "/containers",
    "/version",
    "/health",
    "/flags",
    "/state",
];

pub(crate) async fn answer(agent: &Rc<Agent>, head: &Parts, body: &Bytes) -> Answer {
    let path = percent_decoded(head.uri.path());
    let path = path.strip_prefix("/slave(1)").unwrap_or(&path);
    let Some(endpoint) = ENDPOINTS.into_iter().find(|endpoint| leads_to(path, endpoint)) else {
        return body::refusal(&Refusal::NotFound);
    };
    if endpoint == "/api/v1/executor" {
        return call::executor(agent, &head.method, &head.headers, body);
    }
    if head.method != Method::GET && (head.method != Method::POST || endpoint == "/flags") {
        return body::refusal(&Refusal::Method { allowed: "GET", got: head.method.to_string() });
    }
    let query = Query::of(head.uri.query().unwrap_or_default());
    let jsonp = query.get("jsonp");
    match endpoint {
        "/state" => body::json(&state::state(agent), jsonp),
        "/flags" => body::json(&state::flags(agent), jsonp),
        "/version" => body::json(&state::version(), jsonp),
        "/health" => body::empty(StatusCode::OK),
        "/monitor/statistics" => body::json(&monitor::statistics(agent), jsonp),
        "/containers" => body::json(&monitor::containers(agent), jsonp),
        "/metrics/snapshot" => body::json(&metrics::snapshot(agent), jsonp),
        "/files/browse" => files::browse(agent, &query).await,
        "/files/read" => files::read(agent, &query).await,
        _ => files::download(agent, &query).await,
    }
}

fn leads_to(path: &str, endpoint: &str) -> bool {
    path.strip_prefix(endpoint).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The part of a URL behind the question mark.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    fn of(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let decoded = |text: &str| percent_decoded(&text.replace('+', " "));
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decoded(name), decoded(value))
                })
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A `%` that no two hexadecimal digits follow stands for itself; what is not UTF-8 becomes a replacement character.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_paths_lead_to_shorter_endpoints() {
        for (path, endpoint) in [
            ("/state", Some("/state")),
            ("/state/", Some("/state")),
            ("/api/v1/executor/x", Some("/api/v1/executor")),
            ("/state.json", None),
            ("/statement", None),
            ("/", None),
        ] {
            assert_eq!(ENDPOINTS.into_iter().find(|endpoint| leads_to(path, endpoint)), endpoint, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::of("path=%2Fa%20b+c&offset=-1&x&y=%zz%");
        assert_eq!(query.get("path"), Some("/a b c"));
        assert_eq!(query.get("x"), Some(""));
        assert_eq!(query.get("y"), Some("%zz%"));
        assert_eq!(query.get("z"), None);
    }
}
