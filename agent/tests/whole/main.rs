//! The whole agent as a process, with a master that the test plays and executors that really run. Works as any user; a test
//! of what an agent does with the kernel's programs says that it needs them, and is skipped where they cannot be had.
#![allow(clippy::unwrap_used, reason = "a test's broken premise is its failure")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for real processes, with a deadline on the real clock"
)]
#![allow(unreachable_pub, reason = "a test has no outside")]

mod agent;
#[path = "../privileged/groups.rs"]
mod groups;
mod http;
#[path = "../privileged/image.rs"]
#[allow(dead_code, reason = "others make other images of it")]
mod image;
mod master;
#[path = "../privileged/needs.rs"]
mod needs;

mod api;
mod checks;
mod draining;
mod faults;
mod files;
mod images;
mod isolation;
mod killed;
mod life;
mod limits;
mod logger;
mod nested;
mod own_limits;
mod quality;
mod restart;
mod sessions;
mod survival;
mod users;
mod volumes;
