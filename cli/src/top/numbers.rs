//! What is shown of a row in numbers: gauges as they are, counters as rates between two readings.

use std::time::Duration;

use model::usage::{Group, Usage};

use super::counters::{Counters, NodeCounters};
use super::reading::Amounts;

/// One number of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    Tasks,
    /// On-CPU time, cores.
    Cpu,
    /// Cores asked for; of a node, by all that runs there.
    CpuAsked,
    /// Cores that a node has.
    CpuTotal,
    /// Cores that a whole node keeps busy, tasks or not.
    Busy,
    Memory,
    MemoryAsked,
    MemoryTotal,
    /// What a whole node could still give out.
    MemoryFree,
    /// Bytes a second.
    NetRx,
    NetTx,
    IoRead,
    IoWrite,
    /// 99 of 100 waits for a CPU were no longer, nanoseconds.
    Wait99,
    /// Share of its limit's periods in which it met the limit.
    Throttled,
    /// Share of the time its threads wanted to run on that they waited, because others had their CPU.
    Preempted,
    /// A second.
    Switches,
    /// Major ones, a second.
    Faults,
    Processes,
}

impl Figure {
    pub(super) const COUNT: usize = Self::Processes as usize + 1;
}

/// A row's numbers; `None` is what nobody can tell (yet).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Numbers([Option<f32>; Figure::COUNT]);

impl Numbers {
    pub(super) fn get(&self, figure: Figure) -> Option<f32> {
        self.0[figure as usize]
    }

    pub(super) fn set(&mut self, figure: Figure, value: Option<f64>) {
        self.0[figure as usize] = value.map(|it| it as f32);
    }

    /// What was asked for: known of everybody.
    pub(super) fn asked(&mut self, amounts: Amounts) {
        self.set(Figure::CpuAsked, Some(amounts.cpus));
        self.set(Figure::MemoryAsked, Some(amounts.memory_bytes));
    }

    /// What was measured stays; what was asked for is new.
    pub(super) fn keep(&mut self, measured: &Self) {
        let asked = *self;
        *self = *measured;
        for figure in [Figure::CpuAsked, Figure::MemoryAsked] {
            self.0[figure as usize] = asked.0[figure as usize];
        }
    }

    /// What a container's counters say, given those of an earlier reading and how long ago that was. Rates that no two
    /// readings tell are `None`; so are all figures whose group nobody measures.
    pub(super) fn measure(&mut self, now: &Counters, earlier: Option<(&Counters, Duration)>) {
        let knows = |group| now.knows(group);
        let gauge = |group, value: u64| knows(group).then_some(value as f64);
        let usage = &now.usage;
        self.set(Figure::Memory, gauge(Group::Memory, usage.memory_current_bytes));
        self.set(Figure::Wait99, gauge(Group::RunQueue, usage.run_queue_p99_ns));
        // The agent counts processes by /proc or by the programs, and always knows some number; a row without any source
        // is one that was never measured.
        let any = Group::ALL.into_iter().any(knows);
        self.set(Figure::Processes, any.then_some(usage.processes as f64));
        // By the agent's own clock where it is told: reports come once a second, and a look may meet one more or less of them
        // than the look before.
        let earlier = earlier.map(|(before, span)| (before, between(before.at, now.at).unwrap_or(span)));
        let earlier = earlier.filter(|(before, span)| !span.is_zero() && before.usage.cpu_ns <= usage.cpu_ns);
        let rate = |group, of: fn(&Usage) -> u64| {
            let (before, span) = earlier?;
            knows(group).then(|| of(usage).saturating_sub(of(&before.usage)) as f64 / span.as_secs_f64())
        };
        let cpu = rate(Group::Cpu, |it| it.cpu_ns);
        self.set(Figure::Cpu, cpu.map(|it| it / 1e9));
        self.set(Figure::NetRx, rate(Group::Network, |it| it.net_rx_bytes));
        self.set(Figure::NetTx, rate(Group::Network, |it| it.net_tx_bytes));
        self.set(Figure::IoRead, rate(Group::Io, |it| it.io_read_bytes));
        self.set(Figure::IoWrite, rate(Group::Io, |it| it.io_write_bytes));
        self.set(Figure::Switches, rate(Group::Cpu, Usage::switches));
        self.set(Figure::Faults, rate(Group::Faults, |it| it.faults_major));
        let periods = rate(Group::Cpu, |it| it.periods);
        let throttled = rate(Group::Cpu, |it| it.throttled_periods);
        // No period passed lately: it did not run, so it was not held back. None ever did: nothing holds it to a limit.
        self.set(Figure::Throttled, share(throttled, periods).filter(|_| usage.periods > 0));
        let preempted = rate(Group::RunQueue, |it| it.preempted_ns);
        self.set(Figure::Preempted, share(preempted, preempted.zip(cpu).map(|(taken, had)| taken + had)));
    }

    /// What a whole node says of itself, with what it said before and how long ago that was.
    pub(super) fn measure_node(&mut self, now: &NodeCounters, earlier: Option<(&NodeCounters, Duration)>) {
        self.set(Figure::MemoryFree, now.memory_available_bytes.map(|it| it as f64));
        let busy = earlier.and_then(|(before, span)| {
            let span = between(before.at, now.at).unwrap_or(span);
            let news = now.cpu_ns?.checked_sub(before.cpu_ns?)?;
            (!span.is_zero()).then(|| news as f64 / 1e9 / span.as_secs_f64())
        });
        self.set(Figure::Busy, busy);
    }
}

/// Numbers of a whole, out of those of its parts. Shares are weighed by a part's on-CPU time; the longest wait is the
/// whole's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    numbers: Numbers,
    weights: [f32; Figure::COUNT],
}

/// What an idle part weighs, cores: it counts for something, or a node of idle tasks would know no shares.
const IDLE_CORES: f32 = 0.001;

impl Sum {
    pub(super) fn add(&mut self, part: &Numbers) {
        let weight = part.get(Figure::Cpu).unwrap_or_default().max(IDLE_CORES);
        for (at, value) in part.0.iter().enumerate() {
            let Some(value) = *value else { continue };
            let sum = self.numbers.0[at].unwrap_or_default();
            self.numbers.0[at] = Some(match at {
                _ if at == Figure::Wait99 as usize => sum.max(value),
                _ if at == Figure::Throttled as usize || at == Figure::Preempted as usize => {
                    self.weights[at] += weight;
                    sum + value * weight
                }
                _ => sum + value,
            });
        }
    }

    pub(super) fn numbers(&self) -> Numbers {
        let mut numbers = self.numbers;
        for (value, weight) in numbers.0.iter_mut().zip(self.weights) {
            if weight > 0.0 {
                *value = value.map(|it| it / weight);
            }
        }
        numbers
    }
}

/// From one moment to a later one, where both are told.
fn between(before: Option<Duration>, now: Option<Duration>) -> Option<Duration> {
    now?.checked_sub(before?)
}

fn share(part: Option<f64>, whole: Option<f64>) -> Option<f64> {
    let (part, whole) = part.zip(whole)?;
    Some(if whole > 0.0 { (part / whole).min(1.0) } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::usage::{Source, Sources};

    fn counters(cpu_ns: u64, rx: u64) -> Counters {
        let sources =
            Sources { cpu: Source::Bpf, network: Source::Bpf, run_queue: Source::Bpf, ..Sources::default() };
        let usage = Usage {
            cpu_ns,
            net_rx_bytes: rx,
            periods: cpu_ns / 100_000_000,
            throttled_periods: cpu_ns / 400_000_000,
            preempted_ns: cpu_ns / 3,
            sources,
            ..Usage::default()
        };
        Counters { usage, is_final: false, at: None }
    }

    #[test]
    fn rates_are_of_the_span_between_two_readings() {
        let (before, after) = (counters(1_200_000_000, 100), counters(4_800_000_000, 8_100));
        let mut numbers = Numbers::default();
        numbers.measure(&after, Some((&before, Duration::from_secs(2))));
        assert_eq!(numbers.get(Figure::Cpu), Some(1.8));
        assert_eq!(numbers.get(Figure::NetRx), Some(4_000.0));
        assert_eq!(numbers.get(Figure::Throttled), Some(0.25));
        assert_eq!(numbers.get(Figure::Preempted), Some(0.25));
        assert_eq!(numbers.get(Figure::IoRead), None, "nobody measures it");
    }

    #[test]
    fn the_agent_s_clock_counts_where_it_is_told() {
        let (mut before, mut after) = (counters(0, 0), counters(3_000_000_000, 0));
        (before.at, after.at) = (Some(Duration::from_secs(70)), Some(Duration::from_secs(73)));
        let mut numbers = Numbers::default();
        numbers.measure(&after, Some((&before, Duration::from_secs(2))));
        assert_eq!(numbers.get(Figure::Cpu), Some(1.0));
        let node = |cpu_ns, second| NodeCounters {
            cpu_ns: Some(cpu_ns),
            memory_available_bytes: Some(5),
            at: Some(Duration::from_secs(second)),
        };
        numbers
            .measure_node(&node(9_000_000_000, 4), Some((&node(1_000_000_000, 2), Duration::from_secs(3))));
        assert_eq!((numbers.get(Figure::Busy), numbers.get(Figure::MemoryFree)), (Some(4.0), Some(5.0)));
    }

    #[test]
    fn without_two_readings_there_is_no_rate() {
        let mut numbers = Numbers::default();
        numbers.measure(&counters(5, 5), None);
        assert_eq!((numbers.get(Figure::Cpu), numbers.get(Figure::Processes)), (None, Some(0.0)));
        // The same id, but another container: it has used less than before.
        numbers.measure(&counters(5, 5), Some((&counters(9, 0), Duration::from_secs(1))));
        assert_eq!(numbers.get(Figure::Cpu), None);
        numbers.measure(&counters(5, 5), Some((&counters(5, 5), Duration::ZERO)));
        assert_eq!(numbers.get(Figure::Cpu), None);
    }

    #[test]
    fn shares_of_a_whole_weigh_its_parts_and_the_longest_wait_counts() {
        let part = |cpu, throttled, wait| {
            let mut part = Numbers::default();
            part.set(Figure::Cpu, Some(cpu));
            part.set(Figure::Throttled, throttled);
            part.set(Figure::Wait99, Some(wait));
            part
        };
        let mut sum = Sum::default();
        for it in [part(3.0, Some(0.5), 7.0), part(1.0, Some(0.1), 9.0), part(4.0, None, 1.0)] {
            sum.add(&it);
        }
        let all = sum.numbers();
        assert_eq!((all.get(Figure::Cpu), all.get(Figure::Wait99)), (Some(8.0), Some(9.0)));
        assert!((all.get(Figure::Throttled).expect("known") - 0.4).abs() < 1e-6);
        assert_eq!(all.get(Figure::NetRx), None);
    }

    #[test]
    fn an_idle_container_was_neither_throttled_nor_preempted() {
        let mut numbers = Numbers::default();
        let idle = counters(1_000_000_000, 5);
        numbers.measure(&idle, Some((&idle, Duration::from_secs(1))));
        assert_eq!((numbers.get(Figure::Throttled), numbers.get(Figure::Preempted)), (Some(0.0), Some(0.0)));
        let unlimited = counters(5, 5);
        numbers.measure(&unlimited, Some((&unlimited, Duration::from_secs(1))));
        assert_eq!(numbers.get(Figure::Throttled), None, "it never met a period");
    }
}
