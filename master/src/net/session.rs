//! One agent's session: frames in, frames out.

use super::figures;
use crate::cluster::input::{Input, SessionId};
use crate::driver::Post;
use crate::usage::{Block, Writer};
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use wire::frame::{FrameError, Reader};
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
    reader: Reader,
    /// Whole frames; of the first, `written` bytes are gone.
    queue: VecDeque<Vec<u8>>,
    written: usize,
    queued_bytes: usize,
    /// Where its figures stand.
    pub(super) block: Block,
    /// To be closed once what the socket takes at once is written, and why.
    pub(super) closing: Option<&'static str>,
}

impl Session {
    pub(super) fn new(id: SessionId, stream: TcpStream, peer: std::net::SocketAddr) -> Self {
        Self {
            id,
            stream,
            peer,
            reader: Reader::default(),
            queue: VecDeque::new(),
            written: 0,
            queued_bytes: 0,
            block: Block::default(),
            closing: None,
        }
    }

    /// Reads and passes on what has come, up to [`READ_BYTES_MAX`].
    pub(super) fn read(&mut self, post: &Post, usage: &mut Writer) -> Result<Rest, End> {
        let mut taken = 0;
        while taken < READ_BYTES_MAX {
            match self.stream.read(self.reader.space()) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => {
                    taken += count;
                    self.reader.filled(count);
                    self.frames(post, usage)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Rest::Drained),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(End::Read(error)),
            }
        }
        Ok(Rest::More)
    }

    fn frames(&mut self, post: &Post, usage: &mut Writer) -> Result<(), End> {
        while let Some(payload) = self.reader.next().map_err(End::Frame)? {
            match wire::decode_to_master(payload).map_err(End::Message)? {
                Incoming::Message(message) => {
                    post.input(Input::Agent { session: self.id, message: *message });
                }
                Incoming::Usage(report) => {
                    figures::record(self.id, usage, &mut self.block, &report, post).map_err(End::Message)?;
                }
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
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
