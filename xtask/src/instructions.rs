//! `cargo xtask instructions`: counts the instructions of the allocator's hot paths under callgrind and holds them against
//! the committed baseline. A phase that takes over 3 % more fails, with the numbers. Wall time is no part of it.
//!
//! **What is counted**, so that two machines count alike: the instructions of the program itself, between entry to and
//! return from its function `measured`; not those of libc, which has a `memcpy` for each kind of processor; instead, how
//! often memory is asked for. What the program does depends on no clock, address, seed or environment. Another compiler
//! counts otherwise: where it is not that of the baseline, the numbers are shown, and nothing fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::{needs, sh};

mod callgrind;

use callgrind::Counts;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write what is counted into the baseline.
    #[arg(long)]
    update: bool,
}

const BASELINE: &str = "bench/instructions/baseline.json";

/// Per cent by which a phase may be dearer than its baseline.
const DEARER_MAX: f64 = 3.0;

/// For the steps of CI.
pub(crate) fn check() -> Result<()> {
    run(&Args { update: false })
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if !needs::provide_callgrind()? {
        return Ok(());
    }
    let program = build()?;
    let compiler =
        sh::output(Command::new("rustc").arg("--version").current_dir(sh::root()))?.trim().to_owned();
    let mut counted = BTreeMap::new();
    for phase in sh::output(Command::new(&program).arg("--list"))?.lines() {
        counted.insert(phase.to_owned(), count(&program, phase)?);
    }
    let path = sh::root().join(BASELINE);
    if args.update {
        let text = serde_json::to_string_pretty(&file(&compiler, &counted))? + "\n";
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("{BASELINE} holds {} phases, by {compiler}", counted.len());
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let baseline: Value = serde_json::from_str(&text).with_context(|| format!("{BASELINE} is no JSON"))?;
    let verdict = judge(&baseline, &counted);
    verdict.lines.iter().for_each(|line| eprintln!("{line}"));
    let by = baseline["compiler"].as_str().unwrap_or_default();
    if by != compiler {
        eprintln!("not held against the baseline: that is of {by}, and this is {compiler}");
    } else if !verdict.failures.is_empty() {
        bail!(
            "{}; if that is meant: cargo xtask instructions --update, and say why in the commit",
            verdict.failures.join("; ")
        );
    }
    Ok(())
}

/// The program that runs a phase.
fn build() -> Result<PathBuf> {
    sh::run(sh::cargo().args(["build", "--quiet", "--release", "-p", "instructions"]))?;
    Ok(sh::target_dir()?.join("release/instructions"))
}

fn count(program: &Path, phase: &str) -> Result<Counts> {
    let out = program.with_file_name(format!("instructions.{phase}.callgrind"));
    let option = |name: &str, value: &str| format!("--{name}={value}");
    let mut valgrind = Command::new("valgrind");
    // An empty environment lies on every machine's stack alike.
    valgrind.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).args([
        option("tool", "callgrind"),
        option("callgrind-out-file", &out.to_string_lossy()),
        option("collect-atstart", "no"),
        option("toggle-collect", "instructions::measured*"),
        option("compress-strings", "no"),
        option("compress-pos", "no"),
    ]);
    sh::output(valgrind.arg(program).arg(phase)).with_context(|| format!("phase {phase}"))?;
    let text = std::fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?;
    let counts = callgrind::counts(&text, program);
    if counts.instructions == 0 {
        bail!("phase {phase}: nothing was counted; has `measured` been renamed, or inlined?");
    }
    Ok(counts)
}

fn file(compiler: &str, counted: &BTreeMap<String, Counts>) -> Value {
    let phases: Map<_, _> = counted
        .iter()
        .map(|(phase, counts)| {
            let Counts { instructions, allocations } = counts;
            (phase.clone(), json!({ "instructions": instructions, "allocations": allocations }))
        })
        .collect();
    json!({ "compiler": compiler, "phases": phases })
}

#[derive(Debug, Default, PartialEq)]
struct Verdict {
    /// A line a phase.
    lines: Vec<String>,
    failures: Vec<String>,
}

fn judge(baseline: &Value, counted: &BTreeMap<String, Counts>) -> Verdict {
    let mut verdict = Verdict::default();
    for (phase, counts) in counted {
        let mut line = format!("{phase:<24}");
        for (what, is) in [("instructions", counts.instructions), ("allocations", counts.allocations)] {
            let Some(was) = baseline["phases"][phase][what].as_u64() else {
                verdict.failures.push(format!("{phase}: the baseline has no {what}"));
                continue;
            };
            let change = (is as f64 - was as f64) / was.max(1) as f64 * 100.0;
            line += &format!(" {is:>12} {what} ({change:+.2} %)");
            if change > DEARER_MAX {
                verdict.failures.push(format!("{phase}: {is} {what}, {change:+.2} % of {was}"));
            }
        }
        verdict.lines.push(line);
    }
    let known = baseline["phases"].as_object().into_iter().flat_map(Map::keys);
    let gone = known.filter(|phase| !counted.contains_key(*phase));
    verdict.failures.extend(gone.map(|phase| format!("{phase}: in the baseline, and not counted")));
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_got_dearer_by_more_than_the_margin_fails() {
        let baseline = json!({ "phases": {
            "a": { "instructions": 1000, "allocations": 10 }, "gone": { "instructions": 1, "allocations": 1 },
        }});
        let judged = |instructions, allocations| {
            let counted = BTreeMap::from([("a".to_owned(), Counts { instructions, allocations })]);
            judge(&baseline, &counted).failures
        };
        let gone = "gone: in the baseline, and not counted";
        assert_eq!(judged(1030, 10), [gone]);
        assert_eq!(judged(500, 0), [gone], "cheaper is no failure");
        assert_eq!(judged(1031, 10), ["a: 1031 instructions, +3.10 % of 1000", gone]);
        assert_eq!(judged(1000, 11), ["a: 11 allocations, +10.00 % of 10", gone]);
    }

    #[test]
    fn a_phase_that_the_baseline_does_not_know_fails() {
        let counted = BTreeMap::from([("new".to_owned(), Counts { instructions: 1, allocations: 0 })]);
        let failures = judge(&json!({ "phases": {} }), &counted).failures;
        assert_eq!(
            failures,
            ["new: the baseline has no instructions", "new: the baseline has no allocations"]
        );
    }
}
