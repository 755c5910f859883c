//! A whole master over loopback: real HTTP from a scripted scheduler, real wire frames from a scripted agent.

#![expect(clippy::disallowed_methods, reason = "tests wait with a deadline, and measure")]

mod agent;
mod bad_input;
mod constraints;
mod domains;
mod http;
mod journey;
mod latency;
mod maintenance;
mod quota;
mod reservations;
mod revocable;
mod streams;

use master::Master;
use master::config::Config;
use std::time::Duration;

/// How long anything may take before a test gives up: far longer than it ever does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A master on a port of its own.
pub(crate) fn start() -> Master {
    start_with(Config::local())
}

pub(crate) fn start_with(config: Config) -> Master {
    Master::start(config).expect("a master starts on loopback")
}
