//! `cargo xtask vm`: runs the agent's privileged tests on other kernels, each in a machine of its own: Debian's cloud
//! kernels under qemu's emulation, with nothing in them but a unified cgroup hierarchy, a bpffs and the tests. What a
//! test machine with v1 controllers cannot show (limits, `memory.stat`, OOM kills) is shown there; and what the verifier
//! of an older kernel says.
//!
//! `vm/kernel.rs` fetches kernels, `vm/image.rs` packs the root file system, `vm/machine.rs` runs qemu.

#![expect(clippy::disallowed_methods, reason = "a shell: it tells how long each machine ran")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{needs, sh};

mod image;
mod kernel;
mod machine;

use kernel::Series;

const TESTS: &str = "privileged";
const CPUS: u32 = 2;
const MEMORY_MIB: u32 = 1536;

/// Which tests to run on which kernels.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Debian's kernel series.
    #[arg(long, value_enum, default_value = "all")]
    kernel: Kernels,
    /// Test targets of the agent (folders of agent/tests).
    #[arg(long = "test", value_name = "TARGET", default_value = TESTS)]
    tests: Vec<String>,
    /// CPUs of the machine.
    #[arg(long, default_value_t = CPUS)]
    cpus: u32,
    /// Memory of the machine, MiB.
    #[arg(long, default_value_t = MEMORY_MIB)]
    memory: u32,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 1800)]
    timeout: u64,
    /// Passed on to each test binary: `cargo xtask vm --kernel 6.1 -- faults --nocapture`.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kernels {
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    All,
}

/// Every kernel that is tried.
const SERIES: [Series; 2] = [Series { name: "6.1" }, Series { name: "6.12" }];

pub(crate) fn run(args: &Args) -> Result<()> {
    needs::provide_machines()?;
    let kernels = kernels(args.kernel)?;
    let programs = build(&args.tests)?;
    boot_each(args, &kernels, &programs, &|_| args.rest.clone())
}

/// The part that CI runs, on every kernel: faults, and what needs controllers that CI's own machine may lack. Where there can be
/// no machine this is said, and is an error with `REQUIRE=all`.
pub(crate) fn check() -> Result<()> {
    let kernels = needs::provide_machines().and_then(|()| kernels(Kernels::All));
    let kernels = match kernels {
        Ok(kernels) => kernels,
        Err(error) if sh::everything_required() => {
            return Err(error.context("REQUIRE=all, and no machine can be made here"));
        }
        Err(error) => {
            sh::say(&format!("skipped, for no machine can be made here: {error:#}"));
            return Ok(());
        }
    };
    let args = Args {
        kernel: Kernels::All,
        tests: CHECKED.iter().map(|(test, _)| (*test).to_owned()).collect(),
        cpus: CPUS,
        memory: MEMORY_MIB,
        timeout: CHECK_S_MAX,
        rest: Vec::new(),
    };
    let programs = build(&args.tests)?;
    let parts = |test: &str| {
        let (_, parts) = CHECKED.iter().find(|(name, _)| *name == test).expect("nothing else was built");
        parts.iter().map(|it| (*it).to_owned()).collect()
    };
    boot_each(&args, &kernels, &programs, &parts)
}

/// Test targets, and their tests by parts of their names.
const CHECKED: &[(&str, &[&str])] = &[
    (TESTS, &["faults", "limit", "oom_kill", "delegated", "--skip", "page_faults"]),
    // The other test of users wants a volume on the machine's tmpfs, which has no id-mapped mounts before Linux 6.3.
    (
        "whole",
        &[
            "limits::",
            "users::containers_have",
            "images::a_nested_container_runs",
            "nested::nested_containers_nest",
        ],
    ),
];
/// Several times what they take on each kernel of a CPU's time, for there may be others at work.
const CHECK_S_MAX: u64 = 1500;

fn kernels(wanted: Kernels) -> Result<Vec<(&'static Series, kernel::Kernel)>> {
    let folder = folder()?;
    let wanted = SERIES.iter().filter(|it| match wanted {
        Kernels::V6_1 => it.name == "6.1",
        Kernels::V6_12 => it.name == "6.12",
        Kernels::All => true,
    });
    wanted.map(|series| Ok((series, kernel::provide(series, &folder)?))).collect()
}

fn folder() -> Result<PathBuf> {
    let folder = sh::target_dir()?.join("vm");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// All at once: each machine's CPUs take turns on one thread of ours.
fn boot_each(
    args: &Args,
    kernels: &[(&'static Series, kernel::Kernel)],
    programs: &[image::Program],
    rest: &(dyn Fn(&str) -> Vec<String> + Sync),
) -> Result<()> {
    let is_one = kernels.len() == 1;
    let failed: Vec<String> = std::thread::scope(|scope| {
        let boot = |series: &'static Series, kernel| {
            let mark = if is_one { String::new() } else { format!("{}| ", series.name) };
            scope.spawn(move || boot(args, series, kernel, programs, rest, &mark))
        };
        let machines: Vec<_> = kernels.iter().map(|(series, kernel)| boot(series, kernel)).collect();
        let ends = machines.into_iter().zip(kernels).map(|(machine, (_, kernel))| {
            let ended = machine.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            ended.err().map(|why| format!("Linux {}: {why:#}", kernel.version))
        });
        ends.flatten().collect()
    });
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("; ")) }
}

/// `mark`: stands before all that the machine prints.
fn boot(
    args: &Args,
    series: &Series,
    kernel: &kernel::Kernel,
    programs: &[image::Program],
    rest: &dyn Fn(&str) -> Vec<String>,
    mark: &str,
) -> Result<()> {
    let folder = folder()?;
    let image = folder.join(format!("image-{}.cpio", series.name));
    let content = image::Content { programs, modules: &kernel.modules, args: &|test| arguments(rest(test)) };
    image::write(&image, &content)?;
    sh::say(&format!("{mark}--- Linux {}, {} CPUs", kernel.version, args.cpus));
    let started = Instant::now();
    let machine = machine::Machine {
        kernel: &kernel.image,
        image: &image,
        cpus: args.cpus,
        memory_mib: args.memory,
        console: &folder.join(format!("console-{}.log", series.name)),
        timeout: std::time::Duration::from_secs(args.timeout),
        mark,
    };
    let ended = machine::run(&machine)?;
    let (seconds, cpu_s) = (started.elapsed().as_secs(), ended.cpu_s);
    if ended.code != 0 {
        bail!("exit {}, {seconds} s, {cpu_s} s of a CPU", ended.code);
    }
    sh::say(&format!("{mark}--- Linux {}: ok, {seconds} s, {cpu_s} s of a CPU", kernel.version));
    Ok(())
}

/// What a machine is made of, on Debian.
pub(crate) const PACKAGES: &[&str] =
    &["qemu-system-x86", "busybox-static", "zstd", "lz4", "xz-utils", "binutils", "iproute2"];

/// The programs that are not there.
pub(crate) fn missing_tools() -> Vec<&'static str> {
    let tools: &[(&str, &[&str])] = &[
        ("qemu-system-x86_64", &["--version"]),
        ("busybox", &["true"]),
        ("zstd", &["--version"]),
        ("lz4", &["--version"]),
        ("xz", &["--version"]),
        ("strip", &["--version"]),
        ("ip", &["-V"]),
    ];
    tools.iter().filter(|(program, args)| !sh::works(program, args)).map(|(program, _)| *program).collect()
}

/// Tests that are ignored elsewhere are so because they need such a machine.
fn arguments(rest: Vec<String>) -> Vec<String> {
    std::iter::once("--include-ignored".to_owned()).chain(rest).collect()
}

/// Builds the tests, and the agent that some of them start. Of the whole workspace: with one package's features alone,
/// what `cargo xtask test` has built would have to be built once more.
fn build(tests: &[String]) -> Result<Vec<image::Program>> {
    let mut cargo = sh::cargo();
    cargo.args(["test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"]);
    for test in tests {
        cargo.args(["--test", test]);
    }
    sh::say(&format!("$ cargo test --workspace --no-run --test {}", tests.join(" --test ")));
    let output = output_beside_stderr(&mut cargo)?;
    let mut programs = Vec::new();
    for line in output.lines() {
        let message: Value =
            serde_json::from_str(line).context("cargo printed something that is not JSON")?;
        let Some(path) = message["executable"].as_str() else { continue };
        let name = message["target"]["name"].as_str().unwrap_or_default().to_owned();
        let is_test = message["profile"]["test"].as_bool().unwrap_or(false);
        programs.push(image::Program { path: PathBuf::from(path), test: is_test.then_some(name) });
    }
    if programs.iter().all(|it| it.test.is_none()) {
        bail!("cargo built no test");
    }
    Ok(programs)
}

fn output_beside_stderr(command: &mut Command) -> Result<String> {
    let done = command.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
    if !done.status.success() {
        bail!("cargo failed: {}", done.status);
    }
    String::from_utf8(done.stdout).context("cargo printed something that is not UTF-8")
}
