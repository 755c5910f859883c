//! What the agent answers over HTTP.

use crate::agent::Place;
use crate::http::call;
use crate::master::{Master, command, framework};
use model::task::TaskState;

const EXECUTOR: &str = "/slave(1)/api/v1/executor";
const JSON: &str = "Content-Type: application/json";

#[test]
fn executors_are_refused_in_mesos_words() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), command("t", "sleep 1000"));
    session.follow("t", TaskState::Running);
    let ids = |framework: &str, executor: &str| {
        format!(r#""framework_id":{{"value":"{framework}"}},"executor_id":{{"value":"{executor}"}}"#)
    };
    let message = |framework: &str, executor: &str| {
        format!(r#"{{"type":"MESSAGE",{},"message":{{"data":"eA=="}}}}"#, ids(framework, executor))
    };
    for (method, headers, body, status, text) in [
        (
            "GET",
            vec![],
            String::new(),
            405,
            "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.",
        ),
        ("POST", vec![], "{}".into(), 400, "Expecting 'Content-Type' to be present"),
        (
            "POST",
            vec!["Content-Type: text/plain"],
            "{}".into(),
            415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
        ("POST", vec![JSON], message("G", "t"), 400, "Framework cannot be found"),
        ("POST", vec![JSON], message("F", "x"), 400, "Executor cannot be found"),
    ] {
        let answer = call(agent.address, method, EXECUTOR, &headers, &body);
        assert_eq!((answer.status, answer.body.as_str()), (status, text), "{method} {body}");
    }
    let told = call(agent.address, "POST", EXECUTOR, &[JSON], &message("F", "t"));
    assert_eq!((told.status, told.body.as_str()), (202, ""));
    assert!(told.head.to_lowercase().contains("content-length: 0"), "{}", told.head);
}

#[test]
fn state_has_what_mesos_shows_and_what_only_we_know() {
    let (place, master) = (Place::new(&["--attributes=rack:r1"]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), command("t", "sleep 1000"));
    session.follow("t", TaskState::Running);
    let state = agent.get("/slave(1)/state").json();
    let golden: serde_json::Value = serde_json::from_str(include_str!("../golden/agent-state.json")).unwrap();
    for (name, value) in golden.as_object().unwrap() {
        // A list of each thing, cut to one; and what only a build of the real one has.
        if !name.starts_with("git_") && !name.starts_with("build_") {
            let ours = state.get(name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(std::mem::discriminant(ours), std::mem::discriminant(value), "{name}");
        }
    }
    assert_eq!(state["id"], "M-S0");
    assert_eq!(state["attributes"]["rack"], "r1");
    assert_eq!(state["resources"]["cpus"], 4.0);
    let executor = &state["frameworks"][0]["executors"][0];
    let golden_executor = &golden["frameworks"][0]["executors"][0];
    for name in golden_executor.as_object().unwrap().keys() {
        assert!(executor.get(name).is_some(), "no {name} in an executor");
    }
    let task = &executor["tasks"][0];
    for name in golden_executor["tasks"][0].as_object().unwrap().keys() {
        assert!(task.get(name).is_some(), "no {name} in a task");
    }
    assert_eq!(task["state"], "TASK_RUNNING");
    assert_eq!(executor["name"], "Command Executor (Task: t) (Command: sh -c 'sleep 1000')");
    for controller in ["cpu", "memory", "pids"] {
        let enforcement = &state["ingot"]["enforcement"][controller];
        let enforced = enforcement["enforced"].as_bool().unwrap();
        assert!(enforced || enforcement["reason"].is_string(), "{enforcement}");
    }
    assert!(state["ingot"]["bpf"]["cpu"]["supported"].is_boolean());
    assert_eq!(agent.get("/health").status, 200);
    assert_eq!(agent.get("/version").json()["version"], "1.11.0");
    assert_eq!(agent.get("/state.json").status, 404);
    assert!(agent.get("/flags?jsonp=f").body.starts_with("f({"));
}

#[test]
fn figures_and_metrics_have_mesos_names() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), command("t", "sleep 1000"));
    session.follow("t", TaskState::Running);
    session.usage_until(|line| line.tasks == ["t"]);
    let statistics = agent.get("/monitor/statistics").json();
    assert_eq!(statistics[0]["executor_id"], "t");
    for name in ["cpus_limit", "cpus_user_time_secs", "cpus_system_time_secs", "mem_rss_bytes", "timestamp"] {
        assert!(statistics[0]["statistics"][name].is_number(), "{name} in {statistics}");
    }
    let containers = agent.get("/containers").json();
    assert!(containers[0]["status"]["executor_pid"].is_number(), "{containers}");
    let metrics = agent.get("/metrics/snapshot").json();
    assert_eq!(metrics["slave/tasks_running"], 1.0);
    assert_eq!(metrics["slave/registered"], 1.0);
    for name in include_str!("metrics.txt").lines() {
        assert!(metrics[name].is_number(), "{name}");
    }
}

#[test]
fn operators_ask_by_calls_too() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    // More than one piece of a download, and more than one answer holds.
    session.run(&framework(false), command("t", "head -c 700000 /dev/zero | tr '\\0' x; exec sleep 1000"));
    session.follow("t", TaskState::Running);
    session.usage_until(|line| line.tasks == ["t"]);
    let ask = |body: serde_json::Value| {
        let answer = call(agent.address, "POST", "/slave(1)/api/v1", &[JSON], &body.to_string());
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        answer.json()
    };
    let asked = ask(serde_json::json!({"type": "GET_CONTAINERS"}));
    let container = &asked["get_containers"]["containers"][0];
    assert_eq!(container["executor_id"]["value"], "t");
    assert!(container["resource_statistics"]["timestamp"].is_number(), "{container}");
    let tasks = ask(serde_json::json!({"type": "GET_TASKS"}));
    assert_eq!(tasks["get_tasks"]["launched_tasks"][0]["state"], "TASK_RUNNING");
    let directory = agent.get("/state").json()["frameworks"][0]["executors"][0]["directory"].clone();
    let path = format!("{}/stdout", directory.as_str().unwrap());
    let read = |length: u64| serde_json::json!({"type": "READ_FILE", "read_file": {"path": &path, "offset": 0, "length": length}});
    let deadline = std::time::Instant::now() + crate::agent::patience();
    while ask(read(0))["read_file"]["size"] != 700_000 {
        assert!(std::time::Instant::now() < deadline, "its output never came");
        crate::agent::pause();
    }
    assert_eq!(ask(read(3))["read_file"]["data"], "eHh4");
    let whole = agent.get(&format!("/files/download?path={path}"));
    assert!(whole.head.to_lowercase().contains("content-length: 700000"), "{}", whole.head);
    assert!(whole.body == "x".repeat(700_000), "{} bytes came", whole.body.len());
    let listed = ask(serde_json::json!({"type": "LIST_FILES", "list_files": {"path": directory}}));
    assert_eq!(listed["list_files"]["file_infos"][1]["size"], 700_000);
    let refused = call(agent.address, "POST", "/api/v1", &[JSON], "{\"type\": \"GET_MASTER\"}");
    assert_eq!(refused.body, "Failed to validate agent::Call: Expecting 'type' to be present");
}

#[test]
fn sandboxes_can_be_read_and_nothing_else() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let shell = "mkdir sub; ln -s /etc/passwd out; ln -s ../.. up; printf 'line one\\n'";
    session.run(&framework(false), command("t", shell));
    session.follow("t", TaskState::Finished);
    session.usage_until(|line| line.is_final);
    let state = agent.get("/state").json();
    let framework = &state["frameworks"]
        .as_array()
        .unwrap()
        .iter()
        .chain(state["completed_frameworks"].as_array().unwrap())
        .next()
        .unwrap();
    let executors = framework["executors"].as_array().unwrap().iter();
    let executor = executors.chain(framework["completed_executors"].as_array().unwrap()).next().unwrap();
    let directory = executor["directory"].as_str().unwrap();

    let listing = agent.get(&format!("/files/browse?path={directory}")).json();
    let paths: Vec<&str> =
        listing.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    let expected = ["out", "stderr", "stdout", "sub", "up"].map(|name| format!("{directory}/{name}"));
    assert_eq!(paths, expected);
    assert!(listing[0]["mode"].as_str().unwrap().starts_with('l'));
    assert!(listing[3]["mode"].as_str().unwrap().starts_with('d'));

    for path in [format!("{directory}/stdout"), "/frameworks/F/executors/t/runs/latest/stdout".to_owned()] {
        let part = agent.get(&format!("/files/read?path={path}&offset=5&length=3")).json();
        assert_eq!(part, serde_json::json!({ "data": "one", "offset": 5 }));
        let size = agent.get(&format!("/files/read?path={path}&offset=-1")).json();
        assert_eq!(size, serde_json::json!({ "data": "", "offset": 9 }));
    }
    let download = agent.get(&format!("/files/download?path={directory}/stdout"));
    assert_eq!(download.body, "line one\n");
    for header in ["content-length: 9", "content-disposition: attachment; filename=stdout"] {
        assert!(download.head.to_lowercase().contains(header), "{}", download.head);
    }
    for outside in ["out", "up", "up/../../..", "../../../../../../../../../../etc/passwd"] {
        for endpoint in ["read", "browse", "download"] {
            let answer = agent.get(&format!("/files/{endpoint}?path={directory}/{outside}&offset=0"));
            assert!(matches!(answer.status, 400 | 404), "{endpoint} {outside}: {answer:?}");
        }
    }
    assert_eq!(agent.get("/files/read?path=/etc/passwd").status, 404);
    assert_eq!(agent.get("/files/read").status, 400);
}
