//! Reads what the kernel's files say of each container, all of them at once. `sources` is what the agent calls; `ring`
//! (raw io_uring) and `plain` read files, `proc` sums over processes, `parse` knows the texts.

pub mod parse;
pub mod plain;
pub mod proc;
pub mod ring;
pub mod sources;
