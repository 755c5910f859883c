//! End to end: the real binaries on this machine's loopback, real clients, and what comes of bad input.
//!
//! Each test has a cluster of its own. With `INGOT_TEST_MASTER=HOST:PORT` those tests that need only a master's API run
//! against that one instead, be it Ingot's or Mesos' own: so it is known that they ask for nothing that Mesos does not do.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]
#![expect(clippy::disallowed_methods, reason = "tests wait for processes, against the clock")]

mod bad_input;
mod cli;
mod draining;
mod executor_death;
mod failover;
mod lending;
mod metrics;
mod pymesos;
mod restart;
mod support;
mod task_groups;
mod terminal;
mod top;
mod up;
mod wordcount;
