//! What the words mean: resources, roles, tasks, frameworks, and their laws. Both daemons do this arithmetic.
//!
//! Nothing here does I/O, reads a clock, encodes, or uses floating point. What a decision does not need travels
//! beside the typed fields as an opaque `body` (see [`body::Body`]).

pub mod agent_info;
pub mod body;
pub mod executor;
pub mod framework;
pub mod id;
pub mod latency;
pub mod limits;
pub mod maintenance;
pub mod quantity;
pub mod quota;
pub mod ranges;
pub mod resources;
pub mod role;
pub mod task;
pub mod time;
pub mod usage;
