//! What was measured of a container, as documents show it under the one key that is not Mesos': `"ingot": {"usage": {...}}`.

use model::usage::{Group, NodeUsage, Usage};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

/// `{"usage": {...}, "timestamp": 1700000000.5}`
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    usage: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<f64>,
}

impl Measured {
    /// Every figure. `is_final`: the container has ended, there will be no later figures.
    pub fn of(usage: &Usage, is_final: bool) -> Self {
        Self { usage: Figures { usage: *usage, is_final, extent: Extent::All }, timestamp: None }
    }

    /// The figures that were there from the first release on: for documents that show a whole cluster, where all of them
    /// would be ten times the rest.
    pub fn brief(usage: &Usage, is_final: bool) -> Self {
        Self { usage: Figures { usage: *usage, is_final, extent: Extent::Brief }, timestamp: None }
    }
}

impl Measured {
    /// With the time at which it was so, seconds since 1970 by the agent's clock: rates are between two of these.
    pub fn at(self, timestamp: Option<f64>) -> Self {
        Self { timestamp, ..self }
    }
}

/// What a whole node used and has: `{"node": {...}, "timestamp": 1700000000.5}`, the figures under their names in
/// [`NodeUsage::FIGURES`] but for those that nobody tells, and the source of each group under `source`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MeasuredNode {
    node: NodeFigures,
    timestamp: f64,
}

impl MeasuredNode {
    /// `timestamp`: as of [`Measured::at`].
    pub fn of(usage: &NodeUsage, timestamp: f64) -> Self {
        Self { node: NodeFigures(*usage), timestamp }
    }
}

#[derive(Clone, Copy, Debug)]
struct NodeFigures(NodeUsage);

impl Serialize for NodeFigures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(usage) = self;
        let mut out = serializer.serialize_map(None)?;
        for (figure, value) in NodeUsage::FIGURES.iter().zip(usage.to_words()) {
            if usage.sources.of(figure.group) != model::usage::Source::None {
                out.serialize_entry(figure.name, &value)?;
            }
        }
        out.serialize_entry("source", &Sources(usage.sources))?;
        out.end()
    }
}

/// The figures under their names in [`Usage::FIGURES`], three of them also under the names of the first release
/// (`context_switches`, `mem_current_bytes`, `mem_peak_bytes`), the source of each group under `source`, and `final`.
///
/// A figure of a group whose source is `none` says nothing; only those of the first release are shown all the same.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    usage: Usage,
    is_final: bool,
    extent: Extent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    All,
    Brief,
}

/// Names in the table that the first release had.
const FIRST: [&str; 8] = [
    "cpu_user_ns",
    "cpu_system_ns",
    "cpu_ns",
    "net_rx_bytes",
    "net_rx_packets",
    "net_tx_bytes",
    "net_tx_packets",
    "processes",
];

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { usage, is_final, extent } = self;
        let sources = usage.sources;
        let is_known = |group| sources.of(group) != model::usage::Source::None;
        let mut out = serializer.serialize_map(None)?;
        for (figure, value) in Usage::FIGURES.iter().zip(usage.to_words()) {
            if FIRST.contains(&figure.name) || (*extent == Extent::All && is_known(figure.group)) {
                out.serialize_entry(figure.name, &value)?;
            }
        }
        out.serialize_entry("context_switches", &usage.switches())?;
        out.serialize_entry("mem_current_bytes", &usage.memory_current_bytes)?;
        out.serialize_entry("mem_peak_bytes", &usage.memory_peak_bytes)?;
        out.serialize_entry("source", &Sources(sources))?;
        out.serialize_entry("final", is_final)?;
        out.end()
    }
}

struct Sources(model::usage::Sources);

impl Serialize for Sources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_map(Group::ALL.into_iter().map(|group| (group.as_str(), self.0.of(group).as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::usage::{Source, Sources};
    use serde_json::{Value, json};

    fn written(measured: Measured) -> Value {
        serde_json::to_value(measured).expect("numbers and texts")
    }

    /// What the first release showed, which clients read.
    #[test]
    fn the_first_releases_names_stay() {
        let usage = Usage {
            cpu_user_ns: 3,
            cpu_system_ns: 4,
            cpu_ns: 7,
            switches_voluntary: 10,
            switches_involuntary: 1,
            memory_current_bytes: 20,
            memory_peak_bytes: 30,
            processes: 2,
            sources: Sources { cpu: Source::Bpf, memory: Source::Cgroup, ..Sources::default() },
            ..Usage::default()
        };
        let sources = json!({
            "cpu": "bpf", "run_queue": "none", "memory": "cgroup", "faults": "none", "pressure": "none",
            "network": "none", "tcp": "none", "io": "none", "life": "none",
        });
        let first = json!({"usage": {
            "cpu_user_ns": 3, "cpu_system_ns": 4, "cpu_ns": 7, "context_switches": 11,
            "mem_current_bytes": 20, "mem_peak_bytes": 30, "net_rx_bytes": 0, "net_rx_packets": 0,
            "net_tx_bytes": 0, "net_tx_packets": 0, "processes": 2, "source": sources, "final": true,
        }});
        assert_eq!(written(Measured::brief(&usage, true)), first);
        let all = written(Measured::of(&usage, true))["usage"].clone();
        for (name, value) in first["usage"].as_object().expect("an object") {
            assert_eq!(&all[name], value, "{name}");
        }
    }

    #[test]
    fn a_node_s_figures_are_shown_with_their_time() {
        let sources = Sources { memory: Source::Proc, ..Sources::default() };
        let usage = NodeUsage { cpu_ns: 3, memory_total_bytes: 7, sources, ..NodeUsage::default() };
        let shown = serde_json::to_value(MeasuredNode::of(&usage, 1.5)).expect("numbers and texts");
        assert_eq!((&shown["node"]["memory_total_bytes"], &shown["timestamp"]), (&json!(7), &json!(1.5)));
        assert_eq!(
            (&shown["node"]["cpu_ns"], &shown["node"]["source"]["cpu"]),
            (&Value::Null, &json!("none"))
        );
        assert_eq!(written(Measured::of(&Usage::default(), false).at(Some(2.5)))["timestamp"], 2.5);
    }

    #[test]
    fn every_figure_is_shown_whose_group_somebody_tells() {
        let words = std::array::from_fn(|at| at as u64 + 1);
        let known = Sources::from_array([Source::Cgroup; Group::COUNT]);
        let all = written(Measured::of(&Usage::from_words(words, known), false))["usage"].clone();
        for (figure, word) in Usage::FIGURES.iter().zip(words) {
            assert_eq!(all[figure.name], word, "{}", figure.name);
        }
        let untold = Sources { io: Source::None, ..known };
        let some = written(Measured::of(&Usage::from_words(words, untold), false))["usage"].clone();
        assert_eq!((&some["io_read_ops"], &some["source"]["io"]), (&Value::Null, &json!("none")));
        assert_eq!(some["faults_major"], all["faults_major"]);
    }
}
