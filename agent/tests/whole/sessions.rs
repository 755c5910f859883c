//! Commands in running containers: their output, their input, their terminals.

use crate::agent::until;
use crate::http::{Lasting, Sending};
use crate::master::{Master, framework};
use crate::nested::{Scene, processes};
use api::v1;
use base64::Engine;
use model::task::{TaskInfo, TaskState};
use serde_json::{Value, json};

const API: &str = "/api/v1";
const STREAMED: [&str; 3] =
    ["Content-Type: application/json", "Accept: application/recordio", "Message-Accept: application/json"];
const SENT: [&str; 3] = [
    "Content-Type: application/recordio",
    "Message-Content-Type: application/json",
    "Accept: application/json",
];

fn base64(text: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What comes out, as it comes.
pub struct Output {
    answer: Lasting,
    stdout: String,
    stderr: String,
}

impl Output {
    fn of(answer: Lasting) -> Self {
        Self { answer, stdout: String::new(), stderr: String::new() }
    }

    /// False at the end.
    fn more(&mut self) -> bool {
        let Some(record) = self.answer.record() else { return false };
        let message: Value = serde_json::from_slice(&record).unwrap();
        let text = |data: &Value| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(data.as_str().unwrap()).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        match (message["type"].as_str(), message["data"]["type"].as_str()) {
            (Some("DATA"), Some("STDOUT")) => self.stdout += &text(&message["data"]["data"]),
            (Some("DATA"), Some("STDERR")) => self.stderr += &text(&message["data"]["data"]),
            (Some("CONTROL"), _) => assert_eq!(message["control"]["type"], "HEARTBEAT"),
            other => panic!("{other:?}"),
        }
        true
    }

    fn until(&mut self, wanted: &str) {
        while !self.stdout.contains(wanted) {
            assert!(self.more(), "never {wanted:?} in {:?}", self.stdout);
        }
    }

    pub fn until_over(mut self) -> (String, String) {
        while self.more() {}
        (self.stdout, self.stderr)
    }
}

impl Scene {
    pub fn session(&self, path: &str, line: &str, tty: Option<Value>) -> Output {
        let container = tty.map(|tty| json!({"type": "MESOS", "tty_info": tty}));
        let mut launch = json!({"container_id": self.id(path), "command": {"value": line}});
        if let Some(container) = container {
            launch["container"] = container;
        }
        let call =
            json!({"type": "LAUNCH_NESTED_CONTAINER_SESSION", "launch_nested_container_session": launch});
        let answer = Lasting::open(self.agent.address, API, &STREAMED, &call.to_string());
        assert_eq!(answer.status, 200, "{}", answer.head);
        let head = answer.head.to_lowercase();
        assert!(head.contains("content-type: application/recordio"), "{head}");
        assert!(head.contains("message-content-type: application/json"), "{head}");
        Output::of(answer)
    }

    fn attach_output(&self, id: &Value) -> Output {
        let call =
            json!({"type": "ATTACH_CONTAINER_OUTPUT", "attach_container_output": {"container_id": id}});
        let answer = Lasting::open(self.agent.address, API, &STREAMED, &call.to_string());
        assert_eq!(answer.status, 200, "{}", answer.head);
        Output::of(answer)
    }

    fn attach_input(&self, id: &Value) -> Input {
        let mut request = Sending::open(self.agent.address, API, &SENT);
        let attach = json!({"type": "CONTAINER_ID", "container_id": id});
        let call = json!({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": attach});
        request.record(call.to_string().as_bytes());
        Input { request }
    }
}

/// The way in.
struct Input {
    request: Sending,
}

impl Input {
    fn send(&mut self, process_io: &Value) {
        let attach = json!({"type": "PROCESS_IO", "process_io": process_io});
        let call = json!({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": attach});
        self.request.record(call.to_string().as_bytes());
    }

    fn write(&mut self, text: &str) {
        let data = json!({"type": "STDIN", "data": base64(text.as_bytes())});
        self.send(&json!({"type": "DATA", "data": data}));
    }

    fn resize(&mut self, rows: u32, columns: u32) {
        let info = json!({"window_size": {"rows": rows, "columns": columns}});
        self.send(&json!({"type": "CONTROL", "control": {"type": "TTY_INFO", "tty_info": info}}));
    }
}

#[test]
fn a_session_shows_what_its_command_writes_and_how_it_ends() {
    let scene = Scene::new(&[]);
    let line = "echo out; echo err >&2; echo $MESOS_SANDBOX; pwd; exit 4";
    let (stdout, stderr) = scene.session("s", line, None).until_over();
    let sandbox = scene.agent.sandbox(&scene.root).display().to_string();
    assert_eq!((stdout.as_str(), stderr.as_str()), (&*format!("out\n{sandbox}\n{sandbox}\n"), "err\n"));
    assert_eq!(scene.exit_status("s"), 4 << 8);
    let kept = scene.agent.sandbox(&scene.root).join("containers/s/stdout");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), stdout);
    // More than any buffer on the way holds, to a reader who begins late: nothing is lost, and the command is held back.
    let much = scene.session("m", "seq 1 300000", None);
    let (stdout, _) = much.until_over();
    let expect: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(stdout == expect, "{} bytes of {}", stdout.len(), expect.len());
    assert_eq!(scene.exit_status("m"), 0);
}

#[test]
fn a_session_ends_with_its_connection() {
    let scene = Scene::new(&[]);
    let mut session = scene.session("s", "echo begun; sleep 2002 & sleep 2002", None);
    session.until("begun");
    until("both run", || processes("sleep 2002").len() == 2);
    drop(session);
    assert_eq!(scene.exit_status("s"), 9);
    until("neither runs", || processes("sleep 2002").is_empty());
    // And with an agent: there is no connection any more.
    let mut session = scene.session("t", "echo begun; sleep 2003", None);
    session.until("begun");
    let scene = scene.restart();
    assert_eq!(scene.exit_status("t"), 9);
    until("it does not run", || processes("sleep 2003").is_empty());
}

#[test]
fn what_is_sent_is_read_by_the_command() {
    let scene = Scene::new(&[]);
    let id = scene.id("s");
    let mut session = scene.session("s", "cat; echo over; exit 3", None);
    let mut input = scene.attach_input(&id);
    input.write("hello\n");
    input.send(&json!({"type": "CONTROL", "control": {"type": "HEARTBEAT", "heartbeat": {"interval": {"nanoseconds": 1}}}}));
    session.until("hello\n");
    let mut second = scene.attach_input(&id).request.end();
    assert_eq!((second.status, second.text().as_str()), (409, "Multiple input connections are not allowed"));
    assert_eq!(input.request.end().status, 200);
    // Whoever comes next goes on.
    let mut input = scene.attach_input(&id);
    input.write("again\n");
    session.until("again\n");
    input.write("");
    let (stdout, _) = session.until_over();
    assert_eq!(stdout, "hello\nagain\nover\n");
    // It is answered though it is not whole: there is nobody left to write to.
    assert_eq!(input.request.answer().status, 200);
    assert_eq!(scene.exit_status("s"), 3 << 8);
}

#[test]
fn a_session_may_have_a_terminal_whose_window_follows() {
    let scene = Scene::new(&[]);
    let size = json!({"window_size": {"rows": 30, "columns": 100}});
    let line = "trap 'stty size; echo changed' WINCH; tty; stty size; read line; echo got $line; \
                while ! read other; do :; done";
    let mut session = scene.session("s", line, Some(size));
    session.until("30 100\r\n");
    assert!(session.stdout.starts_with("/dev/pts/"), "{:?}", session.stdout);
    let mut input = scene.attach_input(&scene.id("s"));
    input.write("words\n");
    session.until("got words\r\n");
    input.resize(50, 132);
    session.until("50 132\r\nchanged\r\n");
    // Ctrl-C is for the terminal's own foreground.
    input.write("\u{3}");
    let (stdout, stderr) = session.until_over();
    assert!(stdout.contains("words\r\n") && stderr.is_empty(), "it echoes: {stdout:?}");
    assert_eq!(scene.exit_status("s") & 0x7f, 2);
}

/// A command task that has a terminal.
fn on_terminal(task_id: &str, line: &str) -> TaskInfo {
    let plain = crate::master::command(task_id, line);
    let mut info = ::api::convert::task::to_v1(&plain).unwrap();
    info.container = Some(v1::ContainerInfo {
        r#type: v1::container_info::Type::Mesos.into(),
        tty_info: Some(v1::TtyInfo { window_size: None }),
        ..v1::ContainerInfo::default()
    });
    ::api::convert::task::from_v1(&info).unwrap()
}

#[test]
fn a_task_on_a_terminal_outlives_its_agent_and_can_be_attached_to_by_many() {
    let (place, master) = (crate::agent::Place::new(&[]), Master::start());
    let (agent, mut session) = place.start(&master);
    session.register();
    let line = "tty; while read line; do echo heard $line; done; echo over";
    session.run(&framework(true), on_terminal("t", line));
    let told = session.follow("t", TaskState::Running);
    let root = told.last().unwrap().container.as_ref().unwrap().container_id.as_str().to_owned();
    let scene = Scene { place, master, session, agent, root };
    let id = json!({"value": scene.root});
    let (mut first, mut second) = (scene.attach_output(&id), scene.attach_output(&id));
    let mut input = scene.attach_input(&id);
    input.write("one\n");
    for seen in [&mut first, &mut second] {
        seen.until("heard one\r\n");
    }
    drop(first);
    input.write("two\n");
    second.until("heard two\r\n");
    drop((input, second));

    let mut scene = scene.restart();
    let mut output = scene.attach_output(&id);
    let mut input = scene.attach_input(&id);
    input.resize(12, 34);
    input.write("three\n");
    output.until("heard three\r\n");
    input.write("\u{4}");
    output.until("over\r\n");
    scene.session.follow("t", TaskState::Finished);
    let stdout = std::fs::read_to_string(scene.agent.sandbox(&scene.root).join("stdout")).unwrap();
    // What was typed before the task got as far is echoed before it.
    for heard in ["/dev/pts/", "heard one\r\n", "heard two\r\n", "heard three\r\n", "over\r\n"] {
        assert!(stdout.contains(heard), "{stdout:?}");
    }
}

#[test]
fn nonsense_on_the_way_in_is_refused_and_harms_nobody() {
    let scene = Scene::new(&[]);
    let id = scene.id("s");
    let mut session = scene.session("s", "cat", None);
    let refused = |bytes: &[u8]| {
        let mut input = scene.attach_input(&id);
        input.request.bytes(bytes);
        let mut answer = input.request.end();
        (answer.status, answer.text())
    };
    let expect = |got: (u16, String), status: u16, text: &str| {
        assert!(got.0 == status && got.1.contains(text), "{got:?}");
    };
    expect(refused(b"nonsense\n"), 400, "Failed to decode length 'nonsense'");
    expect(refused(b"99999999999999\n"), 400, "over the limit");
    expect(refused(b"2\n{]"), 400, "Failed to parse body into JSON");
    expect(
        refused(b"21\n{\"type\":\"GET_HEALTH\"}"),
        400,
        "Expecting 'attach_container_input' to be present",
    );
    let call = json!({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input":
        {"type": "PROCESS_IO", "process_io": {"type": "DATA", "data": {"type": "STDOUT", "data": "eA=="}}}});
    let record = format!("{}\n{call}", call.to_string().len());
    expect(refused(record.as_bytes()), 400, "Expecting 'process_io.data.type' to be 'STDIN'");
    let mut input = scene.attach_input(&id);
    input.resize(1, 1);
    let mut answer = input.request.end();
    expect((answer.status, answer.text()), 400, "the container has no terminal");

    let mut input = scene.attach_input(&json!({"value": "nobody"}));
    input.write("x");
    let mut answer = input.request.end();
    expect((answer.status, answer.text()), 404, "Container nobody cannot be found");
    let mut answer = scene.attach_input(&json!({"value": scene.root})).request.end();
    expect((answer.status, answer.text()), 500, "I/O switchboard server was disabled for this container");
    let mut answer = Sending::open(scene.agent.address, API, &SENT).end();
    expect((answer.status, answer.text()), 400, "Received EOF while reading request body");
    let mut other = Sending::open(scene.agent.address, API, &SENT);
    other.record(br#"{"type":"GET_HEALTH"}"#);
    let mut answer = other.end();
    expect((answer.status, answer.text()), 415, "is not supported for GET_HEALTH call");

    let mut input = scene.attach_input(&id);
    input.write("still here\n");
    session.until("still here\n");
}
