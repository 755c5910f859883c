//! Many agents' sessions with next to nothing kept of each: a socket, an id, and what is left of a frame that has not come
//! whole yet.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use model::agent_info::AgentInfo;
use model::id::AgentId;
use wire::frame::{HEADER_BYTES, frame_length};
use wire::message::{ToAgent, ToMaster};

use super::files;
use super::turns::Turns;
use crate::clock;

/// For all of them to be registered.
const REGISTER_MAX: Duration = Duration::from_secs(120);

/// Connections opened before the master's answers are read.
const CONNECT_AT_ONCE: usize = 100;

/// What one read takes.
const READ_BYTES: usize = 256 << 10;

pub(crate) struct Agents {
    agents: Vec<Agent>,
    /// Where all of them read.
    buffer: Vec<u8>,
}

pub(crate) struct Agent {
    stream: TcpStream,
    /// Of a frame that is not whole; empty as a rule.
    partial: Vec<u8>,
    pub(super) id: Option<AgentId>,
}

impl Agents {
    /// Opens `count` sessions and registers an agent on each. Their numbers in `turns` are 0 and on.
    pub(super) fn register(
        count: usize,
        master: SocketAddrV4,
        resources: &str,
        turns: &mut Turns,
    ) -> anyhow::Result<Self> {
        let register =
            |number: usize, local| Ok(ToMaster::Register { info: info(local, number, resources)? });
        Self::introduce(count, master, turns, &register)
    }

    /// Opens `count` sessions, and says on each what `introduction` makes of its number and its own address. Until all are
    /// registered.
    pub(crate) fn introduce(
        count: usize,
        master: SocketAddrV4,
        turns: &mut Turns,
        introduction: &impl Fn(usize, SocketAddr) -> anyhow::Result<ToMaster>,
    ) -> anyhow::Result<Self> {
        let mut agents = Self { agents: Vec::with_capacity(count), buffer: vec![0; READ_BYTES] };
        let (mut ready, mut registered) = (Vec::new(), 0);
        let end = clock::now() + REGISTER_MAX;
        while registered < count {
            for _ in 0..CONNECT_AT_ONCE.min(count - agents.agents.len()) {
                agents.open(master, introduction, turns)?;
            }
            let due = (agents.agents.len() < count).then(clock::now);
            turns.next(due, &mut ready)?;
            for number in &ready {
                agents.hear(*number as usize, &mut |_, message| {
                    registered += usize::from(matches!(message, ToAgent::Registered { .. }));
                    Ok(())
                })?;
            }
            if clock::now() > end {
                bail!("{registered} of {count} agents registered within {} s", REGISTER_MAX.as_secs());
            }
        }
        Ok(agents)
    }

    fn open(
        &mut self,
        master: SocketAddrV4,
        introduction: &impl Fn(usize, SocketAddr) -> anyhow::Result<ToMaster>,
        turns: &Turns,
    ) -> anyhow::Result<()> {
        let number = self.agents.len();
        let mut stream = files::connect(number, master)?;
        let mut hello = wire::PREAMBLE.to_vec();
        hello.extend(wire::encode_to_master(&introduction(number, stream.local_addr()?)?)?);
        stream.write_all(&hello)?;
        stream.set_nonblocking(true)?;
        turns.add(&stream, number as u64)?;
        self.agents.push(Agent { stream, partial: Vec::new(), id: None });
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.agents.len()
    }

    pub(super) fn agent(&self, number: usize) -> &Agent {
        &self.agents[number]
    }

    /// The whole frame, or an error: an agent that cannot write has a master that does not read.
    pub(super) fn say(&mut self, number: usize, frame: &[u8]) -> anyhow::Result<()> {
        let written = self.agents[number].stream.write(frame);
        match written {
            Ok(count) if count == frame.len() => Ok(()),
            Ok(count) => bail!("the master took {count} of {} bytes of agent {number}", frame.len()),
            Err(error) => Err(error).with_context(|| format!("agent {number} speaks to the master")),
        }
    }

    /// Reads what has come for one agent. Pings are answered, and its id is noted, before it is told.
    pub(super) fn hear(
        &mut self,
        number: usize,
        tell: &mut impl FnMut(usize, ToAgent) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let agent = &mut self.agents[number];
        let kept = agent.partial.len();
        self.buffer[..kept].copy_from_slice(&agent.partial);
        let count = match agent.stream.read(&mut self.buffer[kept..]) {
            Ok(0) => bail!("the master closed the session of agent {number}"),
            Ok(count) => kept + count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("agent {number} hears the master")),
        };
        agent.partial.clear();
        let (mut at, mut pongs) = (0, Vec::new());
        while let Some(length) = frame_length(&self.buffer[at..count])?.filter(|length| at + length <= count)
        {
            match wire::decode_to_agent(&self.buffer[at + HEADER_BYTES..at + length])? {
                ToAgent::Ping { sequence } => {
                    pongs.extend(wire::encode_to_master(&ToMaster::Pong { sequence })?);
                }
                message => {
                    if let ToAgent::Registered { agent_id, .. } = &message {
                        agent.id = Some(agent_id.clone());
                    }
                    tell(number, message)?;
                }
            }
            at += length;
        }
        agent.partial.extend_from_slice(&self.buffer[at..count]);
        if at == count {
            agent.partial = Vec::new();
        }
        if pongs.is_empty() { Ok(()) } else { self.say(number, &pongs) }
    }

    /// Hears whoever has been told something, until `end`.
    pub(super) fn rest(&mut self, turns: &mut Turns, end: Instant) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        while clock::now() < end {
            turns.next(Some(end), &mut ready)?;
            for number in &ready {
                self.hear(*number as usize, &mut |_, _| Ok(()))?;
            }
        }
        Ok(())
    }
}

/// What an agent of a rack and a zone says of itself.
fn info(local: SocketAddr, number: usize, resources: &str) -> anyhow::Result<AgentInfo> {
    let attributes = api::convert::agent::attributes(&format!("rack:r{};zone:z{}", number / 40, number % 3))?;
    Ok(AgentInfo {
        hostname: format!("agent-{number}.example").into(),
        address: local,
        total: resources.parse().context("resources")?,
        boot_id: "5a2c1b0e-6e3c-4f0a-9a57-0c8f1d2e3b4a".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        body: api::convert::agent::body_of(attributes, None),
    })
}
