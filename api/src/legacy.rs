//! Mesos' JSON documents from before the v1 API: what those of the master and those of the agent have in common.
//!
//! They show counts as doubles, ids as plain text and resources as sums by name, each in a way of its own; web pages,
//! exporters and the old command line read nothing else.

pub mod amounts;
pub mod attributes;
pub mod command;
pub mod each;
mod query;
mod reply;
pub mod resources;
pub mod system;
pub mod task;
pub mod usage;
pub mod version;

pub use query::{Query, decode, duration};
pub use reply::Reply;

/// A metric, by its full name.
pub type Gauge = (std::borrow::Cow<'static, str>, f64);
