//! `cargo xtask`: the project's own chores, one file each. Depends on no crate of the workspace, so it builds first
//! and alone, and no chore can be broken by the code it looks after.

use std::process::ExitCode;

use clap::Parser;

mod ci;
mod codegen;
mod ebpf;
mod failover;
mod instructions;
mod needs;
mod sh;
mod sim;
mod test;
mod tidy;
mod up;
mod vm;

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
enum Chore {
    /// Build, start a master and an agent here, run the example job, show what was measured.
    Up(up::Args),
    /// Run the tests; as root on Debian, install first what they need.
    Test(test::Args),
    /// Run whole simulated clusters, each from a seed; stop at the first broken law.
    Sim(sim::Args),
    /// Check the rules of the house: file heads and sizes, who may import what, manifests.
    Tidy,
    /// Generate the Cap'n Proto code in capnp/generated from capnp/schema.
    Codegen(codegen::Args),
    /// Build the BPF programs into agent-ebpf/object.
    Ebpf(ebpf::Args),
    /// Kill masters, many times, and look what becomes of agents, tasks and the registry.
    Failover(failover::Args),
    /// Run the agent's privileged tests on Debian's 6.1 and 6.12 kernels, under emulation.
    Vm(vm::Args),
    /// Count the instructions of the allocator's hot paths, and hold them against the baseline.
    Instructions(instructions::Args),
    /// Everything that CI runs.
    Ci(ci::Args),
}

fn main() -> ExitCode {
    let done = match Chore::parse() {
        Chore::Up(args) => up::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Sim(args) => sim::run(&args),
        Chore::Tidy => tidy::run(),
        Chore::Codegen(args) => codegen::run(&args),
        Chore::Ebpf(args) => ebpf::run(&args),
        Chore::Failover(args) => failover::run(&args),
        Chore::Vm(args) => vm::run(&args),
        Chore::Instructions(args) => instructions::run(&args),
        Chore::Ci(args) => ci::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
