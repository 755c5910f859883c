//! What a master answers that does not lead: who does. As in Mesos, everything goes to the leader by a 307 whose address has
//! no scheme; only whether this process lives, what it is, and how it fares is its own affair.

use super::legacy::{self, Query, Reply};
use super::serve::{App, from_reply, plain};
use super::system;
use crate::cluster::counters::Counters;
use crate::cluster::snapshot::Snapshot;
use crate::standing::Stands;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use leader::url::Place;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn answer(app: &App, request: &Request) -> Response {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    match own(app, request.uri().path(), &query) {
        Some(reply) => from_reply(reply),
        None => leader(&app.stands, request),
    }
}

/// What this process itself knows: that it lives, its version, flags and figures.
fn own(app: &App, path: &str, query: &Query) -> Option<Reply> {
    let path = path.trim_matches('/');
    match path.strip_prefix("master/").unwrap_or(path) {
        "metrics" => {
            let around = legacy::Around { process: system::process(), ..legacy::Around::default() };
            Some(legacy::page(&nothing(app), &around, query))
        }
        path @ ("health" | "version" | "flags" | "metrics/snapshot" | "system/stats.json") => {
            let mut gauges = system::gauges();
            gauges.push(("master/elected".into(), 0.0));
            legacy::get(path, query, &nothing(app), &gauges)
        }
        _ => None,
    }
}

/// A cluster of which this master knows nothing.
fn nothing(app: &App) -> Snapshot {
    Snapshot {
        taken: crate::unix_now(),
        master: Arc::clone(&app.master),
        frameworks: Vec::new(),
        completed_frameworks: Vec::new(),
        agents: Vec::new(),
        withdrawn: BTreeMap::new(),
        unreachable_agents: Vec::new(),
        expected_agents: Vec::new(),
        machines: Arc::default(),
        inverse_answers: BTreeMap::new(),
        counters: Counters::default(),
        usage: Arc::clone(&app.usage),
    }
}

fn leader(stands: &Stands, request: &Request) -> Response {
    let Some(leader) = stands.leader() else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "No leader elected");
    };
    let at = Place { host: leader.hostname, port: leader.address.port() };
    // What was asked for, unless that is who leads.
    let uri = request.uri();
    let path = uri.path().trim_matches('/');
    let asked = if path.strip_prefix("master/").unwrap_or(path) == "redirect" {
        ""
    } else {
        uri.path_and_query().map_or("", |asked| asked.as_str())
    };
    from_reply(legacy::Reply::redirect(format!("//{at}{asked}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::{Standing, standing};
    use axum::body::Body;
    use leader::info::Info;

    #[test]
    fn a_standby_sends_everybody_to_the_leader() {
        let (sender, stands) = standing(Standing::Standby(None));
        let ask = |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
            let response = leader(&stands, &request);
            let location = response.headers().get("location").and_then(|it| it.to_str().ok());
            (response.status().as_u16(), location.map(str::to_owned))
        };
        assert_eq!(ask("/redirect"), (503, None));
        let address = "10.0.0.1:5050".parse().expect("an address");
        let info = Info { id: "m".into(), hostname: "host".into(), address, version: "1.11.0".into() };
        sender.send_replace(Standing::Standby(Some(info)));
        for (path, to) in [
            ("/redirect", "//host:5050"),
            ("/master/redirect", "//host:5050"),
            ("/api/v1/scheduler", "//host:5050/api/v1/scheduler"),
            ("/state?jsonp=f", "//host:5050/state?jsonp=f"),
        ] {
            assert_eq!(ask(path), (307, Some(to.to_owned())), "{path}");
        }
        sender.send_replace(Standing::Leading);
        assert!(stands.leads());
    }
}
