//! What agents and masters say to each other: messages as plain values, their Cap'n Proto encoding, and the frames they
//! travel in. No socket, no file, no policy.
//!
//! [`message`] is the menu. Everything is turned into owned model values on arrival, except the usage report, which is
//! read where it lies ([`report`]). [`checkpoint`] is what an agent writes down for its later self, [`registry`] what a master
//! writes down for the one after it.

pub mod checkpoint;
pub mod error;
pub mod frame;
pub mod message;
pub mod registry;
pub mod report;

mod convert;
mod generated;

pub use convert::message::{decode_to_agent, decode_to_master, encode_to_agent, encode_to_master};
pub use error::WireError;

/// What an agent said: a message of the menu, or a usage report that still lies in the receive buffer.
#[derive(Debug)]
pub enum Incoming<'a> {
    Message(Box<message::ToMaster>),
    Usage(report::Report<'a>),
}

/// First bytes of an agent's session, before any frame. No HTTP request begins with them, so a master tells its agents
/// from its HTTP clients by them, on one port.
pub const PREAMBLE: &[u8; 8] = b"INGOTv1\n";
