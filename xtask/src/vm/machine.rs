//! One machine under qemu: booted, listened to, ended. Emulated, for nobody can count on /dev/kvm; which also means that
//! its clock runs while its CPUs wait for ours.
//!
//! Its CPUs take turns on one thread of ours. On threads of their own qemu 7.2 may show one CPU the breakpoint by which
//! the kernel patches a tracepoint's call after another has taken it away: an `int3` that nobody expects, and a panic.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::image::EXIT_MARK;

pub(super) struct Machine<'a> {
    /// Uncompressed kernel, and the initramfs.
    pub(super) kernel: &'a Path,
    pub(super) image: &'a Path,
    pub(super) cpus: u32,
    pub(super) memory_mib: u32,
    /// Where the kernel's messages go.
    pub(super) console: &'a Path,
    pub(super) timeout: Duration,
    /// Stands before each line that it prints.
    pub(super) mark: &'a str,
}

/// How it ended that did.
pub(super) struct Ended {
    /// The tests' own.
    pub(super) code: i32,
    /// What it took of our CPUs: what it would have taken of time, had it had one for itself.
    pub(super) cpu_s: u64,
}

/// Of 2 MiB, set apart at the boot, for tests of who may have some.
const HUGE_PAGES: u32 = 8;

/// Lines of the kernel's messages that are shown when a machine ends without saying how.
const TAIL: usize = 30;

/// Runs it to its end and passes on what the tests print.
pub(super) fn run(machine: &Machine<'_>) -> Result<Ended> {
    let mut child = start(machine)?;
    let output = child.stdout.take().expect("asked for");
    let child = Arc::new(Mutex::new(child));
    let over = Arc::new(AtomicBool::new(false));
    let watch = watchdog(child.clone(), over.clone(), machine.timeout);
    let mut code = None;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read what the machine prints")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        match line.strip_prefix(EXIT_MARK) {
            Some(number) => code = number.trim().parse().ok(),
            None => println!("{}{line}", machine.mark),
        }
    }
    over.store(true, Ordering::Release);
    watch.thread().unpark();
    let _ = watch.join();
    let mut child = child.lock().expect("nobody panics with it");
    let cpu_s = cpu_s(child.id());
    let status = child.wait().context("cannot wait for qemu")?;
    match code {
        Some(code) => Ok(Ended { code, cpu_s }),
        None => {
            bail!("it ended ({status}) without an exit code; its last messages:\n{}", tail(machine.console))
        }
    }
}

/// Of a process that nobody has waited for yet. (proc(5), `stat`: the 14th and the 15th field, in hundredths.)
fn cpu_s(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    fields.skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum::<u64>() / 100
}

fn start(machine: &Machine<'_>) -> Result<Child> {
    let console = format!("file:{}", machine.console.display());
    Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max"])
        .args(["-smp", &machine.cpus.to_string(), "-m", &machine.memory_mib.to_string()])
        .args(["-serial", &console, "-serial", "stdio"])
        .arg("-kernel")
        .arg(machine.kernel)
        .arg("-initrd")
        .arg(machine.image)
        .args([
            "-append",
            &format!("console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off hugepages={HUGE_PAGES}"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start qemu-system-x86_64")
}

/// Ends a machine that hangs.
fn watchdog(
    child: Arc<Mutex<Child>>,
    over: Arc<AtomicBool>,
    timeout: Duration,
) -> std::thread::JoinHandle<()> {
    let deadline = Instant::now() + timeout;
    std::thread::spawn(move || {
        while !over.load(Ordering::Acquire) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                eprintln!("no end after {} s: the machine is switched off", timeout.as_secs());
                let _ = child.lock().expect("nobody panics with it").kill();
                return;
            }
            std::thread::park_timeout(left);
        }
    })
}

fn tail(console: &Path) -> String {
    let text = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
