//! One container's account: its figures and what lies behind them, kept from look to look.

use std::cmp::Reverse;

use model::id::ContainerId;
use model::latency::Latency;
use model::usage::{Detail, Device, Preempter, Preemption, Source, Usage};

use super::combine::combine;
use super::kernel::{KernelSample, RunQueue, Taker, Tcp};
use super::sample::FileSample;

/// Others that took a container's CPU, as many as are shown; the rest is in the sums.
const PREEMPTERS_MAX: usize = 8;

/// Everything known of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub usage: Usage,
    pub detail: Detail,
}

impl Account {
    /// Takes in one reading of each source. `of` names the container that a cgroup id belongs to; `own` is this one's.
    pub fn look(
        &mut self,
        own: Option<u64>,
        kernel: Option<&KernelSample>,
        files: &FileSample,
        of: &dyn Fn(u64) -> Option<ContainerId>,
    ) {
        self.usage = combine(&self.usage, kernel, files);
        if self.usage.sources.io == Source::Cgroup
            && let Some(devices) = &files.devices
        {
            self.detail.devices.clone_from(devices);
        }
        let Some(kernel) = kernel else { return };
        if let Some(waits) = &kernel.run_queue {
            self.run_queue(waits, own, of);
        }
        if let Some(tcp) = &kernel.tcp {
            self.tcp(tcp);
        }
        if let Some(devices) = &kernel.devices {
            self.io(devices);
        }
    }

    fn run_queue(&mut self, waits: &RunQueue, own: Option<u64>, of: &dyn Fn(u64) -> Option<ContainerId>) {
        let usage = &mut self.usage;
        usage.sources.run_queue = Source::Bpf;
        let news = grow(&mut self.detail.run_queue, &waits.latency);
        quantiles(&news, &mut usage.run_queue_p50_ns, &mut usage.run_queue_p99_ns);
        raise(&mut usage.run_queue_waits, self.detail.run_queue.count());
        raise(&mut usage.run_queue_ns, self.detail.run_queue.sum_ns);
        let mut all: Vec<Preemption> = Vec::new();
        // Somebody else took it, and nobody knows who: that is in the sums only.
        let (mut untold, mut untold_ns) = (0, 0);
        for taken in &waits.taken {
            let by = match taken.by {
                Taker::Cgroup(id) if Some(id) == own => Preempter::Itself,
                // A container that is gone was one all the same; nobody knows its name any more.
                Taker::Cgroup(id) => of(id).map_or(Preempter::System, Preempter::Container),
                Taker::Agent => Preempter::Agent,
                Taker::System | Taker::Gone => Preempter::System,
                Taker::Untold => {
                    (untold, untold_ns) = (taken.count, taken.waited_ns);
                    continue;
                }
                Taker::Limit => Preempter::Limit,
            };
            match all.iter_mut().find(|it| it.by == by) {
                Some(same) => {
                    same.count = same.count.saturating_add(taken.count);
                    same.waited_ns = same.waited_ns.saturating_add(taken.waited_ns);
                }
                None => all.push(Preemption { by, count: taken.count, waited_ns: taken.waited_ns }),
            }
        }
        let others = || all.iter().filter(|it| !matches!(it.by, Preempter::Itself | Preempter::Limit));
        raise(&mut usage.preempted, others().fold(untold, |sum, it| sum.saturating_add(it.count)));
        raise(&mut usage.preempted_ns, others().fold(untold_ns, |sum, it| sum.saturating_add(it.waited_ns)));
        all.sort_by_key(|it| Reverse(it.waited_ns));
        all.truncate(PREEMPTERS_MAX);
        self.detail.preempted_by = all;
    }

    fn tcp(&mut self, tcp: &Tcp) {
        let usage = &mut self.usage;
        usage.sources.tcp = Source::Bpf;
        raise(&mut usage.tcp_retransmits, tcp.retransmits);
        raise(&mut usage.tcp_connects, tcp.connects);
        raise(&mut usage.tcp_accepts, tcp.accepts);
        let news = grow(&mut self.detail.tcp_rtt, &tcp.rtt);
        quantiles(&news, &mut usage.tcp_rtt_p50_ns, &mut usage.tcp_rtt_p99_ns);
        if news.count() > 0 {
            self.detail.tcp_rtt_recent = news;
        }
    }

    fn io(&mut self, devices: &[Device]) {
        let usage = &mut self.usage;
        usage.sources.io = Source::Bpf;
        let mut news = Latency::default();
        for device in devices {
            let known = &mut self.detail.devices;
            let at = known.binary_search_by_key(&(device.major, device.minor), |it| (it.major, it.minor));
            let at = at.unwrap_or_else(|at| {
                known.insert(at, Device { major: device.major, minor: device.minor, ..Device::default() });
                at
            });
            let kept = &mut known[at];
            raise(&mut kept.read_bytes, device.read_bytes);
            raise(&mut kept.read_ops, device.read_ops);
            raise(&mut kept.write_bytes, device.write_bytes);
            raise(&mut kept.write_ops, device.write_ops);
            news.add(&grow(&mut kept.latency, &device.latency));
        }
        quantiles(&news, &mut usage.io_p50_ns, &mut usage.io_p99_ns);
        let sum = |of: fn(&Device) -> u64| self.detail.devices.iter().map(of).fold(0, u64::saturating_add);
        raise(&mut usage.io_read_bytes, sum(|it| it.read_bytes));
        raise(&mut usage.io_read_ops, sum(|it| it.read_ops));
        raise(&mut usage.io_write_bytes, sum(|it| it.write_bytes));
        raise(&mut usage.io_write_ops, sum(|it| it.write_ops));
    }
}

/// Takes over a distribution that only grows, and returns what is new in it. One that has shrunk (its counters were
/// begun anew) is left as it was until it has caught up.
fn grow(kept: &mut Latency, seen: &Latency) -> Latency {
    if seen.buckets.iter().zip(kept.buckets).any(|(seen, kept)| *seen < kept) {
        return Latency::default();
    }
    let news = seen.since(kept);
    kept.add(&news);
    news
}

/// Of nothing there are none: they stay what they were.
fn quantiles(news: &Latency, p50_ns: &mut u64, p99_ns: &mut u64) {
    if let (Some(median), Some(high)) = (news.quantile_ns(500), news.quantile_ns(990)) {
        (*p50_ns, *p99_ns) = (median, high);
    }
}

fn raise(counter: &mut u64, to: u64) {
    *counter = (*counter).max(to);
}

#[cfg(test)]
mod tests {
    use super::super::kernel::Taken;
    use super::*;

    fn sample(waits: &[u64], taken: Vec<Taken>) -> KernelSample {
        let mut latency = Latency::default();
        waits.iter().for_each(|ns| latency.record(*ns));
        KernelSample { run_queue: Some(RunQueue { latency, taken }), ..KernelSample::default() }
    }

    #[test]
    fn a_neighbour_is_named_and_ones_own_threads_are_no_neighbour() {
        let taken = |by, waited_ns| Taken { by, count: 1, waited_ns };
        let all = vec![
            taken(Taker::Cgroup(7), 1_000),
            taken(Taker::Cgroup(8), 5_000),
            taken(Taker::Cgroup(9), 2_000),
            taken(Taker::System, 100),
            taken(Taker::Agent, 200),
            taken(Taker::Gone, 10),
            taken(Taker::Limit, 9_000),
            taken(Taker::Untold, 1),
        ];
        let mut account = Account::default();
        let names = |id: u64| (id == 8).then(|| ContainerId::new("noisy"));
        account.look(Some(7), Some(&sample(&[5_000, 1_000], all)), &FileSample::default(), &names);
        let by: Vec<_> = account.detail.preempted_by.iter().map(|it| (it.by.clone(), it.waited_ns)).collect();
        let expected = [
            (Preempter::Limit, 9_000),
            (Preempter::Container(ContainerId::new("noisy")), 5_000),
            // The ones that nobody knows any more, and the system.
            (Preempter::System, 2_110),
            (Preempter::Itself, 1_000),
            (Preempter::Agent, 200),
        ];
        assert_eq!(by, expected);
        assert_eq!((account.usage.preempted, account.usage.preempted_ns), (6, 7_311));
        assert_eq!((account.usage.run_queue_waits, account.usage.run_queue_ns), (2, 6_000));
    }

    #[test]
    fn quantiles_are_of_what_came_since_the_last_look() {
        let mut account = Account::default();
        let mut look = |waits: &[u64]| {
            account.look(None, Some(&sample(waits, Vec::new())), &FileSample::default(), &|_| None);
            account.usage
        };
        let first = look(&[2_000; 100]);
        assert!((1_024..=2_048).contains(&first.run_queue_p99_ns), "{first:?}");
        let mut all = vec![2_000; 100];
        all.extend([9_000_000; 10]);
        let second = look(&all);
        assert!((8_388_608..=16_777_216).contains(&second.run_queue_p50_ns), "{second:?}");
        // Nothing new: what was known stays. Counters begun anew: nothing steps back.
        assert_eq!(look(&all), second);
        assert_eq!(look(&[5_000]).run_queue_waits, 110);
    }
}
