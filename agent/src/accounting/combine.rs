//! One reading of each source -> what the container has used. Never lets a counter step back, and says of each group of
//! figures whose it is.
//!
//! Sources, best first:
//! - CPU: the kernel programs, then `cpu.stat`, then /proc.
//! - Memory: the cgroup's memory controller where it is there, since that is what a limit is held against and it counts a
//!   shared page once; then the programs' resident pages; then /proc.
//! - Network, switches, forks and exits: the programs; nobody else can tell.
//!
//! A better source may fall silent (its programs were unloaded) and a lesser one be behind it: what was known stays, with
//! the name of who said it, until somebody knows of more.

use model::usage::{Source, Usage};

use super::kernel::{CpuCounters, KernelSample};
use super::sample::{CpuStat, FileSample, ProcSample};

/// The two best sources read at slightly different moments, and each is behind by up to a tick per running thread. If
/// `cpu.stat` knows of more than this beyond what the programs counted, they have not seen the container's beginning (the
/// agent was restarted and its maps were lost), and the file is the truer one.
const UNSEEN_NS: u64 = 1_000_000_000;

/// What a container has used by now, given what it had used at the last reading (`Usage::default()` at first).
pub fn combine(previous: &Usage, kernel: Option<&KernelSample>, files: &FileSample) -> Usage {
    let none = KernelSample::default();
    let kernel = kernel.unwrap_or(&none);
    let mut usage = *previous;
    cpu(&mut usage, kernel.cpu.as_ref(), files);
    memory(&mut usage, kernel, files);
    network(&mut usage, kernel);
    processes(&mut usage, kernel, files);
    usage
}

/// On-CPU time and how much of it was in user mode and in the kernel, by one source.
struct CpuReading {
    total_ns: u64,
    user: u64,
    system: u64,
    source: Source,
}

impl CpuReading {
    fn of_programs(counters: &CpuCounters) -> Self {
        Self {
            total_ns: counters.exec_ns,
            user: counters.user_ns,
            system: counters.system_ns,
            source: Source::Bpf,
        }
    }

    fn of_cpu_stat(stat: &CpuStat) -> Self {
        let total_ns = stat.usage_us.saturating_mul(1_000);
        Self { total_ns, user: stat.user_us, system: stat.system_us, source: Source::Cgroup }
    }

    fn of_proc(proc: &ProcSample) -> Self {
        let total_ns = proc.user_ns.saturating_add(proc.system_ns);
        Self { total_ns, user: proc.user_ns, system: proc.system_ns, source: Source::Proc }
    }
}

fn cpu(usage: &mut Usage, counters: Option<&CpuCounters>, files: &FileSample) {
    let programs = counters.map(CpuReading::of_programs);
    let file = files.cpu.as_ref().map(CpuReading::of_cpu_stat);
    let reading = match (programs, file) {
        (Some(programs), Some(file)) if file.total_ns > programs.total_ns.saturating_add(UNSEEN_NS) => {
            Some(file)
        }
        (Some(programs), _) => Some(programs),
        (None, file) => file.or_else(|| files.proc.as_ref().map(CpuReading::of_proc)),
    };
    if let Some(reading) = reading.filter(|it| it.total_ns >= usage.cpu_ns) {
        let (user_ns, system_ns) = split(&reading, usage);
        usage.cpu_user_ns = user_ns;
        usage.cpu_system_ns = system_ns;
        usage.cpu_ns = reading.total_ns;
        usage.sources.cpu = reading.source;
    }
    if let Some(counters) = counters {
        raise(&mut usage.switches_voluntary, counters.voluntary);
        raise(&mut usage.switches_involuntary, counters.involuntary);
    }
    if let Some(stat) = &files.cpu {
        raise(&mut usage.throttled_periods, stat.throttled_count);
        raise(&mut usage.throttled_ns, stat.throttled_us.saturating_mul(1_000));
    }
}

/// Divides the total as the two parts stand to each other, neither below what it was: they are sampled at ticks, so
/// their ratio wavers while their sum does not. The kernel divides `cpu.stat` the same way (`cputime_adjust`,
/// kernel/sched/cputime.c); without any tick all of it counts as user time, as there.
fn split(reading: &CpuReading, previous: &Usage) -> (u64, u64) {
    let total = u128::from(reading.total_ns);
    let parts = u128::from(reading.user) + u128::from(reading.system);
    let ideal = (total * u128::from(reading.system)).checked_div(parts).unwrap_or(0);
    let ideal = u64::try_from(ideal).expect("a share of a total of 64 bits");
    let most = reading.total_ns.saturating_sub(previous.cpu_user_ns);
    let system_ns = ideal.max(previous.cpu_system_ns).min(most);
    (reading.total_ns - system_ns, system_ns)
}

fn memory(usage: &mut Usage, kernel: &KernelSample, files: &FileSample) {
    let charged = files
        .memory_current_bytes
        .map(|current| (current, files.memory_peak_bytes.unwrap_or(current), Source::Cgroup));
    let resident = || kernel.memory.map(|it| (it.current_bytes, it.peak_bytes, Source::Bpf));
    // The sum of the processes' own peaks: exact for one process, and never too low for several.
    let seen = || files.proc.map(|it| (it.rss_bytes, it.rss_peak_bytes, Source::Proc));
    if let Some((current, peak, source)) = charged.or_else(resident).or_else(seen) {
        usage.memory_current_bytes = current;
        raise(&mut usage.memory_peak_bytes, peak.max(current));
        usage.sources.memory = source;
    }
    if let Some(stat) = &files.memory_stat {
        usage.memory_anon_bytes = stat.anon_bytes;
        usage.memory_file_bytes = stat.file_bytes;
    }
    // Both count the same kills, and each may have missed the container's beginning.
    let counted = kernel.life.map_or(0, |life| life.oom_kills);
    raise(&mut usage.oom_kills, counted.max(files.oom_kills_count.unwrap_or(0)));
}

fn network(usage: &mut Usage, kernel: &KernelSample) {
    if let Some(counters) = &kernel.network {
        raise(&mut usage.net_rx_bytes, counters.rx_bytes);
        raise(&mut usage.net_rx_packets, counters.rx_packets);
        raise(&mut usage.net_tx_bytes, counters.tx_bytes);
        raise(&mut usage.net_tx_packets, counters.tx_packets);
        usage.sources.network = Source::Bpf;
    }
}

fn processes(usage: &mut Usage, kernel: &KernelSample, files: &FileSample) {
    if let Some(life) = &kernel.life {
        raise(&mut usage.forks, life.forks);
        raise(&mut usage.exits, life.exits);
    }
    let living = kernel.life.map(|life| life.forks.saturating_sub(life.exits));
    if let Some(processes) = files.proc.map(|it| u64::from(it.processes_count)).or(living) {
        usage.processes = processes;
    }
    if let Some(threads) = files.pids_current.or(files.proc.map(|it| u64::from(it.threads_count))) {
        usage.threads = threads;
    }
}

fn raise(counter: &mut u64, to: u64) {
    *counter = (*counter).max(to);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::kernel::{LifeCounters, NetCounters, ResidentMemory};
    use super::super::sample::MemoryStat;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn cpu_by_programs(exec_ns: u64, user_ns: u64, system_ns: u64) -> KernelSample {
        let cpu = CpuCounters { exec_ns, user_ns, system_ns, ..CpuCounters::default() };
        KernelSample { cpu: Some(cpu), ..KernelSample::default() }
    }

    fn cpu_by_file(usage_us: u64, user_us: u64, system_us: u64) -> FileSample {
        let cpu = CpuStat { usage_us, user_us, system_us, ..CpuStat::default() };
        FileSample { cpu: Some(cpu), ..FileSample::default() }
    }

    fn memory_by_programs(current_bytes: u64, peak_bytes: u64) -> KernelSample {
        KernelSample { memory: Some(ResidentMemory { current_bytes, peak_bytes }), ..KernelSample::default() }
    }

    #[test]
    fn programs_come_before_the_file_and_the_file_before_proc() {
        let mut files = cpu_by_file(900_000, 900_000, 0);
        files.proc = Some(ProcSample { user_ns: 5, system_ns: 6, ..ProcSample::default() });
        let programs = cpu_by_programs(1_000_000_000, 3, 1);
        let usage = combine(&Usage::default(), Some(&programs), &files);
        assert_eq!((usage.cpu_ns, usage.sources.cpu), (1_000_000_000, Source::Bpf));
        assert_eq!((usage.cpu_user_ns, usage.cpu_system_ns), (750_000_000, 250_000_000));

        let usage = combine(&Usage::default(), None, &files);
        assert_eq!((usage.cpu_ns, usage.sources.cpu), (900_000_000, Source::Cgroup));

        files.cpu = None;
        let usage = combine(&Usage::default(), None, &files);
        assert_eq!((usage.cpu_ns, usage.cpu_user_ns, usage.sources.cpu), (11, 5, Source::Proc));
    }

    #[test]
    fn without_a_tick_all_time_is_user_time() {
        let usage = combine(&Usage::default(), Some(&cpu_by_programs(4_000, 0, 0)), &FileSample::default());
        assert_eq!((usage.cpu_ns, usage.cpu_user_ns, usage.cpu_system_ns), (4_000, 4_000, 0));
    }

    #[test]
    fn the_file_wins_where_the_programs_missed_the_beginning() {
        let files = cpu_by_file(60_000_000, 50_000_000, 10_000_000);
        let usage = combine(&Usage::default(), Some(&cpu_by_programs(2_000_000_000, 2, 0)), &files);
        assert_eq!((usage.cpu_ns, usage.sources.cpu), (60_000_000_000, Source::Cgroup));
        let near = cpu_by_programs(59_500_000_000, 2, 0);
        assert_eq!(combine(&Usage::default(), Some(&near), &files).sources.cpu, Source::Bpf);
    }

    #[test]
    fn a_silent_source_leaves_what_was_known() {
        let sample = KernelSample {
            network: Some(NetCounters { rx_bytes: 1, rx_packets: 2, tx_bytes: 3, tx_packets: 4 }),
            ..cpu_by_programs(7_000, 1, 0)
        };
        let before = combine(&Usage::default(), Some(&sample), &FileSample::default());
        let after = combine(&before, None, &FileSample::default());
        assert_eq!(after, before);
        // /proc has seen less: the processes that did the work are gone.
        let proc = ProcSample { user_ns: 10, ..ProcSample::default() };
        let after = combine(&before, None, &FileSample { proc: Some(proc), ..FileSample::default() });
        assert_eq!((after.cpu_ns, after.sources.cpu), (7_000, Source::Bpf));
    }

    #[test]
    fn charged_memory_comes_before_resident_pages_and_those_before_proc() {
        let proc = ProcSample { rss_bytes: 3 * MIB, rss_peak_bytes: 4 * MIB, ..ProcSample::default() };
        let mut files = FileSample {
            memory_current_bytes: Some(9 * MIB),
            memory_peak_bytes: Some(10 * MIB),
            memory_stat: Some(MemoryStat { anon_bytes: MIB, file_bytes: 8 * MIB, kernel_bytes: 0 }),
            proc: Some(proc),
            ..FileSample::default()
        };
        let programs = memory_by_programs(5 * MIB, 6 * MIB);
        let of = |usage: Usage| {
            (usage.memory_current_bytes / MIB, usage.memory_peak_bytes / MIB, usage.sources.memory)
        };
        let usage = combine(&Usage::default(), Some(&programs), &files);
        assert_eq!(of(usage), (9, 10, Source::Cgroup));
        assert_eq!((usage.memory_anon_bytes, usage.memory_file_bytes), (MIB, 8 * MIB));
        (files.memory_current_bytes, files.memory_peak_bytes, files.memory_stat) = (None, None, None);
        assert_eq!(of(combine(&Usage::default(), Some(&programs), &files)), (5, 6, Source::Bpf));
        assert_eq!(of(combine(&Usage::default(), None, &files)), (3, 4, Source::Proc));
    }

    #[test]
    fn processes_are_counted_by_the_programs_where_proc_is_not_read() {
        let life = LifeCounters { forks: 12, exits: 9, ..LifeCounters::default() };
        let sample = KernelSample { life: Some(life), ..KernelSample::default() };
        let usage = combine(&Usage::default(), Some(&sample), &FileSample::default());
        assert_eq!((usage.processes, usage.forks, usage.exits), (3, 12, 9));
        let proc = ProcSample { processes_count: 2, threads_count: 5, ..ProcSample::default() };
        let usage = combine(&usage, Some(&sample), &FileSample { proc: Some(proc), ..FileSample::default() });
        assert_eq!((usage.processes, usage.threads), (2, 5));
    }

    #[test]
    fn a_kill_that_both_count_counts_once() {
        let life = LifeCounters { oom_kills: 1, ..LifeCounters::default() };
        let sample = KernelSample { life: Some(life), ..KernelSample::default() };
        let files = FileSample { oom_kills_count: Some(1), ..FileSample::default() };
        assert_eq!(combine(&Usage::default(), Some(&sample), &files).oom_kills, 1);
    }

    fn any_kernel() -> impl Strategy<Value = Option<KernelSample>> {
        // Mostly of a size that occurs, sometimes anything.
        let word = || prop_oneof![4 => 0..10_000_000_000_u64, 1 => any::<u64>()];
        let cpu = proptest::option::of((word(), word(), word(), word(), word()).prop_map(
            |(exec_ns, user_ns, system_ns, voluntary, involuntary)| CpuCounters {
                exec_ns,
                user_ns,
                system_ns,
                voluntary,
                involuntary,
                unfollowed: 0,
            },
        ));
        let memory = proptest::option::of((word(), word())).prop_map(|it| {
            it.map(|(current_bytes, more)| ResidentMemory {
                current_bytes,
                peak_bytes: current_bytes.saturating_add(more),
            })
        });
        let network = proptest::option::of([word(), word(), word(), word()].prop_map(
            |[rx_bytes, rx_packets, tx_bytes, tx_packets]| NetCounters {
                rx_bytes,
                rx_packets,
                tx_bytes,
                tx_packets,
            },
        ));
        let life = proptest::option::of([word(), word(), word()].prop_map(|[forks, exits, oom_kills]| {
            LifeCounters { forks, exits, oom_kills, ..LifeCounters::default() }
        }));
        let whole = (cpu, memory, network, life).prop_map(|(cpu, memory, network, life)| KernelSample {
            cpu,
            memory,
            network,
            life,
            ..KernelSample::default()
        });
        proptest::option::of(whole)
    }

    fn any_files() -> impl Strategy<Value = FileSample> {
        let word = || prop_oneof![4 => 0..10_000_000_u64, 1 => any::<u64>()];
        let cpu = proptest::option::of([word(), word(), word(), word(), word()].prop_map(
            |[usage_us, user_us, system_us, throttled_count, throttled_us]| CpuStat {
                usage_us,
                user_us,
                system_us,
                periods_count: throttled_count,
                throttled_count,
                throttled_us,
            },
        ));
        let proc = proptest::option::of(([word(), word(), word(), word()], any::<[u32; 2]>()).prop_map(
            |([user_ns, system_ns, rss_bytes, rss_peak_bytes], [processes_count, threads_count])| {
                ProcSample { user_ns, system_ns, rss_bytes, rss_peak_bytes, processes_count, threads_count }
            },
        ));
        let optional = || proptest::option::of(word());
        (cpu, proc, [optional(), optional(), optional(), optional()]).prop_map(
            |(cpu, proc, [current, peak, oom_kills_count, pids_current])| FileSample {
                cpu,
                proc,
                memory_current_bytes: current,
                memory_peak_bytes: peak,
                memory_stat: None,
                oom_kills_count,
                pids_current,
            },
        )
    }

    fn counters(usage: &Usage) -> [u64; 15] {
        [
            usage.cpu_ns,
            usage.cpu_user_ns,
            usage.cpu_system_ns,
            usage.switches_voluntary,
            usage.switches_involuntary,
            usage.throttled_periods,
            usage.throttled_ns,
            usage.memory_peak_bytes,
            usage.oom_kills,
            usage.net_rx_bytes,
            usage.net_rx_packets,
            usage.net_tx_bytes,
            usage.net_tx_packets,
            usage.forks,
            usage.exits,
        ]
    }

    proptest! {
        /// Whatever the sources say, and whichever fall silent or come back.
        #[test]
        fn nothing_steps_back_and_parts_make_the_whole(
            readings in proptest::collection::vec((any_kernel(), any_files()), 1..12)
        ) {
            let mut usage = Usage::default();
            for (kernel, files) in readings {
                let next = combine(&usage, kernel.as_ref(), &files);
                for (before, after) in counters(&usage).into_iter().zip(counters(&next)) {
                    prop_assert!(after >= before, "{usage:?} -> {next:?}");
                }
                prop_assert_eq!(next.cpu_user_ns.checked_add(next.cpu_system_ns), Some(next.cpu_ns));
                prop_assert!(next.memory_peak_bytes >= next.memory_current_bytes);
                usage = next;
            }
        }

        /// The same reading twice changes nothing.
        #[test]
        fn a_reading_repeated_changes_nothing(kernel in any_kernel(), files in any_files()) {
            let once = combine(&Usage::default(), kernel.as_ref(), &files);
            prop_assert_eq!(combine(&once, kernel.as_ref(), &files), once);
        }
    }
}
