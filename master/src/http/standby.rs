//! What a master answers that does not lead: who does. As in Mesos, everything goes to the leader by a 307 whose address has
//! no scheme; only whether this process lives, and what it is, is its own affair.

use super::legacy::{self, Query};
use super::serve::{from_reply, plain};
use crate::standing::Stands;
use api::legacy::version::Version;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use leader::url::Place;

pub(super) fn answer(stands: &Stands, version: &'static str, request: &Request) -> Response {
    let uri = request.uri();
    let path = uri.path().trim_matches('/');
    let path = path.strip_prefix("master/").unwrap_or(path);
    match path {
        "health" => return from_reply(legacy::Reply::empty()),
        "version" => {
            let query = Query::parse(uri.query().unwrap_or_default());
            return from_reply(legacy::Reply::json(&Version::of(version), &query));
        }
        _ => {}
    }
    let Some(leader) = stands.leader() else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "No leader elected");
    };
    let at = Place { host: leader.hostname, port: leader.address.port() };
    // What was asked for, unless that is who leads.
    let asked = if path == "redirect" { "" } else { uri.path_and_query().map_or("", |asked| asked.as_str()) };
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
            let response = answer(&stands, "1.11.0", &request);
            let location = response.headers().get("location").and_then(|it| it.to_str().ok());
            (response.status().as_u16(), location.map(str::to_owned))
        };
        assert_eq!(ask("/redirect"), (503, None));
        assert_eq!(ask("/master/health"), (200, None));
        let address = "10.0.0.1:5050".parse().expect("an address");
        let leader = Info { id: "m".into(), hostname: "host".into(), address, version: "1.11.0".into() };
        sender.send_replace(Standing::Standby(Some(leader)));
        assert_eq!(ask("/version"), (200, None));
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
