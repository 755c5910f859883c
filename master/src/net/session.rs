//! One agent's session: frames in, frames out.

use super::figures;
use super::receive::{Came, Kept, Scratch};
use crate::cluster::input::{Input, SessionId};
use crate::driver::Post;
use crate::usage::{Block, Writer};
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Write};
use wire::frame::FrameError;
use wire::{Incoming, WireError};

/// Bytes that may wait to be written to one agent: two of the largest frames. An agent that takes less is closed; it
/// comes back and is told again.
pub(super) const QUEUE_BYTES_MAX: usize = 2 * model::limits::FRAME_BYTES_MAX;

/// Bytes read from one session before the others have their turn.
pub(super) const READ_BYTES_MAX: usize = 1 << 20;

/// Frames handed to the kernel in one call.
const WRITE_FRAMES_MAX: usize = 64;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the agent closed it")]
    Closed,
    #[error("reading failed")]
    Read(#[source] std::io::Error),
    #[error("writing failed")]
    Write(#[source] std::io::Error),
    #[error("what it sent is no frame")]
    Frame(#[source] FrameError),
    #[error("what it sent is no message")]
    Message(#[source] WireError),
    #[error("more than {QUEUE_BYTES_MAX} bytes wait to be taken by the agent")]
    TooSlow,
    #[error("{0}")]
    Asked(&'static str),
}

/// Whether there may be more to read although nobody will say so again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Drained,
    More,
}

pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) stream: TcpStream,
    pub(super) peer: std::net::SocketAddr,
    kept: Kept,
    /// Whole frames; of the first, `written` bytes are gone.
    queue: VecDeque<Vec<u8>>,
    written: usize,
    queued_bytes: usize,
    /// Where its figures stand.
    pub(super) block: Block,
    /// The agent has, or may have, ended its side: it is to be read until it has no more. Set to begin with, as what was told of
    /// it while it was a guest is not known.
    pub(super) is_ending: bool,
    /// On the poller's lists of those to be read, and to be written.
    pub(super) is_unread: bool,
    pub(super) is_unwritten: bool,
    /// To be closed once what the socket takes at once is written, and why.
    pub(super) closing: Option<&'static str>,
}

impl Session {
    pub(super) fn new(id: SessionId, stream: TcpStream, peer: std::net::SocketAddr) -> Self {
        Self {
            id,
            stream,
            peer,
            kept: Kept::default(),
            queue: VecDeque::new(),
            written: 0,
            queued_bytes: 0,
            block: Block::default(),
            is_ending: true,
            is_unread: false,
            is_unwritten: false,
            closing: None,
        }
    }

    /// Reads and passes on what has come, up to [`READ_BYTES_MAX`].
    pub(super) fn read(
        &mut self,
        scratch: &mut Scratch,
        post: &Post,
        usage: &mut Writer,
    ) -> Result<Rest, End> {
        let Self { id, stream, kept, block, is_ending, .. } = self;
        let mut taken = 0;
        while taken < READ_BYTES_MAX {
            let came = kept.receive(stream, scratch, |payload| hear(*id, payload, block, post, usage))?;
            match came {
                Came::End => return Err(End::Closed),
                Came::Nothing => {
                    *is_ending = false;
                    return Ok(Rest::Drained);
                }
                // The end was told by an event that has been; nobody tells of it again.
                Came::All(_) if !*is_ending => return Ok(Rest::Drained),
                Came::All(count) | Came::Some(count) => taken += count,
            }
        }
        Ok(Rest::More)
    }

    /// Whether something waits to be written.
    pub(super) fn is_behind(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Queues a frame. Nothing is written until [`Self::write`].
    pub(super) fn push(&mut self, frame: Vec<u8>) -> Result<(), End> {
        self.queued_bytes += frame.len();
        self.queue.push_back(frame);
        if self.queued_bytes > QUEUE_BYTES_MAX { Err(End::TooSlow) } else { Ok(()) }
    }

    /// Writes what the socket takes. To be called again when it takes more.
    pub(super) fn write(&mut self) -> Result<(), End> {
        while !self.queue.is_empty() {
            let first = self.queue.iter().take(1).map(|frame| &frame[self.written..]);
            let rest = self.queue.iter().skip(1).take(WRITE_FRAMES_MAX - 1).map(Vec::as_slice);
            let slices: Vec<_> = first.chain(rest).map(IoSlice::new).collect();
            match self.stream.write_vectored(&slices) {
                Ok(0) => return Err(End::Write(ErrorKind::WriteZero.into())),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Write(error)),
            }
        }
        match self.closing {
            Some(why) => Err(End::Asked(why)),
            None => Ok(()),
        }
    }

    fn advance(&mut self, count: usize) {
        self.queued_bytes -= count;
        self.written += count;
        while let Some(frame) = self.queue.front()
            && self.written >= frame.len()
        {
            self.written -= frame.len();
            self.queue.pop_front();
        }
    }
}

/// Passes on what one frame says.
fn hear(
    session: SessionId,
    payload: &[u8],
    block: &mut Block,
    post: &Post,
    usage: &mut Writer,
) -> Result<(), End> {
    match wire::decode_to_master(payload).map_err(End::Message)? {
        Incoming::Message(message) => post.input(Input::Agent { session, message: *message }),
        Incoming::Usage(report) => {
            figures::record(session, usage, block, &report, post).map_err(End::Message)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    fn pair() -> (Session, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let there = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (here, peer) = listener.accept().expect("accepted");
        here.set_nonblocking(true).expect("nonblocking");
        (Session::new(SessionId(1), TcpStream::from_std(here), peer), there)
    }

    #[test]
    fn frames_arrive_whole_and_in_order_however_the_socket_takes_them() {
        let (mut session, mut there) = pair();
        let frame = |n: u8| vec![n; 100_000];
        for n in 0..100 {
            session.push(frame(n)).expect("far from the limit");
        }
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            there.read_to_end(&mut all).expect("read");
            all
        });
        while !session.queue.is_empty() {
            session.write().expect("the peer reads");
            std::thread::yield_now();
        }
        assert_eq!(session.queued_bytes, 0);
        drop(session);
        let all = reader.join().expect("read");
        assert_eq!(all, (0..100).flat_map(frame).collect::<Vec<_>>());
    }

    #[test]
    fn an_agent_that_takes_nothing_is_given_up_at_the_limit() {
        let (mut session, _there) = pair();
        let mebibyte = || vec![0; 1 << 20];
        let pushed = (0..QUEUE_BYTES_MAX >> 19).take_while(|_| {
            session.write().expect("the peer is there");
            session.push(mebibyte()).is_ok()
        });
        let count = pushed.count();
        assert!((QUEUE_BYTES_MAX >> 20..QUEUE_BYTES_MAX >> 19).contains(&count), "{count} MiB");
        session.closing = Some("as asked");
        assert!(matches!(session.write(), Err(End::Asked("as asked"))), "it does not wait for the peer");
    }
}
