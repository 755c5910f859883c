//! The texts of cgroup files and of a process's status as values: bytes in, numbers out, nothing allocated but lists.
//! Reads nothing. A line or key it does not know is skipped: kernels add them.

use model::usage::Device;

use crate::accounting::sample::{CpuStat, MemoryStat, Pressure};

pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// A number in decimal digits and nothing else, space around it aside. `None` also for one of more than 64 bits.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// Calls `see` with the key and the number of each line of `key number`.
pub(super) fn keyed<'a>(text: &'a [u8], mut see: impl FnMut(&'a [u8], u64)) {
    for line in lines(text) {
        let Some(space) = line.iter().position(|&byte| byte == b' ') else { continue };
        if let Some(number) = number(&line[space + 1..]) {
            see(&line[..space], number);
        }
    }
}

/// `cpu.stat`. `None` if even the usage is missing.
pub(super) fn cpu_stat(text: &[u8]) -> Option<CpuStat> {
    let mut stat = CpuStat::default();
    let mut has_usage = false;
    keyed(text, |key, number| match key {
        b"usage_usec" => (stat.usage_us, has_usage) = (number, true),
        b"user_usec" => stat.user_us = number,
        b"system_usec" => stat.system_us = number,
        b"nr_periods" => stat.periods_count = number,
        b"nr_throttled" => stat.throttled_count = number,
        b"throttled_usec" => stat.throttled_us = number,
        _ => {}
    });
    has_usage.then_some(stat)
}

/// `memory.stat`. `None` if it has none of the figures.
pub(super) fn memory_stat(text: &[u8]) -> Option<MemoryStat> {
    let mut stat = MemoryStat::default();
    let mut has_anon = false;
    // Before Linux 5.18 nobody sums up the kernel's memory; these are most of it.
    let (mut kernel, mut parts, mut sockets) = (None, 0_u64, 0);
    keyed(text, |key, number| match key {
        b"anon" => (stat.anon_bytes, has_anon) = (number, true),
        b"file" => stat.file_bytes = number,
        b"shmem" => stat.shmem_bytes = number,
        b"kernel" => kernel = Some(number),
        b"kernel_stack" | b"pagetables" | b"percpu" | b"slab" => parts = parts.saturating_add(number),
        // Charged apart from the rest of the kernel's.
        b"sock" => sockets = number,
        b"inactive_file" => stat.inactive_file_bytes = number,
        b"pgfault" => stat.faults_count = number,
        b"pgmajfault" => stat.faults_major_count = number,
        _ => {}
    });
    stat.kernel_bytes = kernel.unwrap_or(parts).saturating_add(sockets);
    has_anon.then_some(stat)
}

/// `memory.events`: processes that the OOM killer took.
pub(super) fn oom_kills(text: &[u8]) -> Option<u64> {
    let mut kills = None;
    keyed(text, |key, number| {
        if key == b"oom_kill" {
            kills = Some(number);
        }
    });
    kills
}

/// A file of `/proc/pressure` or a cgroup's. `None` if it has no line that begins with `some`.
pub(super) fn pressure(text: &[u8]) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    let mut has_some = false;
    for line in lines(text) {
        // `total=` stands last.
        let total = line.rsplit(|&byte| byte == b'=').next().and_then(number);
        match (line.get(..5), total) {
            (Some(b"some "), Some(total)) => (pressure.some_us, has_some) = (total, true),
            (Some(b"full "), Some(total)) => pressure.full_us = total,
            _ => {}
        }
    }
    has_some.then_some(pressure)
}

/// `io.stat`: a line a device, `MAJOR:MINOR key=number ...`.
pub(super) fn devices(text: &[u8]) -> Vec<Device> {
    lines(text).filter_map(device).collect()
}

fn device(line: &[u8]) -> Option<Device> {
    let mut device = None;
    for word in words(line) {
        if let Some((major, minor)) = split(word, b':') {
            // Kernels before 5.19 may leave the number of a device without figures before that of the next.
            let (major, minor) = (u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
            device = Some(Device { major, minor, ..Device::default() });
            continue;
        }
        let Some(device) = &mut device else { return None };
        let Some(at) = word.iter().position(|&byte| byte == b'=') else { continue };
        let Some(number) = number(&word[at + 1..]) else { continue };
        match &word[..at] {
            b"rbytes" => device.read_bytes = number,
            b"wbytes" => device.write_bytes = number,
            b"rios" => device.read_ops = number,
            b"wios" => device.write_ops = number,
            _ => {}
        }
    }
    device.filter(|it| it.read_ops > 0 || it.write_ops > 0)
}

/// The two numbers on both sides of a mark.
fn split(word: &[u8], mark: u8) -> Option<(u64, u64)> {
    let at = word.iter().position(|&byte| byte == mark)?;
    Some((number(&word[..at])?, number(&word[at + 1..])?))
}

/// `cgroup.procs`. A process of another pid namespace shows as 0 and is left out.
pub(super) fn processes(text: &[u8]) -> Vec<i32> {
    let pid = |line| i32::try_from(number(line)?).ok();
    lines(text).filter_map(pid).filter(|&pid| pid > 0).collect()
}

/// The bytes that a line `Key: number kB` of `/proc/meminfo` or `/proc/PID/status` tells.
pub(super) fn kilobytes(text: &[u8], key: &[u8]) -> Option<u64> {
    let value = lines(text).find_map(|line| line.strip_prefix(key)?.strip_prefix(b":"))?;
    number(value.trim_ascii().strip_suffix(b"kB")?)?.checked_mul(1024)
}

/// `VmRSS` and `VmHWM` of `/proc/PID/status`, bytes. `None` for a process without memory: a zombie, a kernel thread.
pub(super) fn resident(status: &[u8]) -> Option<(u64, u64)> {
    let now = kilobytes(status, b"VmRSS")?;
    Some((now, kilobytes(status, b"VmHWM").unwrap_or(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_stat_with_and_without_the_controller() {
        // Linux 6.18, no cpu controller.
        let bare = "usage_usec 3004567\nuser_usec 2000000\nsystem_usec 1004567\nnice_usec 0\ncore_sched.force_idle_usec 0\n";
        let expect =
            CpuStat { usage_us: 3004567, user_us: 2000000, system_us: 1004567, ..CpuStat::default() };
        assert_eq!(cpu_stat(bare.as_bytes()), Some(expect));
        let full = format!(
            "{bare}nr_periods 40\nnr_throttled 12\nthrottled_usec 345678\nnr_bursts 0\nburst_usec 0\n"
        );
        let expect = CpuStat { periods_count: 40, throttled_count: 12, throttled_us: 345678, ..expect };
        assert_eq!(cpu_stat(full.as_bytes()), Some(expect));
        // Linux 6.1 has no nice_usec.
        let old =
            b"usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 1\nnr_throttled 0\nthrottled_usec 0\n";
        let expect =
            CpuStat { usage_us: 7, user_us: 4, system_us: 3, periods_count: 1, ..CpuStat::default() };
        assert_eq!(cpu_stat(old), Some(expect));
        assert_eq!(cpu_stat(b""), None);
        assert_eq!(cpu_stat(b"usage_usec many\n"), None);
    }

    #[test]
    fn memory_stat_takes_whole_keys_only() {
        // The beginning of Linux 6.12's, in its order, and the events that follow later.
        let text = b"anon 1228800\nfile 8192\nkernel 61440\nkernel_stack 16384\npagetables 8192\nsec_pagetables 0\n\
            percpu 96\nsock 4096\nvmalloc 0\nshmem 2048\nzswap 0\nzswapped 0\nfile_mapped 77\nfile_dirty 0\n\
            inactive_anon 1\nactive_anon 1224704\ninactive_file 3072\nactive_file 3072\nslab_reclaimable 5\nslab 9\n\
            pgscan 0\npgfault 512\npgmajfault 12\nanon_thp 0\n";
        let expect = MemoryStat {
            anon_bytes: 1228800,
            file_bytes: 8192,
            shmem_bytes: 2048,
            kernel_bytes: 61440 + 4096,
            inactive_file_bytes: 3072,
            faults_count: 512,
            faults_major_count: 12,
        };
        assert_eq!(memory_stat(text), Some(expect));
        // Linux 5.15 says no sum of the kernel's memory.
        let old =
            b"file_mapped 77\nanon 1\nfile 2\nkernel_stack 16\npagetables 8\npercpu 4\nsock 2\nslab 9\n";
        let expect = MemoryStat { anon_bytes: 1, file_bytes: 2, kernel_bytes: 39, ..MemoryStat::default() };
        assert_eq!(memory_stat(old), Some(expect));
        assert_eq!(memory_stat(b""), None);
    }

    #[test]
    fn pressure_of_the_cpu_and_of_the_rest() {
        let text = b"some avg10=0.90 avg60=1.27 avg300=1.00 total=5442876680\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(pressure(text), Some(Pressure { some_us: 5442876680, full_us: 7 }));
        // Before Linux 5.13 the CPU's has one line.
        let old = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=12\n";
        assert_eq!(pressure(old), Some(Pressure { some_us: 12, full_us: 0 }));
        assert_eq!(pressure(b""), None);
        assert_eq!(pressure(b"some avg10=0.00 total=\n"), None);
    }

    #[test]
    fn devices_of_several_kernels() {
        let text = b"254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n\
            8:16 rbytes=512 wbytes=0 rios=1 wios=0 dbytes=0 dios=0 cost.vrate=100.00 cost.usage=5\n7:0 \n";
        let one = Device {
            major: 254,
            read_bytes: 4096,
            write_bytes: 8192,
            read_ops: 1,
            write_ops: 2,
            ..Device::default()
        };
        let two = Device { major: 8, minor: 16, read_bytes: 512, read_ops: 1, ..Device::default() };
        assert_eq!(devices(text), [one, two]);
        // Linux 5.10: the number of a device without figures, and no end of line.
        let merged = b"7:7 8:16 rbytes=512 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n";
        assert_eq!(devices(merged), [two]);
        assert!(devices(b"").is_empty());
    }

    #[test]
    fn events_numbers_and_processes() {
        let events = b"low 0\nhigh 0\nmax 31\noom 2\noom_kill 1\noom_group_kill 1\n";
        assert_eq!(oom_kills(events), Some(1));
        assert_eq!(oom_kills(b"low 0\n"), None);
        assert_eq!(number(b"1048576\n"), Some(1 << 20));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for no_number in [&b"max\n"[..], b"", b"-1", b"18446744073709551616", b"1 2"] {
            assert_eq!(number(no_number), None);
        }
        assert_eq!(processes(b"17\n0\n42\n"), [17, 42]);
        assert!(processes(b"").is_empty());
    }

    #[test]
    fn status_of_a_process_and_of_a_zombie() {
        let text = b"Name:\tsleep\nState:\tS (sleeping)\nVmPeak:\t    5680 kB\nVmHWM:\t    1036 kB\nVmRSS:\t    1024 kB\n\
                    RssAnon:\t      92 kB\nThreads:\t1\n";
        assert_eq!(resident(text), Some((1024 * 1024, 1036 * 1024)));
        assert_eq!(resident(b"Name:\tsleep\nState:\tZ (zombie)\nThreads:\t1\n"), None);
    }
}
