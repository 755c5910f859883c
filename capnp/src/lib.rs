//! What agents and masters say to each other: messages as plain values, their Cap'n Proto encoding, and the frames they
//! travel in. No socket, no file, no policy.
//!
//! [`message`] is the menu. Everything is turned into owned model values on arrival, except the usage report, which is
//! read where it lies ([`report`]).

pub mod frame;
pub mod message;
pub mod report;

mod convert;
mod generated;
