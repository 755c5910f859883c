//! Whole clusters. `processes` starts the real binaries as processes of their own, with ports, folders and cgroups of
//! their own, and leaves nothing behind: for end-to-end tests, benches, and `cargo xtask up`. `seeded` runs the cores of
//! all of them in one thread, against a virtual clock and every kind of bad luck.

#[expect(clippy::disallowed_methods, reason = "a shell: it waits for other processes, against the clock")]
pub mod processes;
pub mod seeded;
