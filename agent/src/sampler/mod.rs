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

/// Whether this process may use io_uring.
///
/// # Errors
/// Why not: an old kernel, or forbidden (`kernel.io_uring_disabled`, a container runtime's seccomp filter).
pub fn io_uring() -> std::io::Result<()> {
    io_uring::IoUring::new(1).map(drop)
}
