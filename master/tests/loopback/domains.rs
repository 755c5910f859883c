//! Where masters and agents are, from the wire to offers and documents.

use super::http::{JSON, Scheduler, get, send};
use super::start_with;
use crate::agent::{Agent, info};
use master::config::Config;
use model::agent_info::AgentInfo;
use serde_json::{Value, json};
use wire::message::ToMaster;

fn domain(region: &str) -> Value {
    json!({"fault_domain": {"region": {"name": region}, "zone": {"name": format!("{region}-1")}}})
}

fn placed(port: u16, region: &str) -> AgentInfo {
    let domain = api::convert::agent::domain_of(region, &format!("{region}-1"));
    let body = api::convert::agent::body_of(Vec::new(), Some(domain));
    AgentInfo { body, ..info(port, "cpus:4;mem:128") }
}

fn config(more: &[&str]) -> Config {
    let args = ["ingot-master", "--port=0"].iter().chain(more);
    Config::parse(args.map(std::ffi::OsString::from), &|_| None).expect("good flags")
}

#[test]
fn agents_elsewhere_are_offered_to_frameworks_that_are_aware_of_regions() {
    let flag = format!("--domain={}", domain("eu"));
    let master = start_with(config(&[&flag]));
    let at = master.address();
    let far = Agent::register_as(at, placed(5051, "us"));
    let near = Agent::register_as(at, placed(5052, "eu"));
    let framework = |name: &str, can: &[&str]| {
        let capabilities: Vec<_> = can.iter().map(|kind| json!({"type": kind})).collect();
        json!({"user": "root", "name": name, "roles": [name], "capabilities": capabilities})
    };
    let mut home = Scheduler::subscribe(at, framework("home", &["MULTI_ROLE"]));
    let offer = home.offer();
    assert_eq!((&offer["agent_id"]["value"], &offer["domain"]), (&json!(near.id.as_str()), &domain("eu")));
    let mut aware = Scheduler::subscribe(at, framework("aware", &["MULTI_ROLE", "REGION_AWARE"]));
    let offer = aware.offer();
    assert_eq!((&offer["agent_id"]["value"], &offer["domain"]), (&json!(far.id.as_str()), &domain("us")));

    let state = get(at, "/state").json();
    assert_eq!(state["domain"], domain("eu"));
    let slaves = state["slaves"].as_array().expect("slaves");
    assert!(slaves.iter().any(|slave| slave["domain"] == domain("us")), "{state}");
    let call =
        |kind: &str| send(at, "POST", "/api/v1", &[JSON], json!({"type": kind}).to_string().as_bytes());
    let master_info = &call("GET_MASTER").json()["get_master"]["master_info"];
    assert_eq!(master_info["domain"], domain("eu"));
    let agents = call("GET_AGENTS").json();
    let agents = agents["get_agents"]["agents"].as_array().expect("agents");
    assert!(agents.iter().any(|agent| agent["agent_info"]["domain"] == domain("us")), "{agents:?}");
    master.stop();
}

#[test]
fn an_agent_is_not_taken_where_its_region_cannot_be_told() {
    for (more, body) in [
        (&[][..], placed(5051, "eu")),
        (
            &[
                "--domain={\"fault_domain\":{\"region\":{\"name\":\"eu\"},\"zone\":{\"name\":\"a\"}}}",
                "--require_agent_domain",
            ],
            info(5051, "cpus:1;mem:64"),
        ),
    ] {
        let master = start_with(config(more));
        let mut agent = Agent::connect(master.address());
        agent.say(&ToMaster::Register { info: body });
        assert!(agent.try_hear().is_none(), "it is sent away without a word, to try again");
        assert_eq!(get(master.address(), "/slaves").json()["slaves"], json!([]));
        master.stop();
    }
}
