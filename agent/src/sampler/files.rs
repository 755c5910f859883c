//! Which files of a cgroup are read, how often, and why not more often: one table.

use super::engine::Room;
use super::parse;
use crate::accounting::sample::FileSample;

/// What somebody else counts already, so that files are asked for it less often or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// On-CPU time.
    pub cpu: bool,
    /// Resident memory.
    pub memory: bool,
    /// Block I/O.
    pub io: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    CpuStat,
    MemoryCurrent,
    MemoryPeak,
    MemorySwap,
    MemoryStat,
    MemoryEvents,
    CpuPressure,
    MemoryPressure,
    IoPressure,
    IoStat,
    PidsCurrent,
    Processes,
}

/// One row of the table.
pub(super) struct CgroupFile {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) room: Room,
    /// Looks from one reading to the next, a look being a second unless the operator says otherwise. Each file of each
    /// container has a turn of its own, so that all looks cost the same. A container's first and last look read everything.
    pub(super) period: fn(Counted, Controllers) -> Option<u64>,
    /// Why it need not be read at each look.
    #[cfg_attr(not(test), expect(dead_code, reason = "for who reads the table"))]
    pub(super) because: &'static str,
}

/// What a cgroup's directory shows of the controllers that are on for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Controllers {
    pub(super) cpu: bool,
    pub(super) memory: bool,
}

/// A file that is read less often than this is opened for each reading: an open file that was read once keeps some 4.7 KiB of
/// the kernel's memory (a page for its text), and opening costs 6 µs.
pub(super) const HELD_PERIOD_MAX: u64 = 8;

/// Files of a controller that is not on are not there.
pub(super) const FILES: [CgroupFile; 12] = [
    CgroupFile {
        name: "cpu.stat",
        kind: Kind::CpuStat,
        room: Room::Line,
        period: |counted, on| {
            Some(match (counted.cpu, on.cpu) {
                (false, _) => 1,
                (true, true) => 4,
                (true, false) => 64,
            })
        },
        because: "programs count CPU time; the file tells of limits met, in totals, where there can be limits, and \
                  otherwise only proves the programs right",
    },
    CgroupFile {
        name: "memory.current",
        kind: Kind::MemoryCurrent,
        room: Room::Line,
        period: |_, _| Some(1),
        because: "",
    },
    CgroupFile {
        name: "memory.stat",
        kind: Kind::MemoryStat,
        room: Room::Page,
        period: |_, _| Some(8),
        because: "the kernel sums some sixty figures over all CPUs and all cgroups below: the dearest file by far",
    },
    CgroupFile {
        name: "memory.peak",
        kind: Kind::MemoryPeak,
        room: Room::Line,
        period: |_, _| Some(32),
        because: "it never falls: a peak between two readings is seen at the next, none is lost",
    },
    CgroupFile {
        name: "memory.events",
        kind: Kind::MemoryEvents,
        room: Room::Line,
        period: |_, _| Some(8),
        because: "a total, of something rare; programs tell of a kill at once",
    },
    CgroupFile {
        name: "memory.swap.current",
        kind: Kind::MemorySwap,
        room: Room::Line,
        period: |_, _| Some(8),
        because: "what swapping costs shows in pressure and major faults",
    },
    CgroupFile {
        name: "cpu.pressure",
        kind: Kind::CpuPressure,
        room: Room::Line,
        period: |_, _| Some(4),
        because: "totals: nothing is lost between readings; and the kernel itself makes averages of them every 2 s",
    },
    CgroupFile {
        name: "memory.pressure",
        kind: Kind::MemoryPressure,
        room: Room::Line,
        period: |_, _| Some(4),
        because: "as cpu.pressure",
    },
    CgroupFile {
        name: "io.pressure",
        kind: Kind::IoPressure,
        room: Room::Line,
        period: |_, _| Some(4),
        because: "as cpu.pressure",
    },
    CgroupFile {
        name: "io.stat",
        kind: Kind::IoStat,
        room: Room::Page,
        period: |counted, _| (!counted.io).then_some(2),
        because: "totals; and the kernel brings them up to date over all CPUs for each reading",
    },
    CgroupFile {
        name: "pids.current",
        kind: Kind::PidsCurrent,
        room: Room::Line,
        period: |_, _| Some(4),
        because: "a limit on it is held by the kernel; for people to look at, some seconds do",
    },
    CgroupFile {
        name: "cgroup.procs",
        kind: Kind::Processes,
        room: Room::Page,
        period: |counted, on| (!counted.memory && !on.memory).then_some(1),
        because: "",
    },
];

/// Puts what a file says into a sample. A file that says nothing of use clears its figure.
pub(super) fn fill(sample: &mut FileSample, kind: Kind, text: &[u8]) {
    match kind {
        Kind::CpuStat => sample.cpu = parse::cpu_stat(text),
        Kind::MemoryCurrent => sample.memory_current_bytes = parse::number(text),
        Kind::MemoryPeak => sample.memory_peak_bytes = parse::number(text),
        Kind::MemorySwap => sample.memory_swap_bytes = parse::number(text),
        Kind::MemoryStat => sample.memory_stat = parse::memory_stat(text),
        Kind::MemoryEvents => sample.oom_kills_count = parse::oom_kills(text),
        Kind::CpuPressure => sample.cpu_pressure = parse::pressure(text),
        Kind::MemoryPressure => sample.memory_pressure = parse::pressure(text),
        Kind::IoPressure => sample.io_pressure = parse::pressure(text),
        Kind::IoStat => sample.devices = Some(parse::devices(text)),
        Kind::PidsCurrent => sample.pids_current = parse::number(text),
        Kind::Processes => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_less_often_says_why() {
        let all = Counted { cpu: true, memory: true, io: true };
        for file in FILES {
            let slow = [all, Counted::default()]
                .into_iter()
                .any(|counted| (file.period)(counted, Controllers::default()) > Some(1));
            assert_eq!(slow, !file.because.is_empty(), "{}", file.name);
        }
    }
}
