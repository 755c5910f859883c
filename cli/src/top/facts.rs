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
    let all =
        [of.hold(), of.cpu(), of.run_queue(), of.memory(), of.pressure(), of.network(), of.io_and_life()];
    all.into_iter().flatten().collect()
}

struct Facts<'a> {
    now: &'a Insight,
    before: Option<&'a Insight>,
}

/// Reads one counter.
type Of = fn(&Usage) -> u64;

impl Facts<'_> {
    /// Only of a container that runs on revocable resources.
    fn hold(&self) -> Vec<Fact> {
        let Some(hold) = &self.now.hold else { return Vec::new() };
        let left = match hold.share_permille {
            0 => "nothing, frozen".to_owned(),
            1000 => "what is idle".to_owned(),
            permille => format!("{}.{} %", permille / 10, permille % 10),
        };
        let cause =
            hold.cause.as_deref().map(|it| Fact { label: "held back for", text: it.replace('_', " ") });
        std::iter::once(Fact { label: "revocable, left", text: left }).chain(cause).collect()
    }

    fn cpu(&self) -> Vec<Fact> {
        let usage = &self.now.counters.usage;
        let fact = |label, text| self.fact(Group::Cpu, label, text);
        vec![
            fact("user / system %", both(self.share(|it| it.cpu_user_ns), self.share(|it| it.cpu_system_ns))),
            fact("switches/s, own will", self.per_second(|it| it.switches_voluntary)),
            fact("switches/s, taken", self.per_second(|it| it.switches_involuntary)),
            fact("throttled periods", of_all(usage.throttled_periods, usage.periods)),
            fact("throttled % of time", self.share(|it| it.throttled_ns)),
        ]
    }

    fn run_queue(&self) -> Vec<Fact> {
        let usage = &self.now.counters.usage;
        let fact = |label, text| self.fact(Group::RunQueue, label, text);
        vec![
            fact("wait p50 / p99", spans(usage.run_queue_p50_ns, usage.run_queue_p99_ns)),
            fact("waits/s", self.per_second(|it| it.run_queue_waits)),
            fact("waited % of time", self.share(|it| it.run_queue_ns)),
            fact("preempted/s", self.per_second(|it| it.preempted)),
        ]
    }

    fn memory(&self) -> Vec<Fact> {
        let usage = &self.now.counters.usage;
        let fact = |label, text| self.fact(Group::Memory, label, text);
        let faults = both(self.per_second(|it| it.faults_minor), self.per_second(|it| it.faults_major));
        vec![
            fact("memory now / peak", sizes(usage.memory_current_bytes, usage.memory_peak_bytes)),
            fact("working set", bytes(usage.memory_working_set_bytes as f64)),
            fact("anon / file", sizes(usage.memory_anon_bytes, usage.memory_file_bytes)),
            fact("kernel / swap", sizes(usage.memory_kernel_bytes, usage.memory_swap_bytes)),
            fact("OOM kills", count(usage.oom_kills as f64)),
            self.fact(Group::Faults, "faults/s min / maj", faults),
        ]
    }

    /// Pressure: the share of the time in which some (s) or all (f, full) of its threads waited.
    fn pressure(&self) -> Vec<Fact> {
        let fact = |label, text| self.fact(Group::Pressure, label, text);
        let pair = |some: Of, full: Of| both(self.part(some), self.part(full));
        vec![
            fact("pressure cpu %", self.part(|it| it.pressure_cpu_some_ns)),
            fact(
                "pressure mem % s/f",
                pair(|it| it.pressure_memory_some_ns, |it| it.pressure_memory_full_ns),
            ),
            fact("pressure io % s/f", pair(|it| it.pressure_io_some_ns, |it| it.pressure_io_full_ns)),
        ]
    }

    fn network(&self) -> Vec<Fact> {
        let usage = &self.now.counters.usage;
        let network = |label, text| self.fact(Group::Network, label, text);
        let tcp = |label, text| self.fact(Group::Tcp, label, text);
        let counts = |one: Of, other: Of| both(self.per_second(one), self.per_second(other));
        let traffic = both(self.traffic(|it| it.net_rx_bytes), self.traffic(|it| it.net_tx_bytes));
        vec![
            network("net B/s in / out", traffic),
            network("packets/s in / out", counts(|it| it.net_rx_packets, |it| it.net_tx_packets)),
            tcp("retransmits/s", self.per_second(|it| it.tcp_retransmits)),
            tcp("connects/s, accepts/s", counts(|it| it.tcp_connects, |it| it.tcp_accepts)),
            tcp("rtt p50 / p99", spans(usage.tcp_rtt_p50_ns, usage.tcp_rtt_p99_ns)),
        ]
    }

    fn io_and_life(&self) -> Vec<Fact> {
        let usage = &self.now.counters.usage;
        let io = |label, text| self.fact(Group::Io, label, text);
        let life = |label, text| self.fact(Group::Life, label, text);
        let traffic = both(self.traffic(|it| it.io_read_bytes), self.traffic(|it| it.io_write_bytes));
        let births = both(self.per_second(|it| it.forks), self.per_second(|it| it.execs));
        // Where nobody reads /proc, threads are not counted; a process has at least one.
        let threads = if usage.threads > 0 { count(usage.threads as f64) } else { "-".to_owned() };
        vec![
            io("io B/s read / written", traffic),
            io("io p50 / p99", spans(usage.io_p50_ns, usage.io_p99_ns)),
            Fact { label: "processes / threads", text: both(count(usage.processes as f64), threads) },
            life("forks/s, execs/s", births),
            life("exits bad / by signal", of_all(usage.exits_failed, usage.exits_signaled)),
        ]
    }

    /// A dash where nobody measures it: a zero would claim that somebody did.
    fn fact(&self, group: Group, label: &'static str, text: String) -> Fact {
        Fact { label, text: if self.now.counters.knows(group) { text } else { "-".to_owned() } }
    }

    /// A second, by the agent's own clock.
    fn rate(&self, figure: Of) -> Option<f64> {
        let before = self.before?;
        let span = self.now.at.checked_sub(before.at).filter(|it| *it > Duration::ZERO)?;
        let news = figure(&self.now.counters.usage).checked_sub(figure(&before.counters.usage))?;
        Some(news as f64 / span.as_secs_f64())
    }

    fn per_second(&self, figure: Of) -> String {
        self.rate(figure).map_or("-".to_owned(), count)
    }

    fn traffic(&self, figure: Of) -> String {
        self.rate(figure).map_or("-".to_owned(), bytes)
    }

    /// Nanoseconds as a share of the time that passed.
    fn share(&self, figure: Of) -> String {
        self.rate(figure).map_or("-".to_owned(), |ns| percent(ns / 1e9))
    }

    /// The same of what cannot be more than all of the time: pressure is read less often than the rest, so that what came
    /// in a longer while may stand in a short one.
    fn part(&self, figure: Of) -> String {
        self.rate(figure).map_or("-".to_owned(), |ns| percent((ns / 1e9).min(1.0)))
    }
}

fn both(one: String, other: String) -> String {
    format!("{one} / {other}")
}

fn of_all(one: u64, other: u64) -> String {
    both(count(one as f64), count(other as f64))
}

fn sizes(one: u64, other: u64) -> String {
    both(bytes(one as f64), bytes(other as f64))
}

fn spans(one_ns: u64, other_ns: u64) -> String {
    both(duration(one_ns as f64), duration(other_ns as f64))
}

#[cfg(test)]
mod tests {
    use super::super::counters::Counters;
    use super::super::insight::Hold;
    use super::*;
    use model::usage::{Source, Sources};

    #[test]
    fn rates_need_two_looks_and_unknown_groups_say_so() {
        let look = |seconds: u64, cpu_user_ns: u64| {
            let sources = Sources { cpu: Source::Bpf, memory: Source::Cgroup, ..Sources::default() };
            let usage = Usage { cpu_user_ns, memory_peak_bytes: 1 << 20, sources, ..Usage::default() };
            Insight {
                at: Duration::from_secs(seconds),
                counters: Counters { usage, is_final: false, at: None },
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
    fn what_holds_a_revocable_task_back_is_told_first() {
        let held = |share_permille, cause: Option<&str>| {
            let hold = Some(Hold { share_permille, cause: cause.map(str::to_owned) });
            let told = facts(&Insight { hold, ..Insight::default() }, None);
            told.into_iter().take(2).map(|it| it.text).collect::<Vec<_>>()
        };
        assert_eq!(held(0, Some("run_queue_latency")), ["nothing, frozen", "run queue latency"]);
        assert_eq!(held(250, Some("cpu_pressure")), ["25.0 %", "cpu pressure"]);
        assert_eq!(held(1000, None)[0], "what is idle");
        assert_eq!(facts(&Insight::default(), None)[0].label, "user / system %");
    }

    #[test]
    fn nothing_is_wider_than_a_line_of_an_80_column_screen_allows() {
        let usage =
            Usage::from_words([u64::MAX / 3; Usage::WORDS], Sources::from_array([Source::Bpf; Group::COUNT]));
        let now = Insight { counters: Counters { usage, is_final: false, at: None }, ..Insight::default() };
        for fact in facts(&now, None) {
            assert!(fact.label.len() + 1 + fact.text.len() <= 38, "{fact:?}");
        }
    }
}
