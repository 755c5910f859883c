//! Who leads. A master *contends* ([`contender`]), everybody else *detects* ([`detector`]); both through ZooKeeper, with
//! Mesos' own znodes, so that clients that know how Mesos' leader is found find ours. Without ZooKeeper there is one
//! master, or a list of which one is asked ([`ask`]).
//!
//! What ZooKeeper cannot promise is that a leader knows in time that it is none any more; [`lease`] does.

pub mod ask;
pub mod contender;
pub mod detector;
pub mod info;
pub mod lease;
pub mod session;
pub mod url;
