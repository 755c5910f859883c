//! Whole clusters. `processes` starts the real binaries as processes of their own, with ports, folders and cgroups of
//! their own, and leaves nothing behind: for end-to-end tests, benches, and `cargo xtask up`.

#![expect(clippy::disallowed_methods, reason = "a shell: it waits for other processes, against the clock")]

pub mod processes;
