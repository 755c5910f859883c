//! A connection that has not yet said whether it is an agent's or speaks HTTP.

use mio::net::TcpStream;
use std::io::{ErrorKind, Read};

/// One that has said nothing for so long is taken for HTTP, whose clients may connect ahead of time; milliseconds.
pub(super) const WAIT_MS: u64 = 10_000;

/// Guests at a time; when there are more, the one that has been there longest is taken for HTTP.
pub(super) const GUESTS_MAX: usize = 4096;

/// What a guest turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Too little was said.
    Unknown,
    /// The preamble has been taken off.
    Agent,
    Http,
    /// It left, or failed.
    Gone,
}

/// Looks at what a guest has said so far, leaving it there unless it is the whole preamble.
pub(super) fn look(stream: &mut TcpStream) -> Verdict {
    let mut said = [0; wire::PREAMBLE.len()];
    let length = loop {
        match stream.peek(&mut said) {
            Ok(0) => return Verdict::Gone,
            Ok(length) => break length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Verdict::Unknown,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Verdict::Gone,
        }
    };
    if said[..length] != wire::PREAMBLE[..length] {
        return Verdict::Http;
    }
    if length < wire::PREAMBLE.len() {
        return Verdict::Unknown;
    }
    match stream.read_exact(&mut said) {
        Ok(()) => Verdict::Agent,
        Err(_) => Verdict::Gone,
    }
}
