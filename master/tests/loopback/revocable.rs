//! What an agent lends, through the real allocator to schedulers that understand it, and to nobody else.

use super::http::{Scheduler, get, task};
use super::start;
use crate::agent::Agent;
use model::id::FrameworkId;
use model::resources::Resources;
use model::task::TaskState;
use serde_json::{Value, json};
use wire::message::ToMaster;

fn framework(capabilities: Value) -> Value {
    json!({"user": "root", "name": "f", "roles": ["*"], "capabilities": capabilities})
}

fn lend(agent: &mut Agent, text: &str) {
    let total = text.parse::<Resources>().expect("resources").revocable();
    agent.say(&ToMaster::Oversubscribed { total });
}

/// CPUs of an offer: its agent's own, and lent ones, which say so by an empty `revocable`.
fn cpus(offer: &Value) -> (f64, f64) {
    let parts =
        offer["resources"].as_array().expect("resources").iter().filter(|part| part["name"] == "cpus");
    let sum = |is_lent: bool| -> f64 {
        let meant = parts.clone().filter(|part| (part.get("revocable") == Some(&json!({}))) == is_lent);
        meant.filter_map(|part| part["scalar"]["value"].as_f64()).sum()
    };
    (sum(false), sum(true))
}

#[test]
fn what_is_lent_is_offered_used_shown_and_taken_back() {
    let master = start();
    let at = master.address();
    let mut agent = Agent::register(at, 5051, "cpus:4;mem:1024");
    lend(&mut agent, "cpus:2");
    let role = json!({"type": "MULTI_ROLE"});
    let mut plain = Scheduler::subscribe(at, framework(json!([role])));
    let whole = plain.offer();
    assert_eq!(cpus(&whole), (4.0, 0.0), "it does not understand what may be taken back");
    let both = json!([role, {"type": "REVOCABLE_RESOURCES"}]);
    let mut thrifty = Scheduler::subscribe(at, framework(both));
    let lent = thrifty.offer();
    assert_eq!(cpus(&lent), (0.0, 2.0));

    let mut wanted = task("t", &lent, 1.5);
    let parts: Vec<Value> = lent["resources"].as_array().expect("resources").clone();
    wanted["resources"] = json!([parts[0]]);
    wanted["resources"][0]["scalar"]["value"] = json!(1.5);
    thrifty.launch(&lent, json!([wanted]), 0.0);
    let ran = agent.next_run();
    assert!(ran.resources.iter().all(|part| part.is_revocable), "{}", ran.resources);
    let rest = thrifty.offer();
    assert_eq!(cpus(&rest), (0.0, 0.5));

    let shown = get(at, "/slaves").json()["slaves"][0].clone();
    assert_eq!(
        (&shown["resources"]["cpus"], &shown["resources"]["cpus_revocable"]),
        (&json!(4.0), &json!(2.0))
    );
    assert_eq!(shown["used_resources"]["cpus_revocable"], 1.5, "{shown}");
    assert_eq!(shown["offered_resources"]["cpus_revocable"], 0.5, "{shown}");
    let metrics = get(at, "/metrics/snapshot").json();
    let of = |what: &str| metrics[format!("master/cpus_revocable_{what}")].as_f64();
    assert_eq!((of("total"), of("used"), of("percent")), (Some(2.0), Some(1.5), Some(0.75)));
    assert_eq!(metrics["master/cpus_total"], 4.0);
    assert_eq!(metrics["master/messages_update_slave"], 1.0);
    let page = get(at, "/metrics");
    let line = "ingot_cluster_resource{resource=\"cpus_revocable\"} 2";
    assert!(page.text().lines().any(|it| it == line), "{}", page.text());

    lend(&mut agent, "cpus:1");
    assert_eq!(thrifty.expect("RESCIND")["rescind"]["offer_id"], rest["id"]);
    let id = FrameworkId::new(&thrifty.framework_id);
    agent.update(&id, &ran.task_id, TaskState::Failed);
    assert_eq!(thrifty.expect("UPDATE")["update"]["status"]["state"], "TASK_FAILED");
    assert_eq!(cpus(&thrifty.offer()), (0.0, 1.0), "what came back, as far as it is lent still");
    master.stop();
}
