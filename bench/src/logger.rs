//! What it costs to have containers' output rotated: the same lines into a plain file and through the logger, by turns; and
//! what a logger is to a machine whose containers print nothing.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ingot_agent::containerizer::plan::logger_directory;
use ingot_agent::logger::pipes;
use ingot_agent::logger::settings::{Keep, Settings};
use ingot_agent::logger::supervisor::{self, Process};
use ingot_agent::logger::ticket::Ticket;
use serde_json::json;

use crate::clock;
use crate::daemons;
use crate::report::{Better, Goal, Report};

const THROUGHPUT: Goal = Goal {
    name: "lines of one flooding container through the logger",
    unit: "MiB/s",
    better: Better::Higher,
    bar: 200.0,
};
const COST: Goal =
    Goal { name: "what the logger computes for a GiB of lines", unit: "s", better: Better::Lower, bar: 1.0 };
const IDLE: Goal = Goal {
    name: "memory of the logger a container, of those that print nothing",
    unit: "KiB",
    better: Better::Lower,
    bar: 16.0,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// MiB printed in each turn.
    #[arg(long, default_value_t = 512)]
    mebibytes: u64,
    /// Turns of each kind.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Containers that print nothing.
    #[arg(long, default_value_t = 1_000)]
    containers: usize,
    /// A folder on the disk that is to be measured; a temporary one if left out.
    #[arg(long)]
    folder: Option<PathBuf>,
}

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let folder = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = folder.join(format!("ingot-bench-logger-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let measured = measure(arguments, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

fn measure(arguments: &Arguments, folder: &Path) -> anyhow::Result<Report> {
    let mut report = Report::new("logger");
    let program = daemons::programs()?.join("ingot-agent");
    let logger = supervisor::start(&program, folder)?;
    let bytes = arguments.mebibytes << 20;
    let (mut plain, mut rotated) = (Vec::new(), Vec::new());
    for turn in 0..arguments.turns {
        plain.push(into_a_file(folder, bytes)?);
        rotated.push(through_the_logger(folder, &format!("turn-{turn}"), &logger, bytes)?);
    }
    let mebibytes = arguments.mebibytes as f64;
    let speed = |turns: &[Turn]| median(turns.iter().map(|turn| mebibytes / turn.took.as_secs_f64()));
    let cpu = |of: fn(&Turn) -> Duration, turns: &[Turn]| {
        median(turns.iter().map(|turn| of(turn).as_secs_f64() * 1024.0 / mebibytes))
    };
    report.goal(&THROUGHPUT, Ok(speed(&rotated)));
    report.goal(&COST, Ok(cpu(|turn| turn.logger, &rotated)));
    report.detail("plain_file_mib_s", speed(&plain));
    let printer = json!({ "plain": cpu(|it| it.printer, &plain), "logger": cpu(|it| it.printer, &rotated) });
    report.detail("printer_cpu_s_a_gib", printer);
    idle(arguments.containers, folder, &logger, &mut report)?;
    Ok(report)
}

/// One flood.
struct Turn {
    /// From the first line until all were in files.
    took: Duration,
    /// CPU time of who printed.
    printer: Duration,
    logger: Duration,
}

fn into_a_file(folder: &Path, bytes: u64) -> anyhow::Result<Turn> {
    let path = folder.join("plain");
    let file = File::options().create(true).append(true).open(&path)?;
    let (began, cpu) = (clock::now(), clock::thread_cpu());
    print(file, bytes)?;
    let turn =
        Turn { took: clock::now() - began, printer: clock::thread_cpu() - cpu, logger: Duration::ZERO };
    std::fs::remove_file(path)?;
    Ok(turn)
}

fn through_the_logger(folder: &Path, name: &str, logger: &Process, bytes: u64) -> anyhow::Result<Turn> {
    let [stdout, stderr] = container(folder, name)?;
    let computed = || clock::cpu_of_process(logger.pid());
    let (began, cpu, logger) = (clock::now(), clock::thread_cpu(), computed()?);
    print(File::from(stdout), bytes)?;
    let printer = clock::thread_cpu() - cpu;
    drop(stderr);
    until_over(folder, name, began)?;
    let turn = Turn { took: clock::now() - began, printer, logger: computed()? - logger };
    std::fs::remove_dir_all(folder.join("sandboxes").join(name))?;
    Ok(turn)
}

/// What a container would have as its output.
fn container(folder: &Path, name: &str) -> anyhow::Result<[std::os::fd::OwnedFd; 2]> {
    let sandbox = folder.join("sandboxes").join(name);
    std::fs::create_dir_all(&sandbox)?;
    let keep = Keep::default();
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let ticket = Ticket { sandbox, uid, gid, settings: Settings { stdout: keep, stderr: keep } };
    Ok(pipes::open(&logger_directory(folder), name, &ticket)?)
}

fn until_over(folder: &Path, name: &str, began: Instant) -> anyhow::Result<()> {
    let ticket = logger_directory(folder).join(name);
    while ticket.exists() {
        if clock::now() - began > PATIENCE {
            bail!("the logger does not come to an end");
        }
        clock::wait_until(clock::now() + LOOK_AGAIN);
    }
    Ok(())
}

/// Lines of 100 bytes, by writes of 4 KiB, as the C library's stdio does.
fn print(mut into: File, bytes: u64) -> anyhow::Result<()> {
    let line = [&[b'x'; 99][..], b"\n"].concat();
    let block: Vec<u8> = line.iter().copied().cycle().take(100 * 1024).collect();
    let mut written = 0;
    let mut pieces = block.chunks_exact(4096).cycle();
    while written < bytes {
        let piece = pieces.next().context("a block has pieces")?;
        into.write_all(piece)?;
        written += piece.len() as u64;
    }
    Ok(())
}

fn idle(containers: usize, folder: &Path, logger: &Process, report: &mut Report) -> anyhow::Result<()> {
    let before = resident_kib(logger.pid());
    let mut held = Vec::new();
    for number in 0..containers {
        let [stdout, stderr] = container(folder, &format!("idle-{number}"))?;
        writeln!(&mut File::from(stdout.try_clone()?), "one line")?;
        held.push((stdout, stderr));
    }
    let deadline = clock::now();
    let is_there = |number: usize| {
        let file = folder.join(format!("sandboxes/idle-{number}/stdout"));
        std::fs::read_to_string(file).is_ok_and(|text| text == "one line\n")
    };
    while !(0..containers).all(is_there) {
        if clock::now() - deadline > PATIENCE {
            bail!("a line is missing");
        }
        clock::wait_until(clock::now() + LOOK_AGAIN);
    }
    let after = resident_kib(logger.pid());
    let each = after.saturating_sub(before) as f64 / containers as f64;
    report.goal(&IDLE, Ok(each));
    report.detail("logger_resident_kib", json!({ "before": before, "with_idle_containers": after }));
    let cpu = clock::cpu_of_process(logger.pid())?;
    clock::wait_until(clock::now() + Duration::from_secs(1));
    let cpu = clock::cpu_of_process(logger.pid())? - cpu;
    report.detail("logger_cpu_us_a_second_idle", cpu.as_micros() as u64);
    Ok(())
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
