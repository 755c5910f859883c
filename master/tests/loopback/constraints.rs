//! Offer constraints, from SUBSCRIBE and UPDATE_FRAMEWORK through the real allocator to offers and documents.

use super::http::{JSON, Scheduler, get, send};
use super::start;
use crate::agent::{Agent, info};
use serde_json::{Value, json};

fn framework() -> Value {
    json!({"user": "root", "name": "choosy", "roles": ["eng"], "capabilities": [{"type": "MULTI_ROLE"}]})
}

fn constraints(predicate: Value) -> Value {
    let constraint = json!({"selector": {"attribute_name": "rack"}, "predicate": predicate});
    json!({"role_constraints": {"eng": {"groups": [{"attribute_constraints": [constraint]}]}}})
}

fn racked(port: u16, attributes: &str) -> model::agent_info::AgentInfo {
    let attributes = api::convert::agent::attributes(attributes).expect("attributes");
    let body = api::convert::agent::body_of(attributes, None);
    model::agent_info::AgentInfo { body, ..info(port, "cpus:4;mem:128") }
}

#[test]
fn offers_come_of_agents_that_meet_the_constraints_until_they_are_changed() {
    let master = start();
    let at = master.address();
    let first = Agent::register_as(at, racked(5051, "rack:r1"));
    let second = Agent::register_as(at, racked(5052, "rack:r2"));
    let asked = constraints(json!({"text_matches": {"regex": "r[2-9]"}}));
    let subscribe = json!({"framework_info": framework(), "offer_constraints": asked});
    let mut scheduler = Scheduler::open_with(at, subscribe).subscribed();
    assert_eq!(scheduler.offer()["agent_id"]["value"], second.id.as_str());

    let shown = get(at, "/frameworks").json();
    assert_eq!(shown["frameworks"][0]["offer_constraints"], asked);
    let shown = send(at, "POST", "/api/v1", &[JSON], br#"{"type": "GET_FRAMEWORKS"}"#).json();
    assert_eq!(shown["get_frameworks"]["frameworks"][0]["offer_constraints"], asked);

    let mut info = framework();
    info["id"] = json!({"value": scheduler.framework_id});
    let update = |predicate: Value| {
        let update = json!({"framework_info": info, "offer_constraints": constraints(predicate)});
        scheduler.call("UPDATE_FRAMEWORK", "update_framework", update)
    };
    let refused = update(json!({"text_matches": {"regex": "r["}}));
    assert_eq!(refused.status, 400);
    let why = "'UpdateFramework' call is not valid: Offer constraints are not valid: A role eng has an invalid \
               'AttributeConstraint': Failed to construct regex from pattern 'r['";
    assert!(refused.text().starts_with(why), "{}", refused.text());
    assert_eq!(update(json!({"text_equals": {"value": "r1"}})).status, 200);
    assert_eq!(scheduler.offer()["agent_id"]["value"], first.id.as_str());
    master.stop();
}

#[test]
fn constraints_that_cannot_be_meant_end_the_subscription_with_an_error() {
    let master = start();
    let asked = json!({"role_constraints": {"ops": {"groups": []}}});
    let subscribe = json!({"framework_info": framework(), "offer_constraints": asked});
    let mut scheduler = Scheduler::open_with(master.address(), subscribe);
    let error = scheduler.next().expect("an event");
    assert_eq!(error["type"], "ERROR");
    let why =
        "Offer constraints specify `role_constraints` for a role 'ops' not contained in the set of roles";
    assert_eq!(error["error"]["message"], why);
    assert_eq!(scheduler.next(), None);
    master.stop();
}
