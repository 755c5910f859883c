//! Reads what the kernel's files say of each container and of the node. `sources` is what the agent calls; `files` is the
//! table of what is read and how often; `engine` reads, by `ring` (raw io_uring) or `plain`; `node` and `parse` know the
//! texts; `proc` sums over processes.

mod engine;
mod files;
mod node;
mod parse;
mod plain;
mod proc;
mod ring;
pub mod sources;
