//! The threads "http": what schedulers, operators and monitors are answered, over hyper and axum.

pub mod legacy;
pub mod system;

mod calls;
mod constraints;
mod events;
mod maintenance;
mod operator;
mod outbox;
mod registrar;
mod reservations;
mod scheduler;
mod serve;
mod standby;

pub(crate) mod stream;

pub(crate) use outbox::{Caller, Outbox};
pub(crate) use serve::{Door, start};
