//! A real `ingot-master` on loopback, and around it what only looks real: agents' sessions over TCP in the frames of the
//! `wire` crate, and frameworks over HTTP. [`hold`] has many sessions that report; [`deliver`] has tasks that end and offers
//! that leave. All of the bench's side runs in one thread on epoll, so that what is measured has the other cores.

pub(crate) mod agents;
mod cycle;
mod deliver;
pub(crate) mod files;
mod hold;
pub(crate) mod master;
mod subscriber;
pub(crate) mod turns;

pub(crate) use deliver::{Arguments as DeliveryArguments, run as delivery};
pub(crate) use hold::{Arguments as SessionsArguments, run as sessions};
