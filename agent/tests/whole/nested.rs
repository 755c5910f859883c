//! Containers in containers, by the agent's operator API.

use crate::agent::{Agent, Place, until};
use crate::http::{Answer, call};
use crate::master::{Master, Session, command, framework};
use crate::needs::{self, Need};
use crate::restart::files;
use model::task::TaskState;
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json";

/// An agent with a task, in whose container others are launched.
pub struct Scene {
    pub place: Place,
    pub master: Master,
    pub session: Session,
    pub agent: Agent,
    /// The task's container.
    pub root: String,
}

impl Scene {
    pub fn new(flags: &[&str]) -> Self {
        Self::with(flags, "sleep 1000")
    }

    pub fn with(flags: &[&str], line: &str) -> Self {
        let (place, master) = (Place::new(flags), Master::start());
        let (agent, mut session) = place.start(&master);
        session.register();
        session.run(&framework(true), command("t", line));
        let told = session.follow("t", TaskState::Running);
        let root = told.last().unwrap().container.as_ref().unwrap().container_id.as_str().to_owned();
        Self { place, master, session, agent, root }
    }

    /// The agent is killed, and comes back.
    pub fn restart(self) -> Self {
        let Self { place, master, session, agent, root } = self;
        agent.kill();
        drop(session);
        let (agent, mut session) = place.start(&master);
        session.register();
        Self { place, master, session, agent, root }
    }

    /// Of a container in the task's, or in one that is in that: `a.b`.
    pub fn id(&self, path: &str) -> Value {
        let nest = |parent: Value, id: &str| json!({"value": id, "parent": parent});
        path.split('.').fold(json!({"value": self.root}), nest)
    }

    pub fn post(&self, kind: &str, body: Value) -> Answer {
        let call_body = json!({"type": kind, kind.to_lowercase(): body});
        call(self.agent.address, "POST", "/api/v1", &[JSON], &call_body.to_string())
    }

    pub fn launch(&self, path: &str, line: &str) -> Answer {
        let body = json!({"container_id": self.id(path), "command": {"value": line}});
        self.post("LAUNCH_NESTED_CONTAINER", body)
    }

    pub fn of(&self, kind: &str, path: &str) -> Answer {
        self.post(kind, json!({"container_id": self.id(path)}))
    }

    /// Waits for its end; the wait status.
    pub fn exit_status(&self, path: &str) -> i64 {
        let told = self.of("WAIT_NESTED_CONTAINER", path);
        assert_eq!(told.status, 200, "{}", told.body);
        let told = told.json();
        assert_eq!(told["type"], "WAIT_NESTED_CONTAINER");
        told["wait_nested_container"]["exit_status"].as_i64().unwrap_or_else(|| panic!("{told}"))
    }
}

fn expect(answer: &Answer, status: u16, text: &str) {
    assert_eq!((answer.status, answer.body.as_str()), (status, text));
}

#[test]
fn a_nested_container_is_launched_waited_for_killed_and_removed() {
    let scene = Scene::new(&[]);
    expect(&scene.launch("a", "echo $MESOS_SANDBOX; pwd; exit 3"), 200, "");
    assert_eq!(scene.exit_status("a"), 3 << 8);
    assert_eq!(scene.exit_status("a"), 3 << 8, "it is told again");
    let sandbox = scene.agent.sandbox(&scene.root).join("containers/a");
    let name = sandbox.display().to_string();
    assert_eq!(std::fs::read_to_string(sandbox.join("stdout")).unwrap(), format!("{name}\n{name}\n"));
    expect(&scene.launch("a", "true"), 202, "");
    let gone = format!("Container '{}.a' cannot be found (or is already killed)", scene.root);
    expect(&scene.of("KILL_NESTED_CONTAINER", "a"), 404, &gone);
    expect(&scene.of("REMOVE_NESTED_CONTAINER", "a"), 200, "");
    assert!(!sandbox.exists());
    expect(
        &scene.of("WAIT_NESTED_CONTAINER", "a"),
        404,
        &format!("Container {}.a cannot be found", scene.root),
    );

    expect(&scene.launch("b", "sleep 1000 & sleep 1000"), 200, "");
    expect(&scene.launch("b", "true"), 202, "");
    expect(&scene.of("REMOVE_NESTED_CONTAINER", "b"), 400, "Nested container has not terminated yet");
    expect(&scene.of("KILL_NESTED_CONTAINER", "b"), 200, "");
    assert_eq!(scene.exit_status("b"), 9);
    let quick = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.02; done";
    expect(&scene.launch("c", quick), 200, "");
    let stdout = scene.agent.sandbox(&scene.root).join("containers/c/stdout");
    until("the trap is set", || std::fs::read_to_string(&stdout).is_ok_and(|it| it == "ready\n"));
    let body = json!({"container_id": scene.id("c"), "signal": 10});
    expect(&scene.post("KILL_CONTAINER", body), 200, "");
    let told = scene.of("WAIT_CONTAINER", "c").json();
    assert_eq!(told, json!({"type": "WAIT_CONTAINER", "wait_container": {"exit_status": 7 << 8}}));
}

#[test]
fn nested_containers_nest_and_end_with_what_they_are_in() {
    let mut scene = Scene::new(&[]);
    expect(&scene.launch("a", "sleep 1000"), 200, "");
    expect(&scene.launch("a.b", "sleep 1000"), 200, "");
    expect(&scene.launch("a.b.c", "sleep 1001"), 200, "");
    expect(&scene.launch("d", "sleep 1000"), 200, "");
    let containers = |body: &str| call(scene.agent.address, "POST", "/api/v1", &[JSON], body).json();
    let shown = containers(r#"{"type":"GET_CONTAINERS","get_containers":{"show_nested":true}}"#);
    let shown = shown["get_containers"]["containers"].as_array().unwrap();
    assert_eq!(shown.len(), 5);
    let ids: Vec<&Value> = shown.iter().map(|it| &it["container_id"]).collect();
    assert_eq!(ids[3], &scene.id("a.b.c"));
    assert!(shown[3]["container_status"]["executor_pid"].is_u64());
    let shown = containers(r#"{"type":"GET_CONTAINERS"}"#);
    assert_eq!(shown["get_containers"]["containers"].as_array().unwrap().len(), 1);
    let runs = |line: &str| processes(line).len();
    until("the innermost runs", || runs("sleep 1001") == 1);
    expect(&scene.of("KILL_NESTED_CONTAINER", "a"), 200, "");
    for path in ["a", "a.b", "a.b.c"] {
        assert_eq!(scene.exit_status(path), 9, "{path}");
    }
    until("the innermost is gone", || runs("sleep 1001") == 0);
    expect(&scene.launch("a.e", "true"), 400, &format!("Parent container {}.a does not exist", scene.root));
    let waits = {
        let (at, body) = (
            scene.agent.address,
            json!({"type": "WAIT_NESTED_CONTAINER",
            "wait_nested_container": {"container_id": scene.id("d")}}),
        );
        std::thread::spawn(move || call(at, "POST", "/api/v1", &[JSON], &body.to_string()))
    };
    scene.session.kill("t", None);
    scene.session.follow("t", TaskState::Killed);
    let told = waits.join().unwrap();
    assert!(told.status == 404 || told.json()["wait_nested_container"]["exit_status"] == 9, "{told:?}");
    until("its folders are gone", || !scene.place.work_dir().join("containers").join(&scene.root).exists());
}

#[test]
fn an_agent_that_comes_back_knows_its_nested_containers() {
    let scene = Scene::new(&[]);
    let go = scene.place.work_dir().join("go");
    expect(&scene.launch("over", "exit 5"), 200, "");
    assert_eq!(scene.exit_status("over"), 5 << 8);
    expect(&scene.launch("killed", "sleep 1000"), 200, "");
    expect(&scene.of("KILL_NESTED_CONTAINER", "killed"), 200, "");
    assert_eq!(scene.exit_status("killed"), 9);
    expect(
        &scene.launch("lasts", &format!("while [ ! -e {} ]; do sleep 0.05; done; exit 6", go.display())),
        200,
        "",
    );
    expect(&scene.launch("lasts.in", "sleep 1000"), 200, "");
    let scene = scene.restart();
    assert_eq!(scene.exit_status("over"), 5 << 8);
    assert_eq!(scene.exit_status("killed"), 9);
    expect(&scene.launch("lasts", "true"), 202, "");
    std::fs::write(&go, "").unwrap();
    assert_eq!(scene.exit_status("lasts"), 6 << 8);
    assert_eq!(scene.exit_status("lasts.in"), 9);

    std::fs::remove_file(&go).unwrap();
    expect(
        &scene.launch("away", &format!("while [ ! -e {} ]; do sleep 0.05; done; exit 8", go.display())),
        200,
        "",
    );
    let Scene { place, master, session, agent, root } = scene;
    agent.kill();
    drop(session);
    std::fs::write(&go, "").unwrap();
    let record = || {
        let of_away = |path: &std::path::PathBuf| path.ends_with("away/exit");
        files(&place.work_dir().join("containers")).into_iter().find(of_away)
    };
    until("it has ended", || {
        record().and_then(|it| std::fs::read(it).ok()).unwrap_or_default().iter().any(|byte| *byte != 0)
    });
    let (agent, mut session) = place.start(&master);
    session.register();
    let scene = Scene { place, master, session, agent, root };
    assert_eq!(scene.exit_status("away"), 8 << 8);
}

#[test]
fn calls_that_make_no_sense_are_refused_by_name() {
    let scene = Scene::new(&[]);
    let root = &scene.root;
    let launch = |id: Value, command: Value| {
        scene.post("LAUNCH_NESTED_CONTAINER", json!({"container_id": id, "command": command}))
    };
    let nowhere = json!({"value": "a", "parent": {"value": "nobody"}});
    expect(&launch(nowhere.clone(), json!({"value": "true"})), 400, "Parent container nobody does not exist");
    expect(&launch(scene.id("a"), json!({})), 400, "Shell command is not specified");
    expect(
        &launch(scene.id("a"), json!({"shell": false, "value": "/no/such/program"})),
        400,
        "execute /no/such/program: execve: No such file or directory",
    );
    assert_eq!(scene.of("WAIT_NESTED_CONTAINER", "a").status, 404, "nothing of it is left");
    assert!(!scene.agent.sandbox(root).join("containers/a").exists());
    expect(&launch(scene.id("a"), json!({"value": "true"})), 200, "");
    for (id, why) in [
        (
            json!({"value": "../../x", "parent": {"value": root}}),
            "'launch_nested_container.container_id' is invalid",
        ),
        (
            json!({"value": "a.b", "parent": {"value": root}}),
            "'ContainerID.value' 'a.b' contains invalid characters",
        ),
        (json!({"value": root}), "Expecting 'launch_nested_container.container_id.parent' to be present"),
    ] {
        let answer = launch(id, json!({"value": "true"}));
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains(why), "{}", answer.body);
    }
    let alone =
        scene.post("LAUNCH_CONTAINER", json!({"container_id": {"value": "x"}, "command": {"value": "true"}}));
    expect(&alone, 400, "Containers without a parent are launched for executors only");
    let unknown = "Container '{}' cannot be found (or is already killed)";
    expect(
        &scene.post("KILL_CONTAINER", json!({"container_id": {"value": "x"}})),
        404,
        &unknown.replace("{}", "x"),
    );
    expect(
        &scene.post("WAIT_CONTAINER", json!({"container_id": nowhere})),
        404,
        "Container nobody.a cannot be found",
    );
    expect(&scene.post("REMOVE_CONTAINER", json!({"container_id": nowhere})), 400, "Unknown root container");
    expect(
        &scene.post("ATTACH_CONTAINER_OUTPUT", json!({"container_id": {"value": root}})),
        500,
        "I/O switchboard server was disabled for this container",
    );
    expect(&launch(scene.id("s"), json!({"value": "sleep 1000"})), 200, "");
    let signal = scene.post("KILL_CONTAINER", json!({"container_id": scene.id("s"), "signal": 1000}));
    assert_eq!(signal.status, 400, "{}", signal.body);
}

/// What an executor's containers share lies in the executor's sandbox, and links in it lead nowhere else.
#[test]
fn a_nested_container_has_folders_of_its_parents_sandbox() {
    if !needs::met("a_nested_container_has_folders_of_its_parents_sandbox", &[Need::Root]) {
        return;
    }
    let scene =
        Scene::with(&[], "mkdir data; echo task > data/file; ln -s /etc out; echo > ready; exec sleep 1000");
    let sandbox = scene.agent.sandbox(&scene.root);
    until("the task is ready", || sandbox.join("ready").exists());
    let volume = |inside: &str, path: &str, kind: &str, mode: &str| {
        let source = json!({"type": "SANDBOX_PATH", "sandbox_path": {"type": kind, "path": path}});
        json!({"container_path": inside, "mode": mode, "source": source})
    };
    let launch = |path: &str, line: &str, volumes: Value| {
        let container = json!({"type": "MESOS", "volumes": volumes});
        let body =
            json!({"container_id": scene.id(path), "command": {"value": line}, "container": container});
        scene.post("LAUNCH_NESTED_CONTAINER", body)
    };
    let output = |path: &str| {
        let folder = path.split('.').fold(sandbox.clone(), |folder, id| folder.join("containers").join(id));
        std::fs::read_to_string(folder.join("stdout")).unwrap()
    };
    let volumes = json!([
        volume("shared", "data", "PARENT", "RW"),
        volume("fresh", "made/below", "PARENT", "RW"),
        volume("fixed", "data", "PARENT", "RO"),
        volume("again", "own", "SELF", "RW"),
    ]);
    let line = "cat shared/file; echo nested > shared/more; touch fresh/x again/y; touch fixed/z || echo fixed; exec sleep 1000";
    expect(&launch("a", line, volumes), 200, "");
    until("it has looked", || output("a").contains("fixed"));
    assert_eq!(output("a"), "task\nfixed\n");
    assert_eq!(std::fs::read_to_string(sandbox.join("data/more")).unwrap(), "nested\n");
    assert!(sandbox.join("made/below/x").exists() && sandbox.join("containers/a/own/y").exists());
    // The mounts are that container's alone, and of those in it: the parent of one of them is that container.
    assert!(!sandbox.join("containers/a/shared/file").exists());
    expect(&launch("a.c", "ls up", json!([volume("up", "own", "PARENT", "RW")])), 200, "");
    assert_eq!(scene.exit_status("a.c"), 0);
    assert_eq!(output("a.c"), "y\n");
    let out = launch("d", "true", json!([volume("out", "out", "PARENT", "RW")]));
    assert_eq!(out.status, 400);
    assert!(out.body.starts_with("isolate the container: ") && out.body.contains("/out"), "{}", out.body);
}

/// Numbers of the processes with this command line.
pub fn processes(line: &str) -> Vec<i32> {
    let wanted = line.replace(' ', "\0") + "\0";
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has =
        |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it == wanted.as_bytes());
    numbers.filter(has).collect()
}
