//! The loop of the network thread.

#![expect(
    clippy::disallowed_methods,
    reason = "how long guests may stay silent is a matter of this thread alone"
)]

use super::guest::{self, Verdict};
use super::outbox::{Inbox, ToNet};
use super::session::{End, Rest, Session};
use crate::cluster::input::{Input, SessionId};
use crate::driver::{POSTED_MAX, Post};
use crate::usage::Writer;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

const LISTENER: Token = Token(0);
pub(super) const WAKER: Token = Token(1);

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// How long to wait before looking again where nobody will call us: the core is behind, or the process has no file
/// descriptors left to accept with.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

struct Guest {
    stream: TcpStream,
    peer: SocketAddr,
    since: Instant,
}

/// The thread's state. Tokens of connections are numbers used once; a session's is its [`SessionId`].
pub(super) struct Net {
    poll: Poll,
    listener: TcpListener,
    http: UnboundedSender<std::net::TcpStream>,
    post: Post,
    usage: Writer,
    inbox: Inbox,
    next_token: usize,
    guests: BTreeMap<Token, Guest>,
    /// Oldest first; may name guests that are gone.
    waiting: VecDeque<Token>,
    sessions: BTreeMap<Token, Session>,
    /// Sessions with more to read that no event will tell of.
    unread: BTreeSet<Token>,
    /// Sessions with frames queued and not tried yet.
    unwritten: BTreeSet<Token>,
    /// Accepting failed; when to try again.
    accept_at: Option<Instant>,
}

impl Net {
    pub(super) fn new(
        poll: Poll,
        listener: std::net::TcpListener,
        http: UnboundedSender<std::net::TcpStream>,
        post: Post,
        usage: Writer,
        inbox: Inbox,
    ) -> std::io::Result<Self> {
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            http,
            post,
            usage,
            inbox,
            next_token: WAKER.0 + 1,
            guests: BTreeMap::new(),
            waiting: VecDeque::new(),
            sessions: BTreeMap::new(),
            unread: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            accept_at: None,
        })
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "net_poll_failed");
                    return;
                }
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKER => {}
                    token => self.ready(token, event.is_readable() || event.is_error(), event.is_writable()),
                }
            }
            if self.take_orders().is_stop {
                return;
            }
            self.write_all();
            self.read_on();
            self.housekeeping();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.unread.is_empty() {
            return Some(if self.is_core_behind() { LOOK_AGAIN } else { Duration::ZERO });
        }
        let now = Instant::now();
        let guest = self.waiting.front().and_then(|token| self.guests.get(token));
        let guest = guest.map(|guest| guest.since + Duration::from_millis(guest::WAIT_MS));
        let stale = self.waiting.front().filter(|token| !self.guests.contains_key(token)).map(|_| now);
        guest.into_iter().chain(stale).chain(self.accept_at).min().map(|at| at.saturating_duration_since(now))
    }

    fn is_core_behind(&self) -> bool {
        self.post.waiting() > POSTED_MAX
    }

    fn accept(&mut self) {
        self.accept_at = None;
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => self.welcome(stream, peer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    // Out of file descriptors, as a rule: those who wait are not lost, only later.
                    tracing::error!(%error, "accept_failed");
                    self.accept_at = Some(Instant::now() + ACCEPT_AGAIN);
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, mut stream: TcpStream, peer: SocketAddr) {
        let token = Token(self.next_token);
        self.next_token += 1;
        // Latency is what both kinds of peer want; where it cannot be had, they still work.
        let _ = stream.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, token, interest) {
            return tracing::warn!(%peer, %error, "connection_not_registered");
        }
        self.guests.insert(token, Guest { stream, peer, since: Instant::now() });
        self.waiting.push_back(token);
        self.question(token);
    }

    /// Finds out what a guest is, if it has said enough.
    fn question(&mut self, token: Token) {
        let Some(guest) = self.guests.get_mut(&token) else { return };
        match guest::look(&mut guest.stream) {
            Verdict::Unknown => {}
            Verdict::Gone => drop(self.guests.remove(&token)),
            Verdict::Http => self.hand_over(token),
            Verdict::Agent => {
                let guest = self.guests.remove(&token).expect("looked up above");
                let id = SessionId(token.0 as u64);
                tracing::debug!(session = id.0, peer = %guest.peer, "agent_session_opened");
                self.sessions.insert(token, Session::new(id, guest.stream, guest.peer));
                self.unread.insert(token);
            }
        }
    }

    /// Gives the connection to `http`, with everything it has said.
    fn hand_over(&mut self, token: Token) {
        let Some(mut guest) = self.guests.remove(&token) else { return };
        if let Err(error) = self.poll.registry().deregister(&mut guest.stream) {
            return tracing::warn!(peer = %guest.peer, %error, "connection_not_handed_over");
        }
        // An HTTP thread that is gone is found out by whoever joins it.
        drop(self.http.send(guest.stream.into()));
    }

    fn ready(&mut self, token: Token, is_readable: bool, is_writable: bool) {
        if self.guests.contains_key(&token) {
            return self.question(token);
        }
        if is_readable {
            self.unread.insert(token);
        }
        if is_writable {
            self.unwritten.insert(token);
        }
    }

    /// Does what the core wants done.
    fn take_orders(&mut self) -> Orders {
        while let Some(order) = self.inbox.next() {
            match order {
                ToNet::Send { session, message } => {
                    let token = token_of(session);
                    let Some(session) = self.sessions.get_mut(&token) else { continue };
                    let pushed = match wire::encode_to_agent(&message) {
                        Ok(frame) => session.push(frame),
                        Err(error) => Err(End::Frame(error)),
                    };
                    self.unwritten.insert(token);
                    if let Err(end) = pushed {
                        self.end(token, &end);
                    }
                }
                ToNet::Close { session, why } => {
                    let token = token_of(session);
                    if let Some(session) = self.sessions.get_mut(&token) {
                        session.closing = Some(why);
                        self.unwritten.insert(token);
                    }
                }
                ToNet::ForgetRow(row) => self.usage.release(row),
                ToNet::KeepNode { session, row } => {
                    if let Some(session) = self.sessions.get_mut(&token_of(session)) {
                        session.block.keep_node(row);
                    }
                }
                ToNet::ForgetNode(row) => self.usage.release_node(row),
                ToNet::Stop => return Orders { is_stop: true },
            }
        }
        Orders { is_stop: false }
    }

    fn write_all(&mut self) {
        while let Some(token) = self.unwritten.pop_first() {
            let Some(session) = self.sessions.get_mut(&token) else { continue };
            if let Err(end) = session.write() {
                self.end(token, &end);
            }
        }
    }

    /// Reads one helping from each session that may have more, unless the core is behind.
    fn read_on(&mut self) {
        for token in std::mem::take(&mut self.unread) {
            if self.is_core_behind() {
                self.unread.insert(token);
                continue;
            }
            let Some(session) = self.sessions.get_mut(&token) else { continue };
            match session.read(&self.post, &mut self.usage) {
                Ok(Rest::Drained) => {}
                Ok(Rest::More) => _ = self.unread.insert(token),
                Err(end) => self.end(token, &end),
            }
        }
    }

    /// Ends a session: nobody else notices.
    fn end(&mut self, token: Token, end: &End) {
        let Some(session) = self.sessions.remove(&token) else { return };
        let (id, peer) = (session.id.0, session.peer);
        let cause = std::error::Error::source(end).map(ToString::to_string).unwrap_or_default();
        match end {
            End::Closed | End::Asked(_) => {
                tracing::info!(session = id, %peer, why = %end, "agent_session_ended")
            }
            _ => tracing::warn!(session = id, %peer, why = %end, %cause, "agent_session_ended"),
        }
        self.post.input(Input::AgentGone { session: session.id });
        self.usage.session_ended(session.block);
    }

    fn housekeeping(&mut self) {
        if self.accept_at.is_some_and(|at| at <= Instant::now()) {
            self.accept();
        }
        while let Some(token) = self.waiting.front().copied() {
            let is_stale = match self.guests.get(&token) {
                Some(guest) => guest.since.elapsed() >= Duration::from_millis(guest::WAIT_MS),
                None => {
                    self.waiting.pop_front();
                    continue;
                }
            };
            if !is_stale && self.guests.len() <= guest::GUESTS_MAX {
                return;
            }
            self.waiting.pop_front();
            self.hand_over(token);
        }
    }
}

fn token_of(session: SessionId) -> Token {
    Token(usize::try_from(session.0).expect("sessions are numbered by tokens"))
}

/// What the core's orders came to.
struct Orders {
    is_stop: bool,
}
