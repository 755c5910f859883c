//! The rotating container logger: what containers print, in files of bounded size, without losing a byte of it.
//!
//! ```text
//!   agent (launcher)                            logger: `ingot-agent container-logger WORK_DIR`, one an agent
//!     | makes WORK_DIR/logger/<container>/        | inotify: a folder has come
//!     |   stdout, stderr (pipes), ticket -------->|
//!     v                                           v
//!   container: 1 and 2 are the pipes ---write--> pipe ==splice, by io_uring==> <sandbox>/stdout, then stdout.1, .2 ..
//! ```
//! - A pipe is one with a name, and the container holds it open for reading, too: it is never without a reader, so nobody who
//!   writes to it gets SIGPIPE, whoever dies. Where nobody empties it for a while, a full one makes its writers wait.
//! - Bytes go from the pipe into the file within the kernel. The logger holds none, so that it can be killed at any moment:
//!   what it has not moved is still in the pipe.
//! - It is a process of its own that outlives the agent. The next agent's logger ends it and goes on: everything that one
//!   has to know is in the tickets and the files (docs/decisions/056).

pub mod files;
pub mod pipes;
mod process;
mod ring;
pub mod rotation;
pub mod settings;
pub mod supervisor;
pub mod ticket;

pub use process::run;

/// The agent's subcommand, for nobody to type.
pub const SUBCOMMAND: &str = "container-logger";
