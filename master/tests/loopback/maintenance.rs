//! Maintenance from the operator's schedule to the machine that is back, over both kinds of paths.

use super::http::{JSON, Scheduler, framework, get, send};
use super::start;
use crate::agent::Agent;
use serde_json::{Value, json};
use wire::message::ToAgent;

#[test]
fn a_machine_drains_goes_down_and_comes_up() {
    let master = start();
    let at = master.address();
    let mut agent = Agent::register(at, 5051, "cpus:4;mem:128");
    let host = get(at, "/slaves").json()["slaves"][0]["hostname"].clone();
    let machines = json!([{"hostname": host, "ip": "127.0.0.1"}]);
    let mut scheduler = Scheduler::subscribe(at, framework());
    assert_eq!(scheduler.offer().get("unavailability"), None);

    let unavailability = json!({"start": {"nanoseconds": 7}, "duration": {"nanoseconds": 8}});
    let schedule = json!({"windows": [{"machine_ids": machines, "unavailability": unavailability}]});
    let posted = send(at, "POST", "/maintenance/schedule", &[], schedule.to_string().as_bytes());
    assert_eq!((posted.status, posted.text()), (200, ""));
    assert_eq!(get(at, "/master/maintenance/schedule").json(), schedule);
    let call = |call: Value| send(at, "POST", "/api/v1", &[JSON], call.to_string().as_bytes());
    let shown = call(json!({"type": "GET_MAINTENANCE_SCHEDULE"})).json();
    assert_eq!(shown["get_maintenance_schedule"]["schedule"], schedule);

    let others = ["RESCIND", "OFFERS"];
    let asked =
        scheduler.expect_among("INVERSE_OFFERS", &others)["inverse_offers"]["inverse_offers"][0].clone();
    assert_eq!((&asked["unavailability"], &asked["url"]["path"]), (&unavailability, &json!("/slave(1)")));
    assert_eq!(asked["agent_id"]["value"], agent.id.as_str());
    let answer = json!({"inverse_offer_ids": [asked["id"]], "filters": {"refuse_seconds": 3600}});
    let taken = scheduler.call("DECLINE_INVERSE_OFFERS", "decline_inverse_offers", answer);
    assert_eq!(taken.status, 202);
    let status = get(at, "/maintenance/status").json();
    let draining = &status["draining_machines"][0];
    assert_eq!(
        (&draining["id"], &draining["statuses"][0]["status"]),
        (&machines[0], &json!("DECLINE")),
        "{status}"
    );

    let down = send(at, "POST", "/machine/down", &[], machines.to_string().as_bytes());
    assert_eq!((down.status, down.text()), (200, ""));
    let ToAgent::Refused { reason } = agent.hear() else { panic!("another message") };
    assert_eq!(&*reason, "Operator initiated 'Machine DOWN'");
    scheduler.expect_among("FAILURE", &["RESCIND", "OFFERS", "RESCIND_INVERSE_OFFER"]);
    assert_eq!(get(at, "/maintenance/status").json(), json!({"down_machines": machines}));
    let again = send(at, "POST", "/machine/down", &[], machines.to_string().as_bytes());
    assert_eq!(again.status, 400);
    assert!(again.text().ends_with("is not in DRAINING mode and cannot be brought down"), "{again:?}");

    let up = call(json!({"type": "STOP_MAINTENANCE", "stop_maintenance": {"machines": machines}}));
    assert_eq!((up.status, up.text()), (200, ""));
    assert_eq!(get(at, "/maintenance/schedule").json(), json!({}));
    let _agent = Agent::register(at, 5052, "cpus:4;mem:128");
    assert_eq!(scheduler.offer().get("unavailability"), None);
    let wrong = send(at, "GET", "/machine/up", &[], b"");
    assert_eq!((wrong.status, wrong.header("Allow")), (405, Some("POST")));
    master.stop();
}
