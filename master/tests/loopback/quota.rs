//! Quota and weights by operators' calls, through the real allocator to a scheduler's offers.

use super::http::{JSON, Scheduler, get, send};
use super::start;
use crate::agent::Agent;
use serde_json::{Value, json};

fn framework() -> Value {
    json!({
        "user": "root", "name": "limited", "roles": ["eng/web"], "capabilities": [{"type": "MULTI_ROLE"}]
    })
}

fn amounts(cpus: f64) -> Value {
    json!({"cpus": {"value": cpus}})
}

#[test]
fn a_limit_that_an_operator_sets_cuts_offers_until_it_is_taken_away() {
    let master = start();
    let at = master.address();
    let call = |call: Value| send(at, "POST", "/api/v1", &[JSON], call.to_string().as_bytes());
    let update = |limits: Value| {
        let configs = json!([{"role": "eng", "guarantees": {}, "limits": limits}]);
        call(json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": configs}}))
    };
    assert_eq!(get(at, "/quota").json(), json!({}));
    assert_eq!(update(amounts(3.0)).status, 200);
    let weights = json!({"weight_infos": [{"role": "eng", "weight": 2.5}]});
    assert_eq!(call(json!({"type": "UPDATE_WEIGHTS", "update_weights": weights})).status, 200);

    let config = json!({"role": "eng", "guarantees": {}, "limits": {"cpus": {"value": 3.0}}});
    assert_eq!(get(at, "/quota").json(), json!({"configs": [config]}));
    let shown = call(json!({"type": "GET_QUOTA"})).json();
    assert_eq!(shown["get_quota"]["status"]["configs"][0]["limits"], amounts(3.0), "{shown}");
    let roles = get(at, "/roles").json();
    let eng = roles["roles"].as_array().and_then(|all| all.iter().find(|role| role["name"] == "eng"));
    let eng = eng.expect("a role that has a quota is shown");
    assert_eq!((&eng["quota"]["limit"]["cpus"], &eng["weight"]), (&json!(3.0), &json!(2.5)));

    let _agent = Agent::register(at, 5051, "cpus:4;mem:128");
    let mut scheduler = Scheduler::subscribe(at, framework());
    let cpus = |event: &Value| -> f64 {
        let parts = event["offers"]["offers"].as_array().expect("offers").iter();
        let parts = parts.flat_map(|offer| offer["resources"].as_array().expect("resources").clone());
        parts.filter(|part| part["name"] == "cpus").filter_map(|part| part["scalar"]["value"].as_f64()).sum()
    };
    assert_eq!(cpus(&scheduler.expect("OFFERS")), 3.0);
    // Nothing is left that it must not have: the fourth is offered too.
    assert_eq!(update(json!({})).status, 200);
    assert_eq!(cpus(&scheduler.expect("OFFERS")), 1.0);
    assert_eq!(get(at, "/quota").json(), json!({}));
    let of_all = json!([{"role": "*", "guarantees": {}, "limits": amounts(3.0)}]);
    let refused = call(json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": of_all}}));
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("default '*' role is not supported"), "{refused:?}");
    master.stop();
}
