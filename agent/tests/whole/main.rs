//! The whole agent as a process, with a master that the test plays and executors that really run. Works as any user; what
//! needs root is in `privileged`.
#![allow(clippy::unwrap_used, reason = "a test's broken premise is its failure")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for real processes, with a deadline on the real clock"
)]
#![allow(unreachable_pub, reason = "a test has no outside")]

mod agent;
mod http;
mod master;

mod api;
mod life;
mod restart;
