//! What a container's own agent knows of it, beyond what the master was told: the agent's `/containers`, under `ingot`.

use std::time::Duration;

use model::latency::Latency;
use serde::Deserialize;

use super::counters::Counters;

/// One look at a container. Everything counts since it began.
#[derive(Clone, Debug, Default)]
pub(super) struct Insight {
    /// When the agent measured, by its clock.
    pub(super) at: Duration,
    pub(super) counters: Counters,
    /// Waits for a CPU, round-trip times, a device's answers: those that somebody tells.
    pub(super) distributions: Vec<Distribution>,
    /// The longest waits first.
    pub(super) preempters: Vec<Preempter>,
    /// Where it runs on revocable resources: what it is left of them, and why no more.
    pub(super) hold: Option<Hold>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Hold {
    /// Of its CPU time, thousandths; 1000: whatever nobody else wants.
    pub(super) share_permille: u64,
    pub(super) cause: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Distribution {
    pub(super) name: String,
    pub(super) latency: Latency,
}

/// Who took its CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Preempter {
    /// `container`, `itself`, `agent` or `system`.
    pub(super) kind: String,
    /// A container's tasks, or its id.
    pub(super) name: String,
    pub(super) count: u64,
    pub(super) waited_ns: u64,
}

/// Why an agent's answer tells nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error("the agent's answer is not what was expected: {0}")]
    Nonsense(#[from] serde_json::Error),
    #[error("the agent runs no such container (any more)")]
    NoContainer,
    #[error("the agent has not measured it yet, or is not Ingot's")]
    NotMeasured,
}

#[derive(Deserialize)]
struct Entry {
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    timestamp: f64,
    ingot: Option<Ours>,
}

#[derive(Deserialize)]
struct Ours {
    #[serde(default)]
    usage: Counters,
    #[serde(default)]
    latency: Latencies,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    preempted_by: Vec<Preemption>,
    revocable: Option<Hold>,
}

#[derive(Default, Deserialize)]
struct Latencies {
    run_queue: Option<Buckets>,
    tcp_rtt: Option<Buckets>,
}

#[derive(Default, Deserialize)]
struct Buckets {
    #[serde(default)]
    buckets: Vec<u64>,
    #[serde(default)]
    sum_ns: u64,
}

#[derive(Deserialize)]
struct Device {
    device: String,
    name: Option<String>,
    #[serde(default)]
    latency: Buckets,
}

#[derive(Deserialize)]
struct Preemption {
    kind: String,
    container_id: Option<String>,
    framework_name: Option<String>,
    #[serde(default)]
    tasks: Vec<Named>,
    #[serde(default)]
    count: u64,
    #[serde(default)]
    waited_ns: u64,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

impl Insight {
    /// Reads an answer that is about one container.
    pub(super) fn of(body: &[u8]) -> Result<Self, Unknown> {
        let entries: Vec<Entry> = serde_json::from_slice(body)?;
        let entry = entries.into_iter().next().ok_or(Unknown::NoContainer)?;
        let statistics = entry.statistics.ok_or(Unknown::NotMeasured)?;
        let ours = statistics.ingot.ok_or(Unknown::NotMeasured)?;
        let waits = ours.latency.run_queue.map(|it| it.named("waits for a CPU"));
        let trips = ours.latency.tcp_rtt.map(|it| it.named("TCP round trips"));
        let devices = ours.devices.into_iter().map(|it| {
            let name = format!("answers of {}", it.name.unwrap_or(it.device));
            it.latency.named(&name)
        });
        let mut preempters: Vec<Preempter> = ours.preempted_by.into_iter().map(Preemption::named).collect();
        preempters.sort_by_key(|it| std::cmp::Reverse(it.waited_ns));
        Ok(Self {
            at: Duration::try_from_secs_f64(statistics.timestamp).unwrap_or_default(),
            counters: ours.usage,
            distributions: waits.into_iter().chain(trips).chain(devices).collect(),
            preempters,
            hold: ours.revocable,
        })
    }

    /// What came since `earlier`; of the same container, later.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let distributions = self.distributions.iter().map(|it| {
            let before = earlier.distributions.iter().find(|before| before.name == it.name);
            let latency = before.map_or(it.latency, |before| it.latency.since(&before.latency));
            Distribution { name: it.name.clone(), latency }
        });
        let preempters = self.preempters.iter().map(|it| {
            let same = |before: &&Preempter| before.kind == it.kind && before.name == it.name;
            let before = earlier.preempters.iter().find(same);
            let (count, waited_ns) = before.map_or((0, 0), |before| (before.count, before.waited_ns));
            Preempter {
                count: it.count.saturating_sub(count),
                waited_ns: it.waited_ns.saturating_sub(waited_ns),
                ..it.clone()
            }
        });
        let mut preempters: Vec<Preempter> = preempters.filter(|it| it.count > 0).collect();
        preempters.sort_by_key(|it| std::cmp::Reverse(it.waited_ns));
        let hold = self.hold.clone();
        Self {
            at: self.at,
            counters: self.counters,
            distributions: distributions.collect(),
            preempters,
            hold,
        }
    }
}

impl Buckets {
    fn named(self, name: &str) -> Distribution {
        let mut latency = Latency { sum_ns: self.sum_ns, ..Latency::default() };
        for (at, count) in self.buckets.into_iter().enumerate() {
            // An agent of another version may tell more magnitudes: they are all the longest to us.
            latency.buckets[at.min(Latency::BUCKETS - 1)] += count;
        }
        Distribution { name: name.to_owned(), latency }
    }
}

impl Preemption {
    fn named(self) -> Preempter {
        let tasks: Vec<&str> = self.tasks.iter().map(|it| &*it.id).collect();
        let name = match (&*self.kind, tasks.is_empty()) {
            ("itself", _) => "own threads".to_owned(),
            ("agent", _) => "the agent".to_owned(),
            ("system", _) => "the system".to_owned(),
            (_, false) => match self.framework_name {
                Some(framework) => format!("{} ({framework})", tasks.join(", ")),
                None => tasks.join(", "),
            },
            (_, true) => self.container_id.unwrap_or_else(|| self.kind.clone()),
        };
        Preempter { kind: self.kind, name, count: self.count, waited_ns: self.waited_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"[{"container_id": "c", "statistics": {"timestamp": 12.5, "cpus_limit": 1, "ingot": {
        "usage": {"cpu_ns": 9, "source": {"cpu": "bpf"}},
        "latency": {"bounds_ns": [1024], "run_queue": {"buckets": [0, 3, 1], "sum_ns": 7}},
        "devices": [{"device": "8:0", "name": "sda", "latency": {"buckets": [5]}}, {"device": "8:1"}],
        "preempted_by": [{"kind": "system", "count": 1, "waited_ns": 90},
            {"kind": "container", "container_id": "d", "framework_name": "cron", "tasks": [{"id": "noisy", "name": "n"}], "count": 3, "waited_ns": 500},
            {"kind": "container", "container_id": "e", "count": 2, "waited_ns": 20}]}}}]"#;

    #[test]
    fn an_agent_s_answer_is_read() {
        let insight = Insight::of(ANSWER.as_bytes()).expect("an answer");
        assert_eq!((insight.at, insight.counters.usage.cpu_ns), (Duration::from_millis(12_500), 9));
        let names: Vec<&str> = insight.distributions.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["waits for a CPU", "answers of sda", "answers of 8:1"]);
        assert_eq!(insight.distributions[0].latency.buckets[..3], [0, 3, 1]);
        let names: Vec<&str> = insight.preempters.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["noisy (cron)", "the system", "e"], "the longest wait first");
    }

    #[test]
    fn what_came_since_an_earlier_look() {
        let earlier = Insight::of(ANSWER.as_bytes()).expect("an answer");
        let mut later = earlier.clone();
        later.distributions[0].latency.record(1_500);
        later.preempters[2].count += 4;
        later.preempters[2].waited_ns += 40;
        let news = later.since(&earlier);
        assert_eq!(news.distributions[0].latency.buckets[..3], [0, 1, 0]);
        let preempters: Vec<_> =
            news.preempters.iter().map(|it| (&*it.name, it.count, it.waited_ns)).collect();
        assert_eq!(preempters, [("e", 4, 40)]);
    }

    #[test]
    fn answers_that_tell_nothing_say_why() {
        assert!(matches!(Insight::of(b"[]"), Err(Unknown::NoContainer)));
        assert!(matches!(Insight::of(b"[{\"statistics\": {\"timestamp\": 1}}]"), Err(Unknown::NotMeasured)));
        assert!(matches!(Insight::of(b"{}"), Err(Unknown::Nonsense(_))));
    }
}
