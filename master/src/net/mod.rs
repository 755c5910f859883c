//! The thread "net", the only owner of mio: it accepts every connection of the master's one port, hands those that speak
//! HTTP to `http`, and holds the agents' sessions.
//!
//! Who is who shows in the first eight bytes: an agent sends [`wire::PREAMBLE`], which no HTTP request begins with; until
//! they have come a connection is a *guest*. Limits: [`guest::WAIT_MS`], [`guest::GUESTS_MAX`], [`session::QUEUE_BYTES_MAX`],
//! [`session::READ_BYTES_MAX`], `driver::POSTED_MAX`.

mod connections;
mod figures;
mod guest;
mod outbox;
mod poller;
mod receive;
mod session;

pub(crate) use outbox::{Outbox, ToNet};

use crate::driver::Post;
use crate::http::Door;
use crate::standing::Stands;
use crate::usage::Writer;
use mio::net::TcpListener;
use std::net::SocketAddr;
use std::thread::JoinHandle;

/// Connections that may wait to be accepted, if the system allows as many (`net.core.somaxconn`): after an outage all agents
/// come at once, and one that finds no room tries again only a second later.
const WAITING_MAX: i32 = 1 << 16;

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} (--ip, --port)")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot set up polling")]
    Poll { source: std::io::Error },
    #[error("cannot start the thread '{name}'")]
    Thread { name: &'static str, source: std::io::Error },
}

/// A listening socket.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // It listens already, for 128.
    socket2::SockRef::from(&listener).listen(WAITING_MAX).map_err(failed)?;
    Ok(listener)
}

/// Starts the thread. Connections that speak HTTP go to `http`.
pub(crate) fn start(
    listener: TcpListener,
    http: Door,
    post: Post,
    usage: Writer,
    stands: Stands,
) -> Result<(Outbox, JoinHandle<()>), Error> {
    let poll = mio::Poll::new().map_err(|source| Error::Poll { source })?;
    let (outbox, inbox) = outbox::outbox(poll.registry()).map_err(|source| Error::Poll { source })?;
    let net = poller::Net::new(poll, listener, http, post, usage, inbox, stands)
        .map_err(|source| Error::Poll { source })?;
    let failed = |source| Error::Thread { name: "net", source };
    let thread = std::thread::Builder::new().name("net".into()).spawn(|| net.run()).map_err(failed)?;
    Ok((outbox, thread))
}
