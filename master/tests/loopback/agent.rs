//! An agent that says what its test tells it to.

use crate::PATIENCE;
use model::agent_info::AgentInfo;
use model::body::Body;
use model::id::{AgentId, FrameworkId, TaskId, UpdateId};
use model::task::{Source, TaskInfo, TaskState, TaskStatus};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use wire::frame::Reader;
use wire::message::{ToAgent, ToMaster};

pub(crate) struct Agent {
    pub(crate) stream: TcpStream,
    reader: Reader,
    pub(crate) id: AgentId,
    updates: u8,
}

pub(crate) fn info(port: u16, resources: &str) -> AgentInfo {
    AgentInfo {
        hostname: "localhost".into(),
        address: ([127, 0, 0, 1], port).into(),
        total: resources.parse().expect("resources"),
        boot_id: "boot".into(),
        version: "0.1.0".into(),
        body: Body::default(),
    }
}

impl Agent {
    pub(crate) fn connect(master: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(master).expect("the master listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("nodelay");
        stream.write_all(wire::PREAMBLE).expect("written");
        Self { stream, reader: Reader::default(), id: AgentId::new(""), updates: 0 }
    }

    pub(crate) fn register(master: SocketAddr, port: u16, resources: &str) -> Self {
        Self::register_as(master, info(port, resources))
    }

    pub(crate) fn register_as(master: SocketAddr, info: AgentInfo) -> Self {
        let mut agent = Self::connect(master);
        agent.say(&ToMaster::Register { info });
        match agent.hear() {
            ToAgent::Registered { agent_id, .. } => agent.id = agent_id,
            other => panic!("not registered: {other:?}"),
        }
        agent
    }

    pub(crate) fn say(&mut self, message: &ToMaster) {
        let frame = wire::encode_to_master(message).expect("it fits in a frame");
        self.stream.write_all(&frame).expect("written");
    }

    /// The next message. Pings are answered and not told.
    pub(crate) fn hear(&mut self) -> ToAgent {
        loop {
            match self.try_hear().expect("the session is open") {
                ToAgent::Ping { sequence } => self.say(&ToMaster::Pong { sequence }),
                other => return other,
            }
        }
    }

    /// `None` when the master has closed the session.
    pub(crate) fn try_hear(&mut self) -> Option<ToAgent> {
        loop {
            if let Some(payload) = self.reader.next().expect("frames") {
                return Some(wire::decode_to_agent(payload).expect("a message"));
            }
            match self.stream.read(self.reader.space()) {
                Ok(0) => return None,
                Ok(count) => self.reader.filled(count),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    pub(crate) fn next_run(&mut self) -> TaskInfo {
        match self.hear() {
            ToAgent::Run { task, .. } => task,
            other => panic!("not RUN: {other:?}"),
        }
    }

    pub(crate) fn update(&mut self, framework_id: &FrameworkId, task_id: &TaskId, state: TaskState) {
        self.updates += 1;
        let mut status = TaskStatus::made_by(Source::Executor, task_id.clone(), state, None, "");
        status.update_id = Some(UpdateId([self.updates; 16]));
        let framework_id = framework_id.clone();
        self.say(&ToMaster::Update { framework_id, status, latest_state: state });
    }
}
