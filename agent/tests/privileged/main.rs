//! Tests that need the real kernel: BPF and cgroups, natively as root. Each says what it needs; where that is missing it
//! prints why it is skipped, and fails instead when `REQUIRE=all`.
#![allow(clippy::unwrap_used, reason = "a test's broken premise is its failure")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for real processes, with a deadline on the real clock"
)]
#![allow(unreachable_pub, reason = "a test has no outside")]

mod groups;
mod image;
mod metered;
mod needs;
mod scene;
mod traffic;
mod workload;

mod bpf_cpu;
mod bpf_io;
mod bpf_life;
mod bpf_memory;
mod bpf_net;
mod bpf_tcp;
mod bpf_waits;
mod containers;
mod faults;
mod faults_pins;
mod faults_upgrade;
mod files;
mod holds;
mod images;
mod init;
mod isolation_names;
mod isolation_rights;
mod isolation_root;
mod isolation_volumes;
mod limits;
mod ordinary;
mod sampling;
