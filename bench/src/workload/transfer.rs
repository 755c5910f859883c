//! The two ends of a transfer of known size. The receiver says where it listens; either may be sent to another network
//! namespace first, so that its sockets are made there.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};

/// Bytes of one write or read of a stream.
const BLOCK_BYTES: usize = 64 << 10;
/// Bytes of a datagram; the answers have one.
pub(crate) const DATAGRAM_BYTES: usize = 1_000;
/// Datagrams between two answers: few enough for any receive buffer.
pub(crate) const WINDOW: u64 = 32;
/// For a datagram that is lost, which nothing repeats.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct End {
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// Payload from the sender to the receiver. Of datagrams a multiple of 32,000.
    #[arg(long)]
    bytes: u64,
    /// A file of a network namespace to go to.
    #[arg(long)]
    namespace: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl End {
    fn enter(&self) -> anyhow::Result<()> {
        let Some(path) = &self.namespace else { return Ok(()) };
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)?)
    }

    fn windows(&self) -> u64 {
        self.bytes / (WINDOW * DATAGRAM_BYTES as u64)
    }
}

pub(super) fn receive(end: &End, address: Ipv4Addr) -> anyhow::Result<()> {
    end.enter()?;
    let listens_at = |port: u16| {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{port}").and_then(|()| stdout.flush())
    };
    match end.protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind((address, 0))?;
            listens_at(listener.local_addr()?.port())?;
            let (mut stream, _) = listener.accept()?;
            let received = drain(&mut stream)?;
            ensure!(received == end.bytes, "{received} bytes instead of {}", end.bytes);
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            listens_at(socket.local_addr()?.port())?;
            let mut buffer = [0; 2 * DATAGRAM_BYTES];
            for _ in 0..end.windows() {
                let mut from = None;
                for _ in 0..WINDOW {
                    let (length, sender) = socket.recv_from(&mut buffer).context("wait for a datagram")?;
                    ensure!(length == DATAGRAM_BYTES, "a datagram of {length} bytes");
                    from = Some(sender);
                }
                socket.send_to(&[1], from.context("an empty window")?)?;
            }
        }
    }
    Ok(())
}

/// `abrupt`: closes a stream as soon as everything is written, so that the kernel ends the connection by itself.
pub(super) fn send(end: &End, to: SocketAddrV4, abrupt: bool) -> anyhow::Result<()> {
    end.enter()?;
    match end.protocol {
        Protocol::Tcp => {
            let mut stream = TcpStream::connect(to)?;
            let block = vec![7; BLOCK_BYTES];
            let mut left = end.bytes;
            while left > 0 {
                let part = left.min(BLOCK_BYTES as u64);
                stream.write_all(&block[..part as usize])?;
                left -= part;
            }
            if !abrupt {
                stream.shutdown(Shutdown::Write)?;
                ensure!(drain(&mut stream)? == 0, "the receiver says something");
            }
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect(to)?;
            let datagram = [7; DATAGRAM_BYTES];
            for _ in 0..end.windows() {
                for _ in 0..WINDOW {
                    socket.send(&datagram)?;
                }
                socket.recv(&mut [0; 2]).context("wait for an answer")?;
            }
        }
    }
    Ok(())
}

/// Reads a stream to its end; how many bytes that were.
fn drain(stream: &mut TcpStream) -> anyhow::Result<u64> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut sum = 0;
    loop {
        match stream.read(&mut block)? {
            0 => return Ok(sum),
            length => sum += length as u64,
        }
    }
}
