//! `ingot-bench SCENARIO`: how fast and how large, measured on this machine. A scenario a file; each prints its figures,
//! or with `--json` one object. Exits 0 whether or not a bar is met: wall time tells, it does not gate.

mod accounting;
mod allocations;
mod clock;
mod daemons;
mod launch;
mod logger;
mod loopback;
mod offers;
mod oversubscription;
mod recovery;
mod report;
mod workload;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "ingot-bench", version, about)]
struct Arguments {
    /// One JSON object instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// The allocator: agents and frameworks come, resources are offered, declined and freed.
    Offers(offers::Arguments),
    /// What the agent measures: how true it is, and what it costs. Needs root and cgroup v2 for most of it.
    Accounting(accounting::Arguments),
    /// One agent's containers: how many a second, how soon one runs, what each costs, how soon a killed agent is back.
    Launch(launch::Arguments),
    /// Containers' output: what it costs to have it rotated.
    Logger(logger::Arguments),
    /// Agents' sessions that report once a second: the master's CPU and memory. Needs 4 GiB and, for the file limit, root.
    Sessions(loopback::SessionsArguments),
    /// Tasks that end, until their resources are offered again; offers a second to many frameworks.
    Delivery(loopback::DeliveryArguments),
    /// What may be offered again of what tasks were given, by recorded series; what revocable tasks do to others, and how fast
    /// they are held back.
    Oversubscription(oversubscription::Arguments),
    /// What a master's death costs: the registry, agents' return, the first offer. Needs ZooKeeper, root and file descriptors.
    Recovery(recovery::Arguments),
    /// What runs inside the measured containers.
    #[command(subcommand, hide = true)]
    Workload(workload::Workload),
    /// Waits for the end of the bench that started it and removes what that has made.
    #[command(hide = true)]
    Janitor,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.scenario {
        Scenario::Workload(workload) => return workload::run(workload),
        Scenario::Janitor => return accounting::janitor::run(),
        _ => {}
    }
    if cfg!(debug_assertions) {
        eprintln!("ingot-bench: built without optimisation; run `cargo run --release -p bench -- ...`");
    }
    let report = match arguments.scenario {
        Scenario::Offers(arguments) => offers::run(&arguments)?,
        Scenario::Accounting(arguments) => accounting::run(&arguments)?,
        Scenario::Launch(arguments) => launch::run(&arguments)?,
        Scenario::Logger(arguments) => logger::run(&arguments)?,
        Scenario::Sessions(arguments) => loopback::sessions(&arguments)?,
        Scenario::Delivery(arguments) => loopback::delivery(&arguments)?,
        Scenario::Recovery(arguments) => recovery::run(&arguments)?,
        Scenario::Oversubscription(arguments) => oversubscription::run(&arguments)?,
        Scenario::Workload(_) | Scenario::Janitor => unreachable!("both returned above"),
    };
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
