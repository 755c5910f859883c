//! The loop of the network thread.

#![expect(
    clippy::disallowed_methods,
    reason = "how long guests may stay silent is a matter of this thread alone"
)]

use super::connections::{Connections, Guest};
use super::guest::{self, Verdict};
use super::outbox::{Inbox, ToNet};
use super::receive::Scratch;
use super::session::{End, Rest, Session};
use crate::cluster::input::{Input, SessionId};
use crate::driver::{POSTED_MAX, Post};
use crate::http::Door;
use crate::standing::Stands;
use crate::usage::Writer;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub(super) const LISTENER: Token = Token(usize::MAX);
pub(super) const WAKER: Token = Token(usize::MAX - 1);

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// How long to wait before looking again where nobody will call us: the core is behind, or the process has no file
/// descriptors left to accept with.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Connections accepted before others have their turn: an outage ends for all agents at once.
const ACCEPTS_MAX: usize = 256;

/// The thread's state.
pub(super) struct Net {
    poll: Poll,
    listener: TcpListener,
    http: Door,
    post: Post,
    usage: Writer,
    inbox: Inbox,
    stands: Stands,
    connections: Connections,
    scratch: Scratch,
    /// Guests, oldest first; may name some that are none any more.
    waiting: VecDeque<Token>,
    /// Sessions with more to read that no event will tell of; each once, and some may be gone.
    unread: Vec<Token>,
    /// Sessions with frames queued and not tried yet; as above.
    unwritten: Vec<Token>,
    /// When to accept again, of which no event tells: there may be more, or it failed.
    accept_at: Option<Instant>,
}

impl Net {
    pub(super) fn new(
        poll: Poll,
        mut listener: TcpListener,
        http: Door,
        post: Post,
        usage: Writer,
        inbox: Inbox,
        stands: Stands,
    ) -> std::io::Result<Self> {
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            http,
            post,
            usage,
            inbox,
            stands,
            connections: Connections::default(),
            scratch: Scratch::default(),
            waiting: VecDeque::new(),
            unread: Vec::new(),
            unwritten: Vec::new(),
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
                    token => self.ready(token, event),
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
        // One that is no guest any more is looked at now, and taken off.
        let guest = self.waiting.front().map(|token| match self.connections.guest(*token) {
            Some(guest) => guest.since + Duration::from_millis(guest::WAIT_MS),
            None => Instant::now(),
        });
        let next = guest.into_iter().chain(self.accept_at).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn is_core_behind(&self) -> bool {
        self.post.waiting() > POSTED_MAX
    }

    fn accept(&mut self) {
        self.accept_at = None;
        for _ in 0..ACCEPTS_MAX {
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
        self.accept_at = Some(Instant::now());
    }

    fn welcome(&mut self, stream: TcpStream, peer: SocketAddr) {
        // Latency is what both kinds of peer want; where it cannot be had, they still work.
        let _ = stream.set_nodelay(true);
        let guest = Guest { stream, peer, since: Instant::now() };
        let token = self.connections.add(guest);
        let guest = self.connections.guest_mut(token).expect("just added");
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut guest.stream, token, interest) {
            tracing::warn!(%peer, %error, "connection_not_registered");
            return drop(self.connections.remove_guest(token));
        }
        self.waiting.push_back(token);
        self.question(token);
    }

    /// Finds out what a guest is, if it has said enough.
    fn question(&mut self, token: Token) {
        let Some(guest) = self.connections.guest_mut(token) else { return };
        match guest::look(&mut guest.stream) {
            Verdict::Unknown => {}
            Verdict::Gone => drop(self.connections.remove_guest(token)),
            Verdict::Http => self.hand_over(token),
            // A standby has nothing to say to agents; they look for the leader, and come back if it is we.
            Verdict::Agent if !self.stands.leads() => drop(self.connections.remove_guest(token)),
            Verdict::Agent => {
                let session = self.connections.promote(token);
                tracing::debug!(session = session.id.0, peer = %session.peer, "agent_session_opened");
                session.is_unread = true;
                self.unread.push(token);
            }
        }
    }

    /// Gives the connection to `http`, with everything it has said.
    fn hand_over(&mut self, token: Token) {
        let Some(mut guest) = self.connections.remove_guest(token) else { return };
        if let Err(error) = self.poll.registry().deregister(&mut guest.stream) {
            return tracing::warn!(peer = %guest.peer, %error, "connection_not_handed_over");
        }
        self.http.enter(guest.stream.into());
    }

    fn ready(&mut self, token: Token, event: &Event) {
        let Some(session) = self.connections.session_mut(token) else { return self.question(token) };
        session.is_ending |= event.is_read_closed();
        if (event.is_readable() || event.is_read_closed() || event.is_error())
            && !std::mem::replace(&mut session.is_unread, true)
        {
            self.unread.push(token);
        }
        // Every event says that there is room to write, also where nothing waits for it.
        if event.is_writable() && session.is_behind() {
            list(session, token, &mut self.unwritten);
        }
    }

    /// Does what the core wants done.
    fn take_orders(&mut self) -> Orders {
        while let Some(order) = self.inbox.next() {
            match order {
                ToNet::Send { session, message } => {
                    let token = token_of(session);
                    let Some(session) = self.connections.session_mut(token) else { continue };
                    let pushed = match wire::encode_to_agent(&message) {
                        Ok(frame) => session.push(frame),
                        Err(error) => Err(End::Frame(error)),
                    };
                    list(session, token, &mut self.unwritten);
                    if let Err(end) = pushed {
                        self.end(token, &end);
                    }
                }
                ToNet::Close { session, why } => {
                    let token = token_of(session);
                    if let Some(session) = self.connections.session_mut(token) {
                        session.closing = Some(why);
                        list(session, token, &mut self.unwritten);
                    }
                }
                ToNet::ForgetRow(row) => self.usage.release(row),
                ToNet::KeepNode { session, row } => {
                    if let Some(session) = self.connections.session_mut(token_of(session)) {
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
        let mut unwritten = std::mem::take(&mut self.unwritten);
        for token in unwritten.drain(..) {
            let Some(session) = self.connections.session_mut(token) else { continue };
            session.is_unwritten = false;
            if let Err(end) = session.write() {
                self.end(token, &end);
            }
        }
        // Nothing was listed meanwhile; the room is kept.
        self.unwritten = unwritten;
    }

    /// Reads one helping from each session that may have more, unless the core is behind.
    fn read_on(&mut self) {
        let mut unread = std::mem::take(&mut self.unread);
        let mut later = 0;
        for at in 0..unread.len() {
            let token = unread[at];
            let is_core_behind = self.is_core_behind();
            let Some(session) = self.connections.session_mut(token) else { continue };
            let has_more = is_core_behind
                || match session.read(&mut self.scratch, &self.post, &mut self.usage) {
                    Ok(rest) => rest == Rest::More,
                    Err(end) => {
                        self.end(token, &end);
                        continue;
                    }
                };
            if has_more {
                unread[later] = token;
                later += 1;
            } else {
                session.is_unread = false;
            }
        }
        unread.truncate(later);
        self.unread = unread;
    }

    /// Ends a session: nobody else notices.
    fn end(&mut self, token: Token, end: &End) {
        let Some(session) = self.connections.remove_session(token) else { return };
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
            let is_stale = match self.connections.guest(token) {
                Some(guest) => guest.since.elapsed() >= Duration::from_millis(guest::WAIT_MS),
                None => {
                    self.waiting.pop_front();
                    continue;
                }
            };
            if !is_stale && self.connections.guest_count() <= guest::GUESTS_MAX {
                return;
            }
            self.waiting.pop_front();
            self.hand_over(token);
        }
    }
}

/// Notes that the session is to be written.
fn list(session: &mut Session, token: Token, unwritten: &mut Vec<Token>) {
    if !std::mem::replace(&mut session.is_unwritten, true) {
        unwritten.push(token);
    }
}

fn token_of(session: SessionId) -> Token {
    Token(usize::try_from(session.0).expect("sessions are numbered by tokens"))
}

/// What the core's orders came to.
struct Orders {
    is_stop: bool,
}
