//! `ingot-agent doctor`: what this machine can and cannot measure and enforce, found out by trying, beside or without an
//! agent. It makes one empty cgroup for a moment, to attach programs to, and leaves nothing.

mod findings;
mod machine;

#[cfg(test)]
mod tests;

pub use findings::{lost, remedy_of_limits, report, source};
pub use machine::{Machine, look};

use crate::bpf::hold::Hold;
use crate::bpf::{Bpf, Reason, Support};
use crate::cgroup::Enforcement;
use crate::cgroup::hierarchy::{self, Foreseen};
use api::doctor::{By, Report, State};
use clap::Parser;
use std::io::Write as _;
use std::process::ExitCode;

/// What is missing has this exit code, so that a script can tell it from a doctor that could not look.
pub const MISSING: u8 = 3;

/// Says what this machine can and cannot measure and enforce, and the command that would change it.
///
/// Exits with 3 when something is missing.
#[derive(Parser)]
#[command(name = "ingot-agent doctor", version)]
struct Args {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs with the arguments after `doctor`.
pub fn run() -> ExitCode {
    let args = Args::parse_from(std::env::args_os().skip(1));
    let report = probe();
    let text = if args.json {
        serde_json::to_string_pretty(&report).expect("a report is texts") + "\n"
    } else {
        report.to_string()
    };
    // Whoever closed the pipe has read enough.
    _ = std::io::stdout().lock().write_all(text.as_bytes());
    if report.count(State::Missing) > 0 { ExitCode::from(MISSING) } else { ExitCode::SUCCESS }
}

fn probe() -> Report {
    let machine = machine::look();
    let (support, enforcement) = match hierarchy::foresee() {
        Ok(mut foreseen) => {
            let support = try_bpf(&foreseen);
            foreseen.enforcement.tried(Hold::probe());
            (support, foreseen.enforcement)
        }
        Err(error) => (Support::nothing(Reason::NoCgroups), Enforcement::none(&error.to_string())),
    };
    findings::report(&machine, &support, &enforcement, By::Probe)
}

/// Loads and attaches everything to a group that nobody is in.
fn try_bpf(foreseen: &Foreseen) -> Support {
    let group = foreseen.parent.join(format!("ingot-doctor-{}", std::process::id()));
    // Who may not make a group lacks more for BPF, and is told so there.
    let is_made = std::fs::create_dir(&group).is_ok();
    let (bpf, support) = Bpf::open(if is_made { &group } else { &foreseen.parent });
    drop(bpf);
    if is_made {
        _ = std::fs::remove_dir(&group);
    }
    support
}
