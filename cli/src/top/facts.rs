//! A container's figures as label and text, for who looks at one closely: gauges as they are, counters as rates between
//! the two newest looks, and as sums where events are few.

use std::time::Duration;

use model::usage::{Group, Usage};

use super::insight::Insight;
use super::units::{bytes, count, duration, percent};

/// One label and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) label: &'static str,
    pub(super) text: String,
}

/// Everything worth a line. `before` is the look before `now`, for the rates.
pub(super) fn facts(now: &Insight, before: Option<&Insight>) -> Vec<Fact> {
    let of = Facts { now, before };
    let usage = &now.counters.usage;
    let size = |value: u64| bytes(value as f64);
    let span = |ns: u64| duration(ns as f64);
    let number = |value: u64| count(value as f64);
    let both = |one: String, other: String| format!("{one} / {other}");
    let per_second = |figure| of.rate(figure).map_or("-".to_owned(), count);
    let traffic = |figure| of.rate(figure).map_or("-".to_owned(), bytes);
    let share = |figure| of.rate(figure).map_or("-".to_owned(), |ns| percent(ns / 1e9));
    let all: &[(Group, &'static str, String)] = &[
        (Group::Cpu, "user / system %", both(share(|it| it.cpu_user_ns), share(|it| it.cpu_system_ns))),
        (Group::Cpu, "switches/s, own will", per_second(|it| it.switches_voluntary)),
        (Group::Cpu, "switches/s, taken", per_second(|it| it.switches_involuntary)),
        (Group::Cpu, "throttled periods", both(number(usage.throttled_periods), number(usage.periods))),
        (Group::Cpu, "throttled % of time", share(|it| it.throttled_ns)),
        (Group::RunQueue, "wait p50 / p99", both(span(usage.run_queue_p50_ns), span(usage.run_queue_p99_ns))),
        (Group::RunQueue, "waits/s", per_second(|it| it.run_queue_waits)),
        (Group::RunQueue, "waited % of time", share(|it| it.run_queue_ns)),
        (Group::RunQueue, "preempted/s", per_second(|it| it.preempted)),
        (
            Group::Memory,
            "memory now / peak",
            both(size(usage.memory_current_bytes), size(usage.memory_peak_bytes)),
        ),
        (Group::Memory, "working set", size(usage.memory_working_set_bytes)),
        (Group::Memory, "anon / file", both(size(usage.memory_anon_bytes), size(usage.memory_file_bytes))),
        (
            Group::Memory,
            "kernel / swap",
            both(size(usage.memory_kernel_bytes), size(usage.memory_swap_bytes)),
        ),
        (Group::Memory, "OOM kills", number(usage.oom_kills)),
        (
            Group::Faults,
            "faults/s min / maj",
            both(per_second(|it| it.faults_minor), per_second(|it| it.faults_major)),
        ),
        (Group::Pressure, "pressure cpu %", share(|it| it.pressure_cpu_some_ns)),
        (
            Group::Pressure,
            "pressure mem % s/f",
            both(share(|it| it.pressure_memory_some_ns), share(|it| it.pressure_memory_full_ns)),
        ),
        (
            Group::Pressure,
            "pressure io % s/f",
            both(share(|it| it.pressure_io_some_ns), share(|it| it.pressure_io_full_ns)),
        ),
        (
            Group::Network,
            "net B/s in / out",
            both(traffic(|it| it.net_rx_bytes), traffic(|it| it.net_tx_bytes)),
        ),
        (
            Group::Network,
            "packets/s in / out",
            both(per_second(|it| it.net_rx_packets), per_second(|it| it.net_tx_packets)),
        ),
        (Group::Tcp, "retransmits/s", per_second(|it| it.tcp_retransmits)),
        (
            Group::Tcp,
            "connects/s, accepts/s",
            both(per_second(|it| it.tcp_connects), per_second(|it| it.tcp_accepts)),
        ),
        (Group::Tcp, "rtt p50 / p99", both(span(usage.tcp_rtt_p50_ns), span(usage.tcp_rtt_p99_ns))),
        (
            Group::Io,
            "io B/s read / written",
            both(traffic(|it| it.io_read_bytes), traffic(|it| it.io_write_bytes)),
        ),
        (Group::Io, "io p50 / p99", both(span(usage.io_p50_ns), span(usage.io_p99_ns))),
        (Group::Life, "processes / threads", both(number(usage.processes), number(usage.threads))),
        (Group::Life, "forks/s, execs/s", both(per_second(|it| it.forks), per_second(|it| it.execs))),
        (
            Group::Life,
            "exits bad / by signal",
            both(number(usage.exits_failed), number(usage.exits_signaled)),
        ),
    ];
    let known =
        |group: Group, text: &str| if now.counters.knows(group) { text.to_owned() } else { "-".to_owned() };
    all.iter().map(|(group, label, text)| Fact { label, text: known(*group, text) }).collect()
}

struct Facts<'a> {
    now: &'a Insight,
    before: Option<&'a Insight>,
}

impl Facts<'_> {
    /// A second, by the agent's own clock.
    fn rate(&self, figure: fn(&Usage) -> u64) -> Option<f64> {
        let before = self.before?;
        let span = self.now.at.checked_sub(before.at).filter(|it| *it > Duration::ZERO)?;
        let news = figure(&self.now.counters.usage).checked_sub(figure(&before.counters.usage))?;
        Some(news as f64 / span.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::Counters;
    use super::*;
    use model::usage::{Source, Sources};

    #[test]
    fn rates_need_two_looks_and_unknown_groups_say_so() {
        let look = |seconds: u64, cpu_user_ns: u64| {
            let sources = Sources { cpu: Source::Bpf, memory: Source::Cgroup, ..Sources::default() };
            let usage = Usage { cpu_user_ns, memory_peak_bytes: 1 << 20, sources, ..Usage::default() };
            Insight {
                at: Duration::from_secs(seconds),
                counters: Counters { usage, is_final: false },
                ..Insight::default()
            }
        };
        let text =
            |all: &[Fact], label: &str| all.iter().find(|it| it.label == label).expect("there").text.clone();
        let (before, now) = (look(10, 1_000_000_000), look(14, 4_000_000_000));
        let all = facts(&now, Some(&before));
        assert_eq!(text(&all, "user / system %"), "75.0 / 0.0");
        assert_eq!(text(&all, "memory now / peak"), "0 / 1.0Mi");
        assert_eq!(text(&all, "rtt p50 / p99"), "-");
        assert_eq!(text(&facts(&now, None), "user / system %"), "- / -");
    }

    #[test]
    fn nothing_is_wider_than_a_line_of_an_80_column_screen_allows() {
        let usage =
            Usage::from_words([u64::MAX / 3; Usage::WORDS], Sources::from_array([Source::Bpf; Group::COUNT]));
        let now = Insight { counters: Counters { usage, is_final: false }, ..Insight::default() };
        for fact in facts(&now, None) {
            assert!(fact.label.len() + 1 + fact.text.len() <= 38, "{fact:?}");
        }
    }
}
