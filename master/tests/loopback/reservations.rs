//! Operators' older paths: from a form to what an agent is told it has, and what a framework is offered.

use super::http::{JSON, Scheduler, get, send};
use super::start;
use crate::agent::Agent;
use serde_json::{Value, json};
use wire::message::ToAgent;

/// The one that is offered.
fn volume_of(offer: &Value) -> Value {
    let parts = offer["resources"].as_array().expect("resources").iter();
    let mut volumes = parts.filter(|part| part["disk"]["persistence"]["id"] == "v");
    let volume = volumes.next().expect("the volume").clone();
    assert_eq!(volumes.next(), None);
    volume
}

#[test]
fn what_an_operator_reserves_and_makes_by_forms_is_there_and_goes_again() {
    let master = start();
    let at = master.address();
    let mut agent = Agent::register(at, 5051, "cpus:4;mem:128;disk:100");
    let id = agent.id.clone();
    let post = |path: &str, key: &str, resources: &Value| {
        let form = format!("slaveId={id}&{key}={}", resources.to_string().replace('"', "%22"));
        send(at, "POST", path, &[("Content-Type", "application/x-www-form-urlencoded")], form.as_bytes())
    };
    let reservation = json!([{"type": "DYNAMIC", "role": "eng"}]);
    let disk = |amount: f64| json!({"name": "disk", "type": "SCALAR", "scalar": {"value": amount}, "reservations": reservation});
    let mut volume = disk(40.0);
    volume["disk"] = json!({"persistence": {"id": "v"}, "volume": {"container_path": "data", "mode": "RW"}});
    let shown =
        |role: &str| get(at, "/slaves").json()["slaves"][0]["reserved_resources"][role]["disk"].clone();

    let reserved = post("/reserve", "resources", &json!([disk(60.0)]));
    assert_eq!((reserved.status, reserved.text()), (202, ""));
    assert_eq!(shown("eng"), 60.0);
    assert_eq!(post("/master/create-volumes", "volumes", &json!([volume])).status, 202);
    let framework = json!({"user": "root", "name": "f", "roles": ["eng"], "capabilities": [
        {"type": "MULTI_ROLE"}, {"type": "RESERVATION_REFINEMENT"}]});
    let mut scheduler = Scheduler::subscribe(at, framework);
    assert_eq!(volume_of(&scheduler.offer())["scalar"]["value"], 40.0);
    let call = |call: Value| send(at, "POST", "/api/v1", &[JSON], call.to_string().as_bytes());
    let grow = json!({"agent_id": {"value": id.as_str()}, "volume": volume, "addition": disk(20.0)});
    assert_eq!(call(json!({"type": "GROW_VOLUME", "grow_volume": grow})).status, 200);
    scheduler.expect("RESCIND");
    let offer = scheduler.offer();
    let shrink = json!({"type": "SHRINK_VOLUME", "shrink_volume": {
        "volume": volume_of(&offer), "subtract": {"value": 20.0}}});
    assert_eq!(volume_of(&offer)["scalar"]["value"], 60.0);
    let filters = json!({"refuse_seconds": 0.0});
    let accept = json!({"offer_ids": [offer["id"]], "operations": [shrink], "filters": filters});
    assert_eq!(scheduler.call("ACCEPT", "accept", accept).status, 202);
    let offer = scheduler.offer();
    assert_eq!(volume_of(&offer)["scalar"]["value"], 40.0);
    assert_eq!(post("/destroy-volumes", "volumes", &json!([volume])).status, 202);
    scheduler.expect("RESCIND");
    assert_eq!(post("/unreserve", "resources", &json!([disk(60.0)])).status, 202);
    assert_eq!(shown("eng"), Value::Null);
    for _ in 0..6 {
        let told = agent.hear();
        assert!(matches!(told, ToAgent::UpdateTotal { .. }), "{told:?}");
    }

    let too_much = post("/reserve", "resources", &json!([disk(1000.0)]));
    assert!(
        matches!(too_much.status, 400 | 409) && too_much.text().contains("does not contain"),
        "{too_much:?}"
    );
    let wrong = send(at, "GET", "/unreserve", &[], b"");
    assert_eq!((wrong.status, wrong.header("Allow")), (405, Some("POST")));
    master.stop();
}
