//! One reading of each source -> what the container has used. Never lets a counter step back, and says of each group of
//! figures whose it is.
//!
//! Sources, best first:
//! - CPU: the kernel programs, then `cpu.stat`, then /proc.
//! - Memory: the cgroup's memory controller where it is there, since that is what a limit is held against and it counts a
//!   shared page once; then the programs' resident pages; then /proc.
//! - Page faults, block I/O: the programs, then `memory.stat` and `io.stat`.
//! - Pressure, limits met: the cgroup's files; nobody else can tell.
//! - Network, switches, forks, execs and exits: the programs; nobody else can tell.
//!
//! A better source may fall silent (its programs were unloaded) and a lesser one be behind it: what was known stays, with
//! the name of who said it, until somebody knows of more.

use model::usage::{Device, Source, Usage};

use super::kernel::{CpuCounters, KernelSample, Packets, Protocol};
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
    faults(&mut usage, kernel.cpu.as_ref(), files);
    pressure(&mut usage, files);
    io(&mut usage, kernel, files);
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
        raise(&mut usage.periods, stat.periods_count);
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
    let inactive = match &files.memory_stat {
        Some(stat) => {
            usage.memory_anon_bytes = stat.anon_bytes;
            usage.memory_file_bytes = stat.file_bytes;
            usage.memory_shmem_bytes = stat.shmem_bytes;
            usage.memory_kernel_bytes = stat.kernel_bytes;
            stat.inactive_file_bytes
        }
        // Resident pages are mapped by somebody. What else the page cache holds is not among them, and which of them were
        // not used lately the kernel tells nobody: all of them count as needed.
        None => {
            resident_parts(usage, kernel);
            0
        }
    };
    usage.memory_working_set_bytes = usage.memory_current_bytes.saturating_sub(inactive);
    if let Some(swap) = files.memory_swap_bytes {
        usage.memory_swap_bytes = swap;
    }
    // Both count the same kills, and each may have missed the container's beginning.
    let counted = kernel.life.map_or(0, |life| life.oom_kills);
    raise(&mut usage.oom_kills, counted.max(files.oom_kills_count.unwrap_or(0)));
}

/// As `memory.stat` divides them: shared memory counts among the files.
fn resident_parts(usage: &mut Usage, kernel: &KernelSample) {
    let Some(resident) = kernel.memory.filter(|_| usage.sources.memory == Source::Bpf) else { return };
    usage.memory_anon_bytes = resident.anon_bytes;
    usage.memory_file_bytes = resident.current_bytes.saturating_sub(resident.anon_bytes);
    usage.memory_shmem_bytes = resident.shmem_bytes;
}

fn faults(usage: &mut Usage, counters: Option<&CpuCounters>, files: &FileSample) {
    if let Some(counters) = counters {
        raise(&mut usage.faults_minor, counters.faults_minor);
        raise(&mut usage.faults_major, counters.faults_major);
        usage.sources.faults = Source::Bpf;
    }
    let Some(stat) = &files.memory_stat else { return };
    let minor = stat.faults_count.saturating_sub(stat.faults_major_count);
    if usage.sources.faults != Source::Bpf {
        raise(&mut usage.faults_minor, minor);
        raise(&mut usage.faults_major, stat.faults_major_count);
        usage.sources.faults = Source::Cgroup;
    }
}

fn pressure(usage: &mut Usage, files: &FileSample) {
    let all = [
        (files.cpu_pressure, &mut usage.pressure_cpu_some_ns, None),
        (files.memory_pressure, &mut usage.pressure_memory_some_ns, Some(&mut usage.pressure_memory_full_ns)),
        (files.io_pressure, &mut usage.pressure_io_some_ns, Some(&mut usage.pressure_io_full_ns)),
    ];
    for (pressure, some, full) in all {
        let Some(pressure) = pressure else { continue };
        raise(some, pressure.some_us.saturating_mul(1_000));
        if let Some(full) = full {
            raise(full, pressure.full_us.saturating_mul(1_000));
        }
        usage.sources.pressure = Source::Cgroup;
    }
}

/// By the file. What the programs count has latencies behind it, and goes into the account with those.
fn io(usage: &mut Usage, kernel: &KernelSample, files: &FileSample) {
    let Some(devices) = &files.devices else { return };
    if kernel.devices.is_some() || usage.sources.io == Source::Bpf {
        return;
    }
    let sum = |of: fn(&Device) -> u64| devices.iter().map(of).fold(0, u64::saturating_add);
    raise(&mut usage.io_read_bytes, sum(|it| it.read_bytes));
    raise(&mut usage.io_read_ops, sum(|it| it.read_ops));
    raise(&mut usage.io_write_bytes, sum(|it| it.write_bytes));
    raise(&mut usage.io_write_ops, sum(|it| it.write_ops));
    usage.sources.io = Source::Cgroup;
}

fn network(usage: &mut Usage, kernel: &KernelSample) {
    if let Some(counters) = &kernel.network {
        let both = |seen: Packets, bytes: &mut u64, packets: &mut u64| {
            raise(bytes, seen.bytes);
            raise(packets, seen.packets);
        };
        let (rx, tx) = (&counters.rx, &counters.tx);
        both(rx.all(), &mut usage.net_rx_bytes, &mut usage.net_rx_packets);
        both(tx.all(), &mut usage.net_tx_bytes, &mut usage.net_tx_packets);
        both(rx.by(Protocol::Tcp), &mut usage.tcp_rx_bytes, &mut usage.tcp_rx_packets);
        both(tx.by(Protocol::Tcp), &mut usage.tcp_tx_bytes, &mut usage.tcp_tx_packets);
        both(rx.by(Protocol::Udp), &mut usage.udp_rx_bytes, &mut usage.udp_rx_packets);
        both(tx.by(Protocol::Udp), &mut usage.udp_tx_bytes, &mut usage.udp_tx_packets);
        usage.sources.network = Source::Bpf;
    }
}

fn processes(usage: &mut Usage, kernel: &KernelSample, files: &FileSample) {
    if let Some(life) = &kernel.life {
        raise(&mut usage.forks, life.forks);
        raise(&mut usage.exits, life.exits);
        raise(&mut usage.execs, life.execs);
        raise(&mut usage.exits_failed, life.exits_failed);
        raise(&mut usage.exits_signaled, life.exits_signaled);
        raise(&mut usage.events_lost, life.events_lost);
        usage.sources.life = Source::Bpf;
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
    use model::usage::{Kind, Sources};
    use proptest::prelude::*;

    use super::super::kernel::{LifeCounters, NetCounters, ResidentMemory, Version};
    use super::super::sample::{MemoryStat, Pressure};
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
        let anon_bytes = current_bytes / 2;
        let memory = ResidentMemory { current_bytes, peak_bytes, anon_bytes, shmem_bytes: current_bytes / 4 };
        KernelSample { memory: Some(memory), ..KernelSample::default() }
    }

    /// TCP by IPv4 in, UDP by IPv6 out.
    fn packets([rx_bytes, rx_packets, tx_bytes, tx_packets]: [u64; 4]) -> NetCounters {
        let mut network = NetCounters::default();
        *network.rx.row(Protocol::Tcp, Version::V4) = Packets { bytes: rx_bytes, packets: rx_packets };
        *network.tx.row(Protocol::Udp, Version::V6) = Packets { bytes: tx_bytes, packets: tx_packets };
        network
    }

    #[test]
    fn protocols_are_told_apart_and_summed() {
        let network = Some(packets([1, 2, 3, 4]));
        let sample = KernelSample { network, ..KernelSample::default() };
        let usage = combine(&Usage::default(), Some(&sample), &FileSample::default());
        assert_eq!((usage.net_rx_bytes, usage.net_rx_packets, usage.net_tx_bytes), (1, 2, 3));
        assert_eq!((usage.tcp_rx_bytes, usage.tcp_rx_packets, usage.tcp_tx_packets), (1, 2, 0));
        assert_eq!((usage.udp_tx_bytes, usage.udp_tx_packets, usage.udp_rx_packets), (3, 4, 0));
        assert_eq!(usage.sources.network, Source::Bpf);
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
        let sample = KernelSample { network: Some(packets([1, 2, 3, 4])), ..cpu_by_programs(7_000, 1, 0) };
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
            memory_stat: Some(MemoryStat {
                anon_bytes: MIB,
                file_bytes: 8 * MIB,
                inactive_file_bytes: 2 * MIB,
                ..MemoryStat::default()
            }),
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
        assert_eq!(usage.memory_working_set_bytes, 7 * MIB);
        (files.memory_current_bytes, files.memory_peak_bytes, files.memory_stat) = (None, None, None);
        let resident = combine(&Usage::default(), Some(&programs), &files);
        assert_eq!(of(resident), (5, 6, Source::Bpf));
        assert_eq!(resident.memory_anon_bytes + resident.memory_file_bytes, 5 * MIB);
        assert_eq!((resident.memory_anon_bytes * 2, resident.memory_shmem_bytes * 4), (5 * MIB, 5 * MIB));
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
                ..CpuCounters::default()
            },
        ));
        let memory = proptest::option::of((word(), word())).prop_map(|it| {
            it.map(|(current_bytes, more)| ResidentMemory {
                current_bytes,
                peak_bytes: current_bytes.saturating_add(more),
                ..ResidentMemory::default()
            })
        });
        let network = proptest::option::of([word(), word(), word(), word()].prop_map(packets));
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

    fn any_memory_stat() -> impl Strategy<Value = MemoryStat> {
        let word = || prop_oneof![4 => 0..10_000_000_u64, 1 => any::<u64>()];
        [word(), word(), word(), word(), word(), word(), word()].prop_map(
            |[
                anon_bytes,
                file_bytes,
                shmem_bytes,
                kernel_bytes,
                inactive_file_bytes,
                faults_count,
                major,
            ]| {
                MemoryStat {
                    anon_bytes,
                    file_bytes,
                    shmem_bytes,
                    kernel_bytes,
                    inactive_file_bytes,
                    faults_count,
                    faults_major_count: major,
                }
            },
        )
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
        let pressure = || {
            let of = |[some_us, full_us]: [u64; 2]| Pressure { some_us, full_us };
            proptest::option::of([word(), word()].prop_map(of))
        };
        let stat = proptest::option::of(any_memory_stat());
        let device =
            [word(), word(), word(), word()].prop_map(|[read_bytes, read_ops, write_bytes, write_ops]| {
                Device { read_bytes, read_ops, write_bytes, write_ops, ..Device::default() }
            });
        let devices = proptest::option::of(proptest::collection::vec(device, 0..3));
        let numbers = [optional(), optional(), optional(), optional(), optional()];
        (cpu, proc, numbers, stat, [pressure(), pressure(), pressure()], devices).prop_map(
            |(
                cpu,
                proc,
                [current, peak, swap, kills, pids],
                memory_stat,
                [cpu_p, memory_p, io_p],
                devices,
            )| {
                FileSample {
                    cpu,
                    proc,
                    memory_current_bytes: current,
                    memory_peak_bytes: peak,
                    memory_swap_bytes: swap,
                    memory_stat,
                    oom_kills_count: kills,
                    cpu_pressure: cpu_p,
                    memory_pressure: memory_p,
                    io_pressure: io_p,
                    devices,
                    pids_current: pids,
                }
            },
        )
    }

    #[test]
    fn files_tell_of_pressure_faults_limits_and_devices() {
        let cpu = CpuStat {
            usage_us: 9,
            periods_count: 40,
            throttled_count: 3,
            throttled_us: 5,
            ..CpuStat::default()
        };
        let device =
            |minor, read_bytes| Device { major: 8, minor, read_bytes, read_ops: 1, ..Device::default() };
        let files = FileSample {
            cpu: Some(cpu),
            cpu_pressure: Some(Pressure { some_us: 7, full_us: 0 }),
            io_pressure: Some(Pressure { some_us: 6, full_us: 2 }),
            memory_stat: Some(MemoryStat {
                faults_count: 12,
                faults_major_count: 2,
                ..MemoryStat::default()
            }),
            devices: Some(vec![device(0, 512), device(16, 4096)]),
            ..FileSample::default()
        };
        let usage = combine(&Usage::default(), None, &files);
        assert_eq!((usage.periods, usage.throttled_periods, usage.throttled_ns), (40, 3, 5_000));
        assert_eq!((usage.pressure_cpu_some_ns, usage.pressure_io_some_ns), (7_000, 6_000));
        assert_eq!((usage.pressure_io_full_ns, usage.pressure_memory_some_ns), (2_000, 0));
        assert_eq!((usage.faults_minor, usage.faults_major), (10, 2));
        assert_eq!((usage.io_read_bytes, usage.io_read_ops, usage.io_write_ops), (4_608, 2, 0));
        let Sources { pressure, faults, io, .. } = usage.sources;
        assert_eq!([pressure, faults, io], [Source::Cgroup; 3]);
        // What the programs say of devices comes first, however little it is.
        let kernel = KernelSample { devices: Some(Vec::new()), ..KernelSample::default() };
        assert_eq!(combine(&Usage::default(), Some(&kernel), &files).io_read_bytes, 0);
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
                for (at, figure) in Usage::FIGURES.iter().enumerate() {
                    let (before, after) = (usage.to_words()[at], next.to_words()[at]);
                    prop_assert!(figure.kind == Kind::Gauge || after >= before, "{}: {before} -> {after}", figure.name);
                }
                prop_assert_eq!(next.cpu_user_ns.checked_add(next.cpu_system_ns), Some(next.cpu_ns));
                prop_assert!(next.memory_peak_bytes >= next.memory_current_bytes);
                prop_assert!(next.memory_working_set_bytes <= next.memory_current_bytes);
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
