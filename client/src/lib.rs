//! Speaks the v1 API from the outside, over hyper: what a framework, an executor or an operator's tool needs to talk to
//! masters and agents. Knows no daemon; it works against anything that speaks the Mesos v1 API.
//!
//! - [`scheduler`]: a framework's two connections. Events come out of a channel, calls go in through a handle.
//! - [`executor`]: the same for an executor, with the updates that the agent has not acknowledged yet.
//! - [`containers`]: an executor's calls about containers nested in its own.
//! - [`session`]: commands in running containers, and what containers show on their terminals.
//! - [`operator`]: requests answered at once: `/state`, `/tasks`, `/files/read`.
//!
//! A stream that breaks is subscribed again, with the same framework or executor id, by the task that reads it; its
//! user sees `Lost` and then `Subscribed`. No call but those of [`containers`] is ever repeated by this crate: only its
//! user knows whether that would be harmless.

mod address;
mod backoff;
pub mod containers;
mod encoding;
mod error;
pub mod executor;
mod http;
pub mod operator;
pub mod scheduler;
pub mod session;
mod stream;
mod v1_aid;

pub use address::Address;
pub use encoding::Encoding;
pub use error::Error;
pub use stream::{Events, Incoming};
pub use v1_aid::{is_end, scalar, unreserved_milli};
