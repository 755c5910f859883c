//! `cargo xtask tidy`, also a test: the rules of the house that no compiler checks. This file is the table of the rules;
//! `tidy/` reads the tree and holds it against them. A rule that no longer fits is changed here, with a note in
//! docs/decisions, never worked around.

use anyhow::{Result, bail};

use crate::sh;

mod check;
mod names;
mod tree;

/// Which crates of the workspace a crate may depend on, build and test dependencies included.
pub(crate) const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("agent-ebpf", &[]),
    ("wire", &["model"]),
    ("api", &["model"]),
    ("client", &["api"]),
    ("leader", &["model", "api", "wire"]),
    ("master", &["model", "api", "wire", "leader"]),
    ("agent", &["model", "api", "wire", "client", "leader", "agent-ebpf"]),
    ("cli", &["model", "api", "client", "leader"]),
    ("examples", &["api", "client"]),
    ("sim", &["model", "api", "wire", "leader", "client", "master", "agent"]),
    ("bench", &["model", "api", "wire", "leader", "client", "master", "agent", "sim"]),
    ("instructions", &["model"]),
    ("xtask", &[]),
];

/// The only folders that may name a foreign crate. What else uses it goes through them.
pub(crate) const HOMES: &[(&str, &[&str])] = &[
    ("mio", &["master/src/net"]),
    ("aya", &["agent/src/bpf"]),
    ("aya_ebpf", &["agent-ebpf"]),
    ("cgroups_rs", &["agent/src/cgroup"]),
    ("io_uring", &["agent/src/sampler", "agent/src/logger", "agent/tests/privileged/workload.rs"]),
    // The runtime owns the ring; the shells it drives do their file and socket work on it.
    ("tokio_uring", &["agent/src/runtime", "agent/src/checkpoint", "agent/src/link", "agent/src/main.rs"]),
    ("capnp", &["capnp"]),
    ("capnpc", &["xtask/src/codegen.rs"]),
    ("prost", &["api"]),
    ("redb", &["master/src/registrar/storage"]),
    ("regex_automata", &["master/src/allocator/pattern.rs"]),
    ("regex_syntax", &["master/src/allocator/pattern.rs"]),
    ("zookeeper_client", &["leader", "master/src/registrar/storage"]),
    ("loom", &["master/tests/loom.rs"]),
    ("ratatui", &["cli/src/top"]),
    ("axum", &["master/src/http", "agent/src/executor_api"]),
    ("rustls", &["agent/src/containerizer/fetch", "agent/src/checks"]),
    ("tokio_rustls", &["agent/src/containerizer/fetch", "agent/src/checks"]),
    (
        "tar",
        &[
            "agent/src/containerizer/fetch",
            "agent/src/images",
            "agent/tests/privileged/files.rs",
            "agent/tests/privileged/image.rs",
            "agent/tests/privileged/images.rs",
            "agent/tests/whole/files.rs",
            "bench/src/oversubscription/traces.rs",
        ],
    ),
    ("oci_spec", &["agent/src/images"]),
    ("zip", &["agent/src/containerizer/fetch"]),
    ("seccompiler", &["agent/src/containerizer/seccomp"]),
    ("syscalls", &["agent/src/containerizer/seccomp"]),
];

/// Modules that decide and never do: no I/O, clock, thread or lock, so that a simulator can run them.
pub(crate) const CORES: &[&str] = &[
    "model/src",
    "master/src/cluster",
    "master/src/allocator",
    "master/src/registrar/registry.rs",
    "master/src/registrar/change.rs",
    "master/src/registrar/batch.rs",
    "agent/src/node",
    "agent/src/checks/core.rs",
    "agent/src/checks/probe.rs",
    "agent/src/collector/core.rs",
    "agent/src/collector/item.rs",
    "agent/src/command_executor/core.rs",
    "agent/src/command_executor/start.rs",
    "agent/src/default_executor/core.rs",
    "agent/src/default_executor/launch.rs",
    "agent/src/default_executor/task.rs",
    "agent/src/containerizer/fetch/cache/core.rs",
    "agent/src/containerizer/isolation",
    "agent/src/containerizer/built_in.rs",
    "agent/src/containerizer/image.rs",
    "agent/src/containerizer/kept.rs",
    "agent/src/containerizer/limits.rs",
    "agent/src/containerizer/overrides.rs",
    "agent/src/containerizer/order.rs",
    "agent/src/containerizer/nested.rs",
    "agent/src/containerizer/plan.rs",
    "agent/src/containerizer/record.rs",
    "agent/src/containerizer/spec.rs",
    "agent/src/containerizer/steps.rs",
    "agent/src/containerizer/streams.rs",
    "agent/src/images/config.rs",
    "agent/src/images/digest.rs",
    "agent/src/images/reference.rs",
    "agent/src/images/users.rs",
    "agent/src/images/store/core.rs",
    "agent/src/cgroup/extras.rs",
    "agent/src/cgroup/knobs.rs",
    "agent/src/accounting",
    "agent/src/duration.rs",
    "agent/src/estimator",
    "agent/src/logger/rotation.rs",
    "agent/src/logger/settings.rs",
    "agent/src/size.rs",
    // Compiled into the agent as `containerizer::{record, spec}`.
    "agent/init/record.rs",
    "agent/init/spec.rs",
];

/// The threads, and what they hand each other things by, in folders that are cores otherwise.
pub(crate) const SHELLS_IN_CORES: &[&str] = &[
    "master/src/allocator/bell.rs",
    "master/src/allocator/crew.rs",
    "master/src/allocator/handle.rs",
    "master/src/allocator/ring.rs",
    "master/src/allocator/sync.rs",
    "master/src/allocator/worker.rs",
];

/// Shells that a core may name all the same: atomics, which neither block it nor show it the world.
pub(crate) const CORES_MAY_NAME: &[&str] = &["master/src/usage", "master/src/allocator/sync.rs"];

/// What a core may name of other crates: vocabulary and pure helpers. A generator of random numbers is handed down with
/// its seed; so are the bits of a uuid.
pub(crate) const CORE_CRATES: &[&str] = &[
    "agent_ebpf",
    "api",
    "bytes",
    "fastrand::Rng",
    "model",
    "regex_automata",
    "regex_syntax",
    "thiserror",
    "uuid::Builder",
    "uuid::Uuid::from_bytes",
    "wire",
];

/// Parts of `std` that block, observe the world, or differ from run to run. An address is a value; a socket is not.
pub(crate) const NOT_IN_CORES: &[&str] = &[
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::env",
    "std::fs",
    "std::io",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::sync::Condvar",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Words that may not stand in a folder at all: what waits for a lock stalls every framework.
pub(crate) const BANNED_WORDS: &[(&str, &[&str])] =
    &[("master/src/allocator", &["Mutex", "RwLock", "Condvar"])];

/// A file this long fails.
pub(crate) const LINES_MAX: usize = 1_000;
/// A file longer than this says why in its head, in a line that begins with [`LONG_BECAUSE`].
pub(crate) const LINES_WITHOUT_REASON_MAX: usize = 600;
pub(crate) const LONG_BECAUSE: &str = "//! Long because";

/// Folders whose files a tool wrote.
pub(crate) const GENERATED: &[&str] = &["capnp/generated"];

/// One broken rule: where, and what to do about it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Path from the root, with a line where there is one.
    place: String,
    message: String,
}

pub(crate) fn run() -> Result<()> {
    let tree = tree::Tree::read(&sh::root())?;
    let violations = check::all(&tree);
    for violation in &violations {
        eprintln!("{}: {}", violation.place, violation.message);
    }
    if !violations.is_empty() {
        bail!("{} of the house's rules broken (the table is xtask/src/tidy.rs)", violations.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    #[test]
    fn the_tree_is_tidy() {
        if !crate::sh::root().join(".git").exists() {
            assert!(!crate::sh::everything_required(), "REQUIRE=all, but this is no git checkout");
            // Past the test runner's capture, which would swallow it.
            let _ = writeln!(std::io::stderr(), "SKIP the_tree_is_tidy: this is no git checkout");
            return;
        }
        if let Err(error) = super::run() {
            panic!("{error:#}");
        }
    }
}
