//! What a daemon itself uses, under the names that all Prometheus clients have for it. Out of texts of the kernel that a
//! shell hands in.

use super::{Kind, Page, Value};
use model::time::UnixTime;

/// What a shell has to read. A text that cannot be had is empty.
pub const STAT: &str = "/proc/self/stat";
pub const STATUS: &str = "/proc/self/status";
pub const LIMITS: &str = "/proc/self/limits";
/// A directory; its entries are counted.
pub const FILES: &str = "/proc/self/fd";

/// USER_HZ is 100 wherever Linux runs.
const TICK_NS: u64 = 10_000_000;

/// The texts at [`STAT`], [`STATUS`] and [`LIMITS`], and how many entries [`FILES`] has.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    pub stat: String,
    pub status: String,
    pub limits: String,
    pub files: Option<usize>,
}

/// Writes what the texts say; what they do not say is left out.
pub fn write(page: &mut Page, texts: &Texts, started: UnixTime) {
    let mut put = |name: &str, kind, help: &str, value: Option<Value>| {
        if let Some(value) = value {
            page.one(name, kind, help, value);
        }
    };
    let status = |name: &str| {
        let rest = texts.status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let kib = |name| status(name).map(|kib| Value::Whole(kib * 1024));
    let cpu = cpu_ns(&texts.stat).map(Value::Nanoseconds);
    put("process_cpu_seconds_total", Kind::Counter, "On-CPU time of this process, user and system.", cpu);
    put("process_resident_memory_bytes", Kind::Gauge, "Resident memory of this process.", kib("VmRSS"));
    put("process_virtual_memory_bytes", Kind::Gauge, "Address space of this process.", kib("VmSize"));
    let threads = status("Threads").map(Value::Whole);
    put("process_threads", Kind::Gauge, "Threads of this process.", threads);
    let files = texts.files.map(Value::from);
    put("process_open_fds", Kind::Gauge, "Open file descriptors of this process.", files);
    let most = files_max(&texts.limits).map(Value::Whole);
    put("process_max_fds", Kind::Gauge, "File descriptors that this process may have open.", most);
    let started = Value::Float(started.0 as f64 / 1e6);
    put("process_start_time_seconds", Kind::Gauge, "When this process started, Unix time.", Some(started));
}

/// `utime` and `stime` of proc_pid_stat(5); the program's name before them may hold anything, and stands in brackets.
fn cpu_ns(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * TICK_NS)
}

/// The soft limit. `None` also where there is none.
fn files_max(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        let texts = Texts {
            stat: "7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 3 0 1 2 3".to_owned(),
            status: "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n".to_owned(),
            limits: "Limit  Soft  Hard\nMax open files            1024                 4096                 files\n"
                .to_owned(),
            files: Some(9),
        };
        let mut page = Page::default();
        write(&mut page, &texts, UnixTime(1_500_000));
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expect = [
            "process_cpu_seconds_total 3",
            "process_resident_memory_bytes 1048576",
            "process_virtual_memory_bytes 2097152",
            "process_threads 3",
            "process_open_fds 9",
            "process_max_fds 1024",
            "process_start_time_seconds 1.5",
        ];
        assert_eq!(lines, expect);
        let mut page = Page::default();
        write(&mut page, &Texts::default(), UnixTime(0));
        assert_eq!(page.into_text().lines().count(), 3, "only the one that needs no text");
    }
}
