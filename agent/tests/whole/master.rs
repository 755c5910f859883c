//! A master that says what the test wants it to say.

use crate::agent::patience;
use ::api::v1;
use model::framework::FrameworkInfo;
use model::id::{AgentId, FrameworkId, MasterId, TaskId, UpdateId};
use model::task::{TaskInfo, TaskState, TaskStatus};
use model::usage::Usage;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use wire::Incoming;
use wire::frame::Reader;
use wire::message::{Reregister, ToAgent, ToMaster};
use wire::report::{Member, Members, Rows};

/// This master never pings: longer than a test takes on an emulated machine.
const PING_TIMEOUT: Duration = Duration::from_hours(1);

pub struct Master {
    listener: TcpListener,
}

/// One agent's connection.
pub struct Session {
    stream: TcpStream,
    reader: Reader,
    pub introduction: Introduction,
    /// Lines of usage reports that came while something else was waited for.
    pub usage: Vec<UsageLine>,
    /// Tasks of each row of the newest layout; `None` is nobody's row.
    rows: Vec<Option<Vec<String>>>,
}

pub enum Heard {
    Message(Box<ToMaster>),
    /// In time; or the agent has ended.
    Nothing,
}

pub enum Introduction {
    New,
    Again(Box<Reregister>),
}

#[derive(Clone, Debug)]
pub struct UsageLine {
    pub tasks: Vec<String>,
    pub is_final: bool,
    pub usage: Usage,
}

impl Master {
    pub fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next agent's connection, and what it says of itself. It awaits an answer then.
    pub fn accept(&self) -> Session {
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut preamble = [0; 8];
        stream.read_exact(&mut preamble).unwrap();
        assert_eq!(&preamble, wire::PREAMBLE);
        let (reader, usage) = (Reader::default(), Vec::new());
        let mut session =
            Session { stream, reader, introduction: Introduction::New, usage, rows: Vec::new() };
        match session.next() {
            ToMaster::Register { .. } => {}
            ToMaster::Reregister(known) => session.introduction = Introduction::Again(Box::new(known)),
            other => panic!("introduced itself by {other:?}"),
        }
        session
    }
}

impl Session {
    pub fn say(&mut self, message: &ToAgent) {
        self.stream.write_all(&wire::encode_to_agent(message).unwrap()).unwrap();
    }

    pub fn register(&mut self) {
        self.admit(Vec::new());
    }

    /// The agent is asked about these tasks, which it did not name.
    pub fn admit(&mut self, reconcile: Vec<(FrameworkId, TaskId)>) {
        self.say(&ToAgent::Registered {
            agent_id: AgentId::new("M-S0"),
            master_id: MasterId::new("M"),
            ping_timeout_ms: PING_TIMEOUT.as_millis().try_into().unwrap(),
            reconcile,
        });
    }

    /// To an agent that may be no more.
    pub fn try_say(&mut self, message: &ToAgent) {
        let _ = self.stream.write_all(&wire::encode_to_agent(message).unwrap());
    }

    /// What the agent says next, but for usage reports, if it does before that moment or its end.
    pub fn hear_until(&mut self, moment: Instant) -> Heard {
        loop {
            if let Some(message) = self.heard() {
                return Heard::Message(Box::new(message));
            }
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Nothing;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let read = self.stream.read(self.reader.space());
            self.stream.set_read_timeout(Some(patience())).unwrap();
            match read {
                Ok(count) if count > 0 => self.reader.filled(count),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => return Heard::Nothing,
            }
        }
    }

    /// What the agent says next, but for usage reports.
    pub fn next(&mut self) -> ToMaster {
        loop {
            if let Some(message) = self.heard() {
                return message;
            }
            assert!(self.read() > 0, "the agent hung up");
        }
    }

    /// Every usage line of an agent that has ended, to the last it got out.
    pub fn usage_to_the_end(mut self) -> Vec<UsageLine> {
        loop {
            while self.heard().is_some() {}
            if self.read() == 0 {
                return self.usage;
            }
        }
    }

    /// The next message of what was read; usage reports are taken down.
    fn heard(&mut self) -> Option<ToMaster> {
        while let Some(payload) = self.reader.next().unwrap() {
            match wire::decode_to_master(payload).unwrap() {
                Incoming::Message(message) => return Some(*message),
                Incoming::Usage(report) => {
                    let content = report.content().unwrap();
                    let mut see = |members: &[Option<Vec<String>>], rows: &Rows<'_>, is_final| {
                        for (at, tasks) in members.iter().enumerate() {
                            let Some(tasks) = tasks.clone() else { continue };
                            let (words, sources) = rows.row(at).expect("a row a member");
                            let usage = Usage::from_words(words, sources);
                            self.usage.push(UsageLine { tasks, is_final, usage });
                        }
                    };
                    if let Some(running) = content.running {
                        running.members.iter().for_each(|members| self.rows = tasks(*members));
                        see(&self.rows, &running.rows, false);
                    }
                    see(&tasks(content.over), &content.over_figures, true);
                }
            }
        }
        None
    }

    /// How many bytes came; 0 after the last.
    fn read(&mut self) -> usize {
        let count = self.stream.read(self.reader.space()).expect("the agent says something in time");
        self.reader.filled(count);
        count
    }

    /// Waits for a usage line.
    pub fn usage_until(&mut self, wanted: impl Fn(&UsageLine) -> bool) -> UsageLine {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(line) = self.usage.iter().find(|line| wanted(line)) {
                return line.clone();
            }
            assert!(Instant::now() < deadline, "no such usage: {:?}", self.usage);
            // Ping, so that `next` comes back though nothing else happens.
            self.say(&ToAgent::Ping { sequence: 7 });
            while self.next() != (ToMaster::Pong { sequence: 7 }) {}
        }
    }

    /// The next update, not yet acknowledged.
    pub fn update(&mut self) -> TaskStatus {
        loop {
            match self.next() {
                ToMaster::Update { status, .. } => return status,
                ToMaster::ExecutorExited { .. } | ToMaster::Pong { .. } => {}
                other => panic!("instead of an update: {other:?}"),
            }
        }
    }

    pub fn acknowledge(&mut self, status: &TaskStatus) {
        let (framework_id, task_id) = (FrameworkId::new("F"), status.task_id.clone());
        let update_id: UpdateId = status.update_id.unwrap();
        self.say(&ToAgent::Acknowledge { framework_id, task_id, update_id });
    }

    /// Acknowledges every update of the task until, and with, the one that tells `state`.
    pub fn follow(&mut self, task_id: &str, state: TaskState) -> Vec<TaskStatus> {
        let mut told = Vec::new();
        loop {
            let status = self.update();
            self.acknowledge(&status);
            // What an agent said last before it was killed, the next one may have to say again.
            if matches!(self.introduction, Introduction::Again(_)) && status.task_id.as_str() != task_id {
                continue;
            }
            assert_eq!(status.task_id.as_str(), task_id);
            told.push(status);
            let last = told.last().unwrap();
            if last.state == state {
                return told;
            }
            assert!(!last.state.is_terminal(), "ended otherwise: {last:?}");
        }
    }

    pub fn run(&mut self, framework: &FrameworkInfo, task: TaskInfo) {
        self.say(&ToAgent::Run { framework: framework.clone(), task, starts_executor: true });
    }

    pub fn kill(&mut self, task_id: &str, grace_ns: Option<u64>) {
        let (framework_id, task_id) = (FrameworkId::new("F"), TaskId::new(task_id));
        self.say(&ToAgent::Kill { framework_id, task_id, grace_ns });
    }
}

pub fn framework(checkpoint: bool) -> FrameworkInfo {
    let info = v1::FrameworkInfo {
        id: Some(v1::FrameworkId { value: "F".to_owned() }),
        name: "test".to_owned(),
        user: "root".to_owned(),
        checkpoint: Some(checkpoint),
        ..v1::FrameworkInfo::default()
    };
    ::api::convert::framework::from_v1(&info).unwrap()
}

/// A command task.
pub fn command(task_id: &str, shell: &str) -> TaskInfo {
    let scalar = |name: &str, value| v1::Resource {
        name: name.to_owned(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(v1::value::Scalar { value }),
        allocation_info: Some(v1::resource::AllocationInfo { role: Some("*".to_owned()) }),
        ..v1::Resource::default()
    };
    let info = v1::TaskInfo {
        task_id: v1::TaskId { value: task_id.to_owned() },
        name: task_id.to_owned(),
        agent_id: v1::AgentId { value: "M-S0".to_owned() },
        command: Some(v1::CommandInfo { value: Some(shell.to_owned()), ..v1::CommandInfo::default() }),
        resources: vec![scalar("cpus", 0.1), scalar("mem", 64.0)],
        ..v1::TaskInfo::default()
    };
    ::api::convert::task::from_v1(&info).unwrap()
}

fn tasks(members: Members<'_>) -> Vec<Option<Vec<String>>> {
    let of = |member: Member<'_>| member.tasks().unwrap().map(|task| task.unwrap().to_owned()).collect();
    members.iter().map(|member| member.unwrap().map(of)).collect()
}
