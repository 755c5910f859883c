//! Requests of block devices, held against what the device itself has counted: a loop device that nobody else uses.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use agent::bpf::Figure;
use model::usage::Device;

use crate::metered::Meter;
use crate::needs::{self, Need};
use crate::scene::DEADLINE;

const MIB: u64 = 1 << 20;

/// A loop device over a file of its own; detached when dropped.
struct Loop {
    device: PathBuf,
    name: String,
    _folder: tempfile::TempDir,
}

impl Loop {
    /// `None` after saying why there is none.
    fn make(test: &str, scheduler: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        File::create(&file).unwrap().set_len(64 * MIB).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output().unwrap();
        if !made.status.success() {
            needs::skip(test, &format!("no loop device: {}", String::from_utf8_lossy(&made.stderr).trim()));
            return None;
        }
        let device = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        let name = device.file_name().unwrap().to_str().unwrap().to_owned();
        let made = Self { device, name, _folder: folder };
        if fs::write(made.sys("queue/scheduler"), scheduler).is_err() {
            needs::skip(test, &format!("this kernel has no I/O scheduler {scheduler}"));
            return None;
        }
        Some(made)
    }

    fn sys(&self, what: &str) -> PathBuf {
        Path::new("/sys/block").join(&self.name).join(what)
    }

    /// What is read ahead may still be on its way when who wanted it is gone.
    fn wait_idle(&self) {
        let start = Instant::now();
        while fs::read_to_string(self.sys("inflight")).unwrap().split_whitespace().any(|it| it != "0") {
            assert!(start.elapsed() < DEADLINE, "{} never ends", self.name);
            std::thread::yield_now();
        }
    }

    /// Its number, and what it has counted so far: reads, bytes read, writes, bytes written.
    fn counted(&self) -> ((u32, u32), [u64; 4]) {
        let number = fs::read_to_string(self.sys("dev")).unwrap();
        let (major, minor) = number.trim().split_once(':').unwrap();
        let stat = fs::read_to_string(self.sys("stat")).unwrap();
        let of: Vec<u64> = stat.split_whitespace().map(|it| it.parse().unwrap()).collect();
        // Sectors are of 512 bytes, whatever the device's are.
        ((major.parse().unwrap(), minor.parse().unwrap()), [of[0], of[2] * 512, of[4], of[6] * 512])
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// Runs what `workload.rs` was told to, by its words: so many reads or writes of so many KiB, past the page cache or through
/// it.
pub(crate) fn workload(words: &[&str]) {
    let number = |index: usize| words[index].parse::<u64>().unwrap();
    let (path, count, bytes) = (words[2], number(3), number(4) * 1024);
    let flags = if words[0] == "direct" { libc::O_DIRECT } else { 0 };
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).unwrap();
    // The device wants the memory aligned to its blocks.
    let mut memory = vec![0_u8; bytes as usize + 4096];
    let from = memory.as_ptr().align_offset(4096);
    let buffer = &mut memory[from..from + bytes as usize];
    for index in 0..count {
        match words[1] {
            "write" => file.write_all_at(buffer, index * bytes).unwrap(),
            _ => file.read_exact_at(buffer, index * bytes).unwrap(),
        }
    }
    if words[0] == "cached" && words[1] == "write" {
        file.sync_all().unwrap();
    }
}

fn row(devices: &[Device], (major, minor): (u32, u32)) -> Device {
    *devices.iter().find(|it| (it.major, it.minor) == (major, minor)).expect("a row for the device")
}

fn figures(device: &Device) -> [u64; 4] {
    [device.read_ops, device.read_bytes, device.write_ops, device.write_bytes]
}

/// Where requests wait for their turn, another than who made them may bring them to the device.
#[test]
fn direct_requests_are_the_devices_own() {
    let name = "direct_requests_are_the_devices_own";
    if !needs::met(name, &[Need::Root, Need::Program("losetup")]) {
        return;
    }
    let Some(mut meter) = Meter::open(name, &[Figure::Io]) else { return };
    for scheduler in ["none", "mq-deadline"] {
        let Some(disk) = Loop::make(name, scheduler) else { continue };
        let path = disk.device.display();
        let (number, before) = disk.counted();
        let one = meter.container(&format!("one-{scheduler}"));
        let two = meter.container(&format!("two-{scheduler}"));
        let nested = two.nested("deep");
        let running = [
            one.workload(&format!("direct write {path} 300 16")),
            one.workload(&format!("direct read {path} 200 64")),
            nested.workload(&format!("direct read {path} 400 4")),
        ];
        running.into_iter().for_each(|it| _ = it.end());
        meter.bpf.refresh().unwrap();
        let now = meter.bpf.read(one.id).unwrap().unwrap().devices.unwrap();
        let last = [&one, &two].map(|it| {
            let sample = meter.bpf.remove_container(it.id).unwrap().unwrap();
            row(&sample.devices.unwrap(), number)
        });
        assert_eq!(row(&now, number), last[0]);
        assert_eq!(figures(&last[0]), [200, 200 * 64 * 1024, 300, 300 * 16 * 1024], "{scheduler}");
        assert_eq!(figures(&last[1]), [400, 400 * 4 * 1024, 0, 0], "{scheduler}");
        let (_, after) = disk.counted();
        let device: [u64; 4] = std::array::from_fn(|at| after[at] - before[at]);
        let counted: [u64; 4] = std::array::from_fn(|at| figures(&last[0])[at] + figures(&last[1])[at]);
        assert_eq!(counted, device, "{scheduler}");
        for it in last {
            assert_eq!(it.latency.count(), it.read_ops + it.write_ops);
            let mean = it.latency.sum_ns / it.latency.count();
            println!("{scheduler}: {} requests, mean {mean} ns", it.latency.count());
            assert!((1_000..10_000_000_000).contains(&mean), "{mean} ns");
        }
        // Nothing of them is left behind.
        meter.bpf.refresh().unwrap();
        meter.bpf.add_container(one.id, &one.path).unwrap();
        assert_eq!(meter.bpf.remove_container(one.id).unwrap().unwrap().devices, Some(Vec::new()));
    }
    assert_eq!(meter.bpf.losses().requests, 0);
}

/// What is read into the page cache, and what fsync writes out of it.
#[test]
fn cached_reads_and_synced_writes_are_whose_they_are() {
    let name = "cached_reads_and_synced_writes_are_whose_they_are";
    if !needs::met(name, &[Need::Root, Need::Program("losetup")]) {
        return;
    }
    let Some(mut meter) = Meter::open(name, &[Figure::Io]) else { return };
    let Some(disk) = Loop::make(name, "none") else { return };
    for (what, bytes) in [("read", [8 * MIB, 0]), ("write", [0, 8 * MIB])] {
        let (number, before) = disk.counted();
        let container = meter.container(what);
        container.workload(&format!("cached {what} {} 8 1024", disk.device.display())).end();
        disk.wait_idle();
        let sample = meter.bpf.remove_container(container.id).unwrap().unwrap();
        let counted = row(&sample.devices.unwrap(), number);
        let (_, after) = disk.counted();
        let device: [u64; 4] = std::array::from_fn(|at| after[at] - before[at]);
        println!("{what}: {:?} of {device:?}", figures(&counted));
        // Reading ahead goes further; what was read before is in the cache when it is written over.
        assert!(counted.read_bytes >= bytes[0] && counted.write_bytes == bytes[1], "{counted:?}");
        // The device counts the flush behind the writes as a write of nothing.
        let flushes = u64::from(what == "write");
        assert_eq!(figures(&counted), [device[0], device[1], device[2] - flushes, device[3]]);
    }
}
