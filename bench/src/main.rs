//! `ingot-bench SCENARIO`: how fast and how large, measured on this machine. A scenario a file; each prints its figures,
//! or with `--json` one object. Exits 0 whether or not a bar is met: wall time tells, it does not gate.

mod clock;
mod offers;
mod report;

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
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if cfg!(debug_assertions) {
        eprintln!("ingot-bench: built without optimisation; run `cargo run --release -p bench -- ...`");
    }
    let report = match arguments.scenario {
        Scenario::Offers(arguments) => offers::run(&arguments)?,
    };
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
