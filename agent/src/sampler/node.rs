//! What the whole node uses: which files of `/proc` say it, and what their texts mean. Figures of a file that this kernel
//! does not have stay zero, and their group has no source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use model::quantity::Quantity;
use model::usage::{NodeUsage, Source};

use super::engine::Room;
use super::parse::{self, keyed, kilobytes, lines, number, words};
use super::plain;

/// What takes in a file's text.
type Take = fn(&mut Node, &[u8]);

/// Interfaces are those of the agent's network namespace.
const FILES: [(&str, Take); 11] = [
    ("/proc/stat", Node::stat),
    ("/proc/loadavg", Node::load),
    ("/proc/schedstat", Node::schedstat),
    ("/proc/meminfo", Node::meminfo),
    ("/proc/vmstat", Node::vmstat),
    ("/proc/pressure/cpu", Node::cpu_pressure),
    ("/proc/pressure/memory", Node::memory_pressure),
    ("/proc/pressure/io", Node::io_pressure),
    ("/proc/self/net/dev", Node::interfaces),
    ("/proc/self/net/snmp", Node::snmp),
    ("/proc/diskstats", Node::disks),
];

/// USER_HZ is 100 wherever Linux runs.
const TICK_NS: u64 = 10_000_000;
/// A sector of `/proc/diskstats`, whatever the device's own are.
const SECTOR_BYTES: u64 = 512;

/// The node's files, held open, and what they said last.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// By the row in [`FILES`].
    held: Vec<(usize, File)>,
    usage: NodeUsage,
    /// By name: bytes and packets received, sent.
    interfaces: Totals<Box<[u8]>>,
    /// By number: bytes and operations read, written.
    disks: Totals<(u32, u32)>,
    /// Devices whose use is another's, or nobody's.
    left_out: BTreeSet<(u32, u32)>,
}

impl Node {
    pub(super) fn open() -> Self {
        let open = |(row, (path, _)): (usize, &(&str, Take))| Some((row, File::open(path).ok()?));
        Self { held: FILES.iter().enumerate().filter_map(open).collect(), ..Self::default() }
    }

    pub(super) fn usage(&self) -> &NodeUsage {
        &self.usage
    }

    /// Reads all of its files, about 100 µs. A file that cannot be read leaves what was known.
    ///
    /// One after another: the ring reads these at three times the cost, for most are long, and what does not fit a page
    /// takes it a further submission each.
    pub(super) fn read(&mut self) {
        let held = std::mem::take(&mut self.held);
        for (row, file) in &held {
            plain::read(file, Room::Page, |text| {
                if let Ok(text) = text {
                    (FILES[*row].1)(self, text);
                }
            });
        }
        self.held = held;
    }

    /// Its files' paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.held.iter().map(|(row, _)| PathBuf::from(FILES[*row].0))
    }

    fn stat(&mut self, text: &[u8]) {
        let usage = &mut self.usage;
        let mut cpus = 0;
        for line in lines(text) {
            let mut words = words(line);
            match words.next() {
                Some(b"cpu") => usage.cpu_ns = busy_ticks(words).saturating_mul(TICK_NS),
                Some(b"ctxt") => usage.switches = words.next().and_then(number).unwrap_or(0),
                Some(b"processes") => usage.forks = words.next().and_then(number).unwrap_or(0),
                Some(name) if name.starts_with(b"cpu") => cpus += 1,
                _ => {}
            }
        }
        usage.cpus_milli = cpus * 1_000;
        (usage.sources.cpu, usage.sources.life) = (Source::Proc, Source::Proc);
    }

    fn load(&mut self, text: &[u8]) {
        let mut loads = words(text).map(|word| {
            let text = std::str::from_utf8(word).unwrap_or_default();
            text.parse::<Quantity>().map_or(0, Quantity::milli)
        });
        let usage = &mut self.usage;
        for load in [&mut usage.load1_milli, &mut usage.load5_milli, &mut usage.load15_milli] {
            *load = loads.next().unwrap_or(0);
        }
    }

    /// Since version 15 (Linux 2.6.24) a CPU's line has nine numbers, the eighth of which is the time that threads waited
    /// for it, nanoseconds (kernel doc: Documentation/scheduler/sched-stats.rst).
    fn schedstat(&mut self, text: &[u8]) {
        let cpus = lines(text).filter(|line| line.starts_with(b"cpu"));
        let waited = cpus.filter_map(|line| words(line).nth(8).and_then(number));
        self.usage.run_queue_ns = waited.fold(0, u64::saturating_add);
        self.usage.sources.run_queue = Source::Proc;
    }

    fn meminfo(&mut self, text: &[u8]) {
        self.usage.memory_total_bytes = kilobytes(text, b"MemTotal").unwrap_or(0);
        self.usage.memory_available_bytes = kilobytes(text, b"MemAvailable").unwrap_or(0);
        self.usage.sources.memory = Source::Proc;
    }

    fn vmstat(&mut self, text: &[u8]) {
        let usage = &mut self.usage;
        let (mut all, mut major) = (0, 0);
        keyed(text, |key, number| match key {
            b"pgfault" => all = number,
            b"pgmajfault" => major = number,
            b"oom_kill" => usage.oom_kills = number,
            _ => {}
        });
        (usage.faults_minor, usage.faults_major) = (u64::saturating_sub(all, major), major);
        usage.sources.faults = Source::Proc;
    }

    fn cpu_pressure(&mut self, text: &[u8]) {
        let usage = &mut self.usage;
        pressure(text, &mut usage.pressure_cpu_some_ns, &mut 0, &mut usage.sources.pressure);
    }

    fn memory_pressure(&mut self, text: &[u8]) {
        let usage = &mut self.usage;
        let (some, full) = (&mut usage.pressure_memory_some_ns, &mut usage.pressure_memory_full_ns);
        pressure(text, some, full, &mut usage.sources.pressure);
    }

    fn io_pressure(&mut self, text: &[u8]) {
        let usage = &mut self.usage;
        let (some, full) = (&mut usage.pressure_io_some_ns, &mut usage.pressure_io_full_ns);
        pressure(text, some, full, &mut usage.sources.pressure);
    }

    fn interfaces(&mut self, text: &[u8]) {
        for line in lines(text) {
            // A long name has its first number right behind the colon.
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let (name, numbers) = (line[..colon].trim_ascii(), &line[colon + 1..]);
            let mut numbers = words(numbers).map(|word| number(word).unwrap_or(0));
            let mut skip = |count| numbers.nth(count).unwrap_or(0);
            // Bytes and packets, then six more of what was received; then the same of what was sent.
            let now = [skip(0), skip(0), skip(6), skip(0)];
            if name != b"lo" {
                self.interfaces.see(name, || name.into(), now);
            }
        }
        let usage = &mut self.usage;
        let total = self.interfaces.total();
        [usage.net_rx_bytes, usage.net_rx_packets, usage.net_tx_bytes, usage.net_tx_packets] = total;
        usage.sources.network = Source::Proc;
    }

    fn snmp(&mut self, text: &[u8]) {
        // A line of names, then one of numbers.
        let mut tcp = lines(text).filter_map(|line| line.strip_prefix(b"Tcp: "));
        let (Some(names), Some(numbers)) = (tcp.next(), tcp.next()) else { return };
        let at = words(names).position(|name| name == b"RetransSegs");
        let Some(number) = at.and_then(|at| words(numbers).nth(at)).and_then(number) else { return };
        self.usage.tcp_retransmits = number;
        self.usage.sources.tcp = Source::Proc;
    }

    fn disks(&mut self, text: &[u8]) {
        self.disks_where(text, is_whole);
    }

    /// (kernel doc: Documentation/admin-guide/iostats.rst)
    fn disks_where(&mut self, text: &[u8], is_whole: impl Fn(&[u8], (u32, u32)) -> bool) {
        let count = lines(text).filter(|line| !line.is_empty()).count();
        if count != self.disks.seen_count() + self.left_out.len() {
            // Something came or went, and may have left its number to another.
            self.left_out.clear();
        }
        for line in lines(text) {
            let mut words = words(line);
            let mut next = || words.next().and_then(number);
            let (Some(major), Some(minor)) = (next(), next()) else { continue };
            let (Ok(major), Ok(minor)) = (u32::try_from(major), u32::try_from(minor)) else { continue };
            let Some(name) = words.next() else { continue };
            let device = (major, minor);
            if self.left_out.contains(&device) {
                continue;
            }
            if !self.disks.knows(&device) && !is_whole(name, device) {
                self.left_out.insert(device);
                continue;
            }
            let mut numbers = words.map(|word| number(word).unwrap_or(0));
            let mut skip = |count| numbers.nth(count).unwrap_or(0);
            let (read_ops, read_sectors, write_ops, write_sectors) = (skip(0), skip(1), skip(1), skip(1));
            let bytes = |sectors: u64| sectors.saturating_mul(SECTOR_BYTES);
            self.disks.see(
                &device,
                || device,
                [bytes(read_sectors), read_ops, bytes(write_sectors), write_ops],
            );
        }
        let usage = &mut self.usage;
        [usage.io_read_bytes, usage.io_read_ops, usage.io_write_bytes, usage.io_write_ops] =
            self.disks.total();
        usage.sources.io = Source::Proc;
    }
}

/// User, nice, system, irq, softirq, steal (proc_stat(5)); a guest's time is in the first two.
fn busy_ticks<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> u64 {
    let numbers = numbers.enumerate().filter(|(at, _)| matches!(at, 0..=2 | 5..=7));
    numbers.filter_map(|(_, word)| number(word)).fold(0, u64::saturating_add)
}

fn pressure(text: &[u8], some: &mut u64, full: &mut u64, source: &mut Source) {
    let Some(pressure) = parse::pressure(text) else { return };
    (*some, *full) = (pressure.some_us.saturating_mul(1_000), pressure.full_us.saturating_mul(1_000));
    *source = Source::Proc;
}

/// Whether a device is a disk: no part of one, not stacked on others, no memory and no file that looks like one.
fn is_whole(name: &[u8], (major, minor): (u32, u32)) -> bool {
    if [&b"loop"[..], b"ram", b"zram"].iter().any(|prefix| name.starts_with(prefix)) {
        return false;
    }
    let folder = Path::new("/sys/dev/block").join(format!("{major}:{minor}"));
    let is_stacked = || fs::read_dir(folder.join("slaves")).is_ok_and(|mut below| below.next().is_some());
    !folder.join("partition").exists() && !is_stacked()
}

/// Sums of four counters over things that come and go. What one had counted when it went stays in the sum.
#[derive(Debug)]
struct Totals<K> {
    now: BTreeMap<K, Seen>,
    gone: [u64; 4],
    reading: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    counts: [u64; 4],
    /// In which reading.
    reading: u64,
}

impl<K> Default for Totals<K> {
    fn default() -> Self {
        Self { now: BTreeMap::new(), gone: [0; 4], reading: 0 }
    }
}

impl<K: Ord> Totals<K> {
    fn see<Q: Ord + ?Sized>(&mut self, key: &Q, own: impl FnOnce() -> K, counts: [u64; 4])
    where
        K: std::borrow::Borrow<Q>,
    {
        let seen = Seen { counts, reading: self.reading };
        match self.now.get_mut(key) {
            Some(known) => {
                if counts.iter().zip(known.counts).any(|(now, before)| *now < before) {
                    // Another one of the same name.
                    add(&mut self.gone, known.counts);
                }
                *known = seen;
            }
            None => _ = self.now.insert(own(), seen),
        }
    }

    fn knows(&self, key: &K) -> bool {
        self.now.contains_key(key)
    }

    fn seen_count(&self) -> usize {
        self.now.len()
    }

    /// Ends a reading: what was not seen in it is gone.
    fn total(&mut self) -> [u64; 4] {
        let Self { now, gone, reading } = self;
        now.retain(|_, seen| {
            let is_here = seen.reading == *reading;
            if !is_here {
                add(gone, seen.counts);
            }
            is_here
        });
        *reading += 1;
        let mut total = *gone;
        now.values().for_each(|seen| add(&mut total, seen.counts));
        total
    }
}

fn add(to: &mut [u64; 4], more: [u64; 4]) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to = to.saturating_add(more));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_and_load() {
        let mut node = Node::default();
        // A guest's time (the ninth) is in the first already; idle and waiting (the fourth and fifth) are no work.
        node.stat(
            b"cpu  100 20 30 4000 500 6 7 8 90 10\ncpu0 50 10 15 2000 250 3 4 4 45 5\ncpu1 50 10 15 2000 250 3 3 4 45 5\n\
              intr 12345 0 9 0\nctxt 987654\nbtime 1700000000\nprocesses 4321\nprocs_running 2\nprocs_blocked 0\n",
        );
        node.load(b"0.05 1.20 10.01 1/123 4567\n");
        let usage = node.usage;
        assert_eq!((usage.cpu_ns, usage.cpus_milli), (171 * TICK_NS, 2_000));
        assert_eq!((usage.switches, usage.forks), (987654, 4321));
        assert_eq!((usage.load1_milli, usage.load5_milli, usage.load15_milli), (50, 1_200, 10_010));
        assert_eq!((usage.sources.cpu, usage.sources.io), (Source::Proc, Source::None));
    }

    #[test]
    fn waiting_of_old_and_new_schedstat() {
        // Linux 6.1: version 15; then 6.18: version 17, which names the domains.
        for text in [
            "version 15\ntimestamp 4295000000\ncpu0 0 0 0 0 0 0 111 222 33\ndomain0 3 1 2 3\ncpu1 0 0 0 0 0 0 444 555 66\n",
            "version 17\ntimestamp 4295000000\ncpu0 0 0 0 0 0 0 111 222 33\ndomain0 MC 3 1 2\ncpu1 0 0 0 0 0 0 444 555 66\n",
        ] {
            let mut node = Node::default();
            node.schedstat(text.as_bytes());
            assert_eq!((node.usage.run_queue_ns, node.usage.sources.run_queue), (777, Source::Proc));
        }
    }

    #[test]
    fn memory_faults_and_pressure() {
        let mut node = Node::default();
        node.meminfo(
            b"MemTotal:       24683940 kB\nMemFree:        16439736 kB\nMemAvailable:   23560648 kB\n",
        );
        node.vmstat(b"nr_free_pages 1\npgfault 100\npgmajfault 7\nthp_fault_alloc 3\noom_kill 2\n");
        node.cpu_pressure(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 total=1\n");
        node.io_pressure(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=6\nfull avg10=0.00 total=4\n");
        let usage = node.usage;
        assert_eq!(
            (usage.memory_total_bytes, usage.memory_available_bytes),
            (24683940 << 10, 23560648 << 10)
        );
        assert_eq!((usage.faults_minor, usage.faults_major, usage.oom_kills), (93, 7, 2));
        assert_eq!((usage.pressure_cpu_some_ns, usage.pressure_io_some_ns), (5_000, 6_000));
        assert_eq!((usage.pressure_io_full_ns, usage.pressure_memory_full_ns), (4_000, 0));
    }

    #[test]
    fn an_interface_that_goes_takes_nothing_away() {
        const HEAD: &str = "Inter-|   Receive  |  Transmit\n face |bytes    packets errs drop fifo frame compressed \
                            multicast|bytes    packets errs drop fifo colls carrier compressed\n";
        let mut node = Node::default();
        let mut see = |lines: &str| {
            node.interfaces(format!("{HEAD}{lines}").as_bytes());
            let it = node.usage;
            [it.net_rx_bytes, it.net_rx_packets, it.net_tx_bytes, it.net_tx_packets]
        };
        let lo = "    lo: 999 99    0    0    0     0          0         0 999 99    0    0    0     0       0          0\n";
        let eth = "  eth0:10 2 9 9 9 9 9 9 30 4 9 9 9 9 9 9\n";
        assert_eq!(see(&format!("{lo}{eth}veth1: 5 1 0 0 0 0 0 0 6 2 0 0 0 0 0 0\n")), [15, 3, 36, 6]);
        assert_eq!(see(&format!("{lo}{eth}")), [15, 3, 36, 6]);
        // Another one of that name, which then counts further.
        assert_eq!(see(&format!("{lo}{eth}veth1: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n")), [16, 4, 37, 7]);
        assert_eq!(see(&format!("{lo}{eth}veth1: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n")), [16, 4, 37, 7]);
    }

    #[test]
    fn retransmits_stand_where_the_names_say() {
        let mut node = Node::default();
        node.snmp(
            b"Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoAlgorithm ActiveOpens RetransSegs InErrs\nTcp: 1 20 300 4\nUdp: X\nUdp: 1\n",
        );
        assert_eq!((node.usage.tcp_retransmits, node.usage.sources.tcp), (300, Source::Proc));
        node.snmp(b"Tcp: Other\nTcp: 1\n");
        assert_eq!(node.usage.tcp_retransmits, 300);
    }

    #[test]
    fn whole_disks_count_and_what_lies_on_them_does_not_again() {
        let text = b"   8       0 sda 10 1 100 5 20 2 200 6 0 7 8 0 0 0 0 1 1\n   8       1 sda1 9 1 90 5 19 2 190 6 0 7 8\n \
            253       0 dm-0 9 0 90 5 19 0 190 6 0 7 8 0 0 0 0\n 259       0 nvme0n1 1 0 8 0 2 0 16 0 0 0 0 0 0 0 0 0 0\n";
        let mut node = Node::default();
        let asked = std::cell::Cell::new(0);
        let is_whole = |name: &[u8], _| {
            asked.set(asked.get() + 1);
            matches!(name, b"sda" | b"nvme0n1")
        };
        for _ in 0..3 {
            node.disks_where(text, is_whole);
            let usage = node.usage;
            assert_eq!((usage.io_read_bytes, usage.io_read_ops), (108 * 512, 11));
            assert_eq!((usage.io_write_bytes, usage.io_write_ops), (216 * 512, 22));
        }
        assert_eq!(asked.get(), 4, "each is looked up once");
    }

    #[test]
    fn this_nodes_devices_are_told_apart() {
        assert!(!is_whole(b"loop0", (7, 0)) && !is_whole(b"zram0", (253, 0)));
        for entry in fs::read_dir("/sys/class/block").into_iter().flatten().flatten() {
            let number = fs::read_to_string(entry.path().join("dev")).unwrap_or_default();
            let Some((major, minor)) = number.trim().split_once(':') else { continue };
            let device = (major.parse().expect("a number"), minor.parse().expect("a number"));
            let is_part = entry.path().join("partition").exists();
            let name = entry.file_name().into_encoded_bytes();
            assert!(!(is_part && is_whole(&name, device)), "{}", entry.path().display());
        }
    }
}
