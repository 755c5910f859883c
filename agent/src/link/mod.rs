//! The connection to the master: dialled, introduced by the preamble, then frames both ways until it is lost.
//!
//! One task reads, one writes. What is to be sent waits in memory; a master that does not take it is given up when too
//! much waits, and everything that matters is told again after the next registration.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use leader::info::Info;
use leader::url::Place;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use wire::frame::{FrameError, Reader};
use wire::message::ToAgent;
use wire::{PREAMBLE, WireError};

/// A master that does not answer the call to connect by then is taken for dead.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What may wait to be sent, bytes. A healthy master takes everything at once; this much is minutes of a full agent.
const WAITING_BYTES_MAX: usize = 256 << 20;

/// Usage reports are left out while more than this waits, bytes: the next one says all that they would have said.
const REPORT_WAITING_BYTES_MAX: usize = 1 << 20;

/// Whom to dial.
#[derive(Clone, Debug)]
pub enum Target {
    Place(Place),
    /// Masters that know who of them leads.
    AnyOf(Vec<Place>),
    /// Who leads is watched elsewhere.
    Watched(watch::Receiver<Option<Info>>),
}

/// Why a connection is no more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("connect to {master}")]
    Connect { master: String, source: io::Error },
    #[error("connect to {master}: no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    ConnectTimeout { master: String },
    #[error("read from the master")]
    Read(#[source] io::Error),
    #[error("none of the masters knows who leads")]
    NoLeader,
    #[error("another master leads now")]
    OtherLeader,
    #[error("the master closed the connection")]
    Closed,
    #[error("the master's stream cannot be cut into frames")]
    Frame(#[source] FrameError),
    #[error("the master's message cannot be understood")]
    Message(#[source] WireError),
    #[error("write to the master")]
    Write(#[source] io::Error),
}

/// What a connection tells its owner. `Down` is the last, and comes unless the link is dropped before.
#[derive(Debug)]
pub enum LinkEvent {
    Up,
    Message(Box<ToAgent>),
    Down(LinkError),
}

/// A connection, or the attempt at one. Dropping it ends it at once.
#[derive(Debug)]
pub struct Link {
    frames: mpsc::UnboundedSender<Vec<u8>>,
    waiting_bytes: Rc<Cell<usize>>,
    task: AbortHandle,
}

impl Link {
    /// # Panics
    /// Outside of the agent's runtime.
    pub fn dial(target: Target, event: impl Fn(LinkEvent) + 'static) -> Self {
        let (frames, queue) = mpsc::unbounded_channel();
        let waiting_bytes = Rc::new(Cell::new(0));
        let counter = waiting_bytes.clone();
        let task = tokio::task::spawn_local(async move {
            let Err(error) = find_and_live(target, queue, &counter, &event).await;
            event(LinkEvent::Down(error));
        });
        Self { frames, waiting_bytes, task: task.abort_handle() }
    }

    /// False when the master does not keep up: the link should be given up then.
    pub fn send(&self, frame: Vec<u8>) -> bool {
        let waiting = self.waiting_bytes.get() + frame.len();
        if waiting > WAITING_BYTES_MAX {
            return false;
        }
        self.waiting_bytes.set(waiting);
        // A link whose task has ended has said so; what is sent to it is lost, as on the wire.
        _ = self.frames.send(frame);
        true
    }

    /// Whether something has not left yet.
    pub fn has_waiting(&self) -> bool {
        self.waiting_bytes.get() > 0
    }

    /// Whether a report may be sent without making the master's backlog worse.
    pub fn takes_reports(&self) -> bool {
        self.waiting_bytes.get() < REPORT_WAITING_BYTES_MAX
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Finds the leader, and speaks with it as long as it is one.
async fn find_and_live(
    target: Target,
    queue: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting_bytes: &Cell<usize>,
    event: &impl Fn(LinkEvent),
) -> Result<std::convert::Infallible, LinkError> {
    match target {
        Target::Place(place) => live(&place.to_string(), queue, waiting_bytes, event).await,
        Target::AnyOf(places) => {
            let leader = leader::ask::each(&places).await.ok_or(LinkError::NoLeader)?;
            live(&leader.to_string(), queue, waiting_bytes, event).await
        }
        Target::Watched(mut leading) => {
            // However long nobody leads: there is nothing else to do.
            let leader = match leading.wait_for(Option::is_some).await {
                Ok(leader) => leader.clone().ok_or(LinkError::NoLeader)?,
                Err(_) => return Err(LinkError::NoLeader),
            };
            let address = leader.place().to_string();
            tokio::select! {
                end = live(&address, queue, waiting_bytes, event) => end,
                // It may not know yet that it leads no longer: nothing more is heard from it.
                _ = leading.wait_for(|now| now.as_ref() != Some(&leader)) => Err(LinkError::OtherLeader),
            }
        }
    }
}

async fn live(
    master: &str,
    queue: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting_bytes: &Cell<usize>,
    event: &impl Fn(LinkEvent),
) -> Result<std::convert::Infallible, LinkError> {
    let failed = |source| LinkError::Connect { master: master.to_owned(), source };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(master))
        .await
        .map_err(|_| LinkError::ConnectTimeout { master: master.to_owned() })?
        .map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let (reader, mut writer) = stream.into_split();
    writer.write_all(PREAMBLE).await.map_err(LinkError::Write)?;
    event(LinkEvent::Up);
    tokio::select! {
        end = read(reader, event) => end,
        end = write(writer, queue, waiting_bytes) => end,
    }
}

async fn read(
    mut from: OwnedReadHalf,
    event: &impl Fn(LinkEvent),
) -> Result<std::convert::Infallible, LinkError> {
    let mut reader = Reader::default();
    loop {
        match from.read(reader.space()).await.map_err(LinkError::Read)? {
            0 => return Err(LinkError::Closed),
            count => reader.filled(count),
        }
        while let Some(payload) = reader.next().map_err(LinkError::Frame)? {
            event(LinkEvent::Message(Box::new(wire::decode_to_agent(payload).map_err(LinkError::Message)?)));
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting_bytes: &Cell<usize>,
) -> Result<std::convert::Infallible, LinkError> {
    while let Some(frame) = queue.recv().await {
        to.write_all(&frame).await.map_err(LinkError::Write)?;
        waiting_bytes.set(waiting_bytes.get() - frame.len());
    }
    // The link was dropped, and with it this task is.
    std::future::pending().await
}
