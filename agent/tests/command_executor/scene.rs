//! The two sides of a test: an agent's executor endpoint that does only what the test says, and the real executor, a process
//! of its own in a sandbox of its own.
#![expect(clippy::disallowed_methods, reason = "deadlines of a test")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use agent::sys::pidfd;
use agent::sys::processes::{Mark, Table};
use api::v1;
use api::v1::TaskState;
use api::v1::executor::{Call, Event, call, event};
use bytes::Bytes;
use tempfile::TempDir;

/// For anything that should come at once; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Takes calls: answers them as told and hands them to the test.
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    calls: mpsc::Receiver<(Call, TcpStream)>,
    /// How many of the next calls are refused, as by an agent that is still recovering.
    refusals: Arc<AtomicU32>,
}

impl Agent {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let (sender, calls) = mpsc::channel();
        let refusals = Arc::new(AtomicU32::new(0));
        let refuse = Arc::clone(&refusals);
        // The threads end with the sockets, and with the process at the latest.
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (sender, refuse) = (sender.clone(), Arc::clone(&refuse));
                std::thread::spawn(move || serve(socket, &sender, &refuse));
            }
        });
        Self { address, calls, refusals }
    }

    pub(crate) fn refuse_next(&self, count: u32) {
        self.refusals.store(count, Ordering::SeqCst);
    }

    fn next(&self) -> (Call, TcpStream) {
        self.calls.recv_timeout(PATIENCE).expect("the executor should have called")
    }

    /// The next call is a SUBSCRIBE; here it is, and the stream that answers it.
    pub(crate) fn subscribe(&self) -> (call::Subscribe, Stream) {
        let (call, socket) = self.next();
        assert_eq!(call.r#type(), call::Type::Subscribe);
        assert_eq!((&*call.framework_id.value, &*call.executor_id.value), ("framework", "task"));
        (call.subscribe.expect("a SUBSCRIBE has one"), Stream { socket })
    }

    /// The next call is an UPDATE to this state.
    pub(crate) fn update(&self, state: TaskState) -> v1::TaskStatus {
        let (call, _) = self.next();
        let status = call.update.expect("an UPDATE").status;
        assert_eq!(status.state(), state, "{:?}", status.message);
        assert_eq!(status.source(), v1::task_status::Source::Executor);
        assert_eq!(status.uuid.as_ref().map(Bytes::len), Some(16));
        assert_eq!(status.executor_id.as_ref().map(|it| &*it.value), Some("task"));
        status
    }

    pub(crate) fn has_no_call(&self) -> bool {
        self.calls.try_recv().is_err()
    }
}

/// Reads the requests of one connection until it ends or is a stream.
fn serve(socket: TcpStream, sender: &mpsc::Sender<(Call, TcpStream)>, refusals: &AtomicU32) {
    let Ok(reader) = socket.try_clone() else { return };
    let mut reader = BufReader::new(reader);
    while let Some(call) = read_call(&mut reader) {
        let is_refused =
            refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let is_stream = call.r#type() == call::Type::Subscribe && !is_refused;
        let answer = match (is_refused, is_stream) {
            (true, _) => "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            (_, true) => {
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nTransfer-Encoding: chunked\r\n\r\n"
            }
            _ => "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
        };
        let Ok(mut writer) = socket.try_clone() else { return };
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
        if !is_refused && (sender.send((call, writer)).is_err() || is_stream) {
            return;
        }
    }
}

fn read_call(reader: &mut impl BufRead) -> Option<Call> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(api::protobuf::decode_shared(body.into()).expect("a call"))
}

/// What answers a SUBSCRIBE. Dropped, the connection ends.
pub(crate) struct Stream {
    socket: TcpStream,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

impl Stream {
    fn send(&mut self, r#type: event::Type, mut event: Event) {
        event.set_type(r#type);
        let record = api::protobuf::encode(&event);
        let mut chunk = format!("{}\n", record.len()).into_bytes();
        chunk.extend_from_slice(&record);
        let mut bytes = format!("{:x}\r\n", chunk.len()).into_bytes();
        bytes.extend_from_slice(&chunk);
        bytes.extend_from_slice(b"\r\n");
        self.socket.write_all(&bytes).expect("the executor listens");
    }

    pub(crate) fn subscribed(&mut self, capabilities: &[v1::framework_info::capability::Type]) {
        let capability = |it: &_| v1::framework_info::Capability { r#type: Some(i32::from(*it)) };
        let framework_info = v1::FrameworkInfo {
            user: "nobody".to_owned(),
            name: "test".to_owned(),
            capabilities: capabilities.iter().map(capability).collect(),
            ..Default::default()
        };
        let executor_info = v1::ExecutorInfo {
            executor_id: v1::ExecutorId { value: "task".to_owned() },
            ..Default::default()
        };
        let agent_info = v1::AgentInfo { hostname: "localhost".to_owned(), ..Default::default() };
        let subscribed = event::Subscribed { executor_info, framework_info, agent_info, container_id: None };
        self.send(event::Type::Subscribed, Event { subscribed: Some(subscribed), ..Default::default() });
    }

    pub(crate) fn launch(&mut self, task: v1::TaskInfo) {
        self.send(event::Type::Launch, Event { launch: Some(event::Launch { task }), ..Default::default() });
    }

    pub(crate) fn kill(&mut self, grace: Option<Duration>) {
        let kill_policy = grace.map(|grace| v1::KillPolicy { grace_period: Some(duration(grace)) });
        let kill = event::Kill { task_id: task_id(), kill_policy };
        self.send(event::Type::Kill, Event { kill: Some(kill), ..Default::default() });
    }

    pub(crate) fn shutdown(&mut self) {
        self.send(event::Type::Shutdown, Event::default());
    }

    pub(crate) fn acknowledge(&mut self, status: &v1::TaskStatus) {
        let uuid = status.uuid.clone().expect("every update has one");
        let acknowledged = event::Acknowledged { task_id: status.task_id.clone(), uuid };
        self.send(
            event::Type::Acknowledged,
            Event { acknowledged: Some(acknowledged), ..Default::default() },
        );
    }
}

fn task_id() -> v1::TaskId {
    v1::TaskId { value: "task".to_owned() }
}

pub(crate) fn duration(duration: Duration) -> v1::DurationInfo {
    v1::DurationInfo { nanoseconds: duration.as_nanos() as i64 }
}

pub(crate) fn task(command: v1::CommandInfo) -> v1::TaskInfo {
    v1::TaskInfo {
        name: "test".to_owned(),
        task_id: task_id(),
        agent_id: v1::AgentId { value: "agent".to_owned() },
        command: Some(command),
        ..Default::default()
    }
}

pub(crate) fn shell(line: &str) -> v1::TaskInfo {
    task(v1::CommandInfo { value: Some(line.to_owned()), ..Default::default() })
}

/// The real thing. Dropped, it and its command end.
pub(crate) struct Executor {
    child: Child,
    sandbox: TempDir,
}

impl Executor {
    /// As the agent starts it for a framework without checkpoints, with these variables on top.
    pub(crate) fn start(agent: &Agent, variables: &[(&str, &str)]) -> Self {
        let endpoint = agent.address.to_string();
        let given = [
            ("MESOS_AGENT_ENDPOINT", &*endpoint),
            ("MESOS_FRAMEWORK_ID", "framework"),
            ("MESOS_EXECUTOR_ID", "task"),
            ("MESOS_CHECKPOINT", "0"),
            ("PATH", "/usr/bin:/bin"),
        ];
        Self::start_with(given.into_iter().chain(variables.iter().copied()))
    }

    pub(crate) fn start_with<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let sandbox = tempfile::tempdir().expect("a temporary folder");
        let file = |name| File::create(sandbox.path().join(name)).expect("it is ours");
        let child = Command::new(env!("CARGO_BIN_EXE_ingot-agent"))
            .arg("command-executor")
            .env_clear()
            .env("MESOS_SANDBOX", sandbox.path())
            .envs(variables)
            .current_dir(&sandbox)
            .stdin(std::process::Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("it was built");
        Self { child, sandbox }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits until a file of the sandbox holds a line.
    pub(crate) fn wait_for_line(&self, name: &str) -> String {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let text = self.read(name);
            if text.ends_with('\n') {
                return text.trim_end().to_owned();
            }
            assert!(Instant::now() < give_up, "waited in vain for a line in {name}");
            // A file does not tell that it has grown: a short look-out for nothing, then another look.
            let pause = nix::poll::PollTimeout::from(2u8);
            nix::poll::poll(&mut [], pause).expect("nothing to go wrong");
        }
    }

    /// Its exit, within the patience of a test.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for_end(self.pid());
        self.child.try_wait().expect("it is our child").expect("it has ended")
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the executor's stderr:\n{}", self.read("stderr"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // As the agent does with a container: what the command left behind ends, too.
        let environment = format!("MESOS_SANDBOX={}", self.sandbox.path().display());
        let mark = Mark { leader: 0, leader_start_ticks: 0, environment };
        for left in Table::read().members(&mark) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(left.pid), nix::sys::signal::SIGKILL);
        }
    }
}

/// Waits until a process has ended; it may have done so already.
pub(crate) fn wait_for_end(pid: i32) {
    let Ok(process) = pidfd::open(pid) else { return };
    let ended = pidfd::wait_for_end(&[process.as_fd()], Some(PATIENCE)).expect("poll");
    assert_eq!(ended, 1, "process {pid} does not end");
}
