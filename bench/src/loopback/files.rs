//! File descriptors and addresses: as many connections as a scenario wants, from one machine.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};

/// For everything that is no session: the programs' own files, HTTP.
const FILES_BESIDES: u64 = 2_048;

/// Connections of one source address: far fewer than the kernel has ports for.
const PORTS: usize = 1_000;

/// Lets this process, and those that it starts, have so many connections each. Above the hard limit only root may go.
pub(crate) fn make_room(connections: usize) -> anyhow::Result<()> {
    let wanted = connections as u64 + FILES_BESIDES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(());
    }
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)) {
        bail!(
            "{connections} connections need {wanted} file descriptors and this process may have {hard} ({error}): run as \
             root, or raise the limit (ulimit -Hn {wanted})"
        );
    }
    Ok(())
}

/// The source address of the connection of that number, a thousand each: 127.1.0.1 and on.
pub(crate) fn source(number: usize) -> Ipv4Addr {
    let at = u32::try_from(number / PORTS).expect("fewer than 2^32 sources") + 1;
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + at)
}

/// Connects from there. The port is chosen when it connects, not when it binds, so that sources do not share ports.
pub(crate) fn connect(number: usize, to: SocketAddrV4) -> anyhow::Result<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    socket::setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    let from = SocketAddrV4::new(source(number), 0);
    let failed = || format!("connect from {} to {to}", from.ip());
    socket::bind(socket.as_raw_fd(), &SockaddrIn::from(from)).with_context(failed)?;
    socket::connect(socket.as_raw_fd(), &SockaddrIn::from(to)).with_context(failed)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}
