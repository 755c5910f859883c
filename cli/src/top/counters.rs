//! The figures of one container as the master's documents tell them, by their names in `model::usage`. From a Mesos
//! cluster, or an older master, there are fewer or none.

use std::fmt;
use std::time::Duration;

use model::usage::{Group, Source, Sources, Usage};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Under `ingot`: `{"usage": {...}, "timestamp": 1700000000.5}`.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Measured {
    usage: Option<Counters>,
    timestamp: Option<f64>,
}

impl Measured {
    pub(super) fn counters(self) -> Option<Counters> {
        Some(Counters { at: moment(self.timestamp), ..self.usage? })
    }
}

/// The same of a node, as far as it is shown.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct MeasuredNode {
    node: Option<NodeFigures>,
    timestamp: Option<f64>,
}

#[derive(Debug, serde::Deserialize)]
struct NodeFigures {
    cpu_ns: Option<u64>,
    memory_available_bytes: Option<u64>,
}

/// What a whole node used, whoever did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeCounters {
    pub(super) cpu_ns: Option<u64>,
    pub(super) memory_available_bytes: Option<u64>,
    /// When it was so, by its agent's clock.
    pub(super) at: Option<Duration>,
}

impl MeasuredNode {
    pub(super) fn counters(self) -> Option<NodeCounters> {
        let NodeFigures { cpu_ns, memory_available_bytes } = self.node?;
        Some(NodeCounters { cpu_ns, memory_available_bytes, at: moment(self.timestamp) })
    }
}

fn moment(seconds: Option<f64>) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds?).ok()
}

/// A row of figures, and who told each group of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) usage: Usage,
    /// No later figures will come: the container is gone.
    pub(super) is_final: bool,
    /// When it was so, by its agent's clock; an older master does not say.
    pub(super) at: Option<Duration>,
}

impl Counters {
    pub(super) fn knows(&self, group: Group) -> bool {
        self.usage.sources.of(group) != Source::None
    }
}

impl<'de> Deserialize<'de> for Counters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Figures)
    }
}

struct Figures;

impl<'de> Visitor<'de> for Figures {
    type Value = Counters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("figures of a container")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counters, A::Error> {
        let mut words = [0; Usage::WORDS];
        let mut sources = Sources::default();
        let mut is_final = false;
        let mut expected = 0;
        while let Some(key) = map.next_key::<Key>()? {
            match key.found(&mut expected) {
                Field::Figure(at) => words[at] = map.next_value::<Lenient>()?.0,
                Field::Sources => sources = map.next_value::<Told>()?.0,
                Field::Final => is_final = map.next_value()?,
                Field::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Counters { usage: Usage::from_words(words, sources), is_final, at: None })
    }
}

enum Field {
    Figure(usize),
    Sources,
    Final,
    Unknown,
}

/// A field's name, longer ones cut: no name that is looked for is as long.
struct Key {
    bytes: [u8; Key::MAX],
    length: usize,
}

impl Key {
    const MAX: usize = 48;

    /// Figures are written in the table's order: mostly it is the next one. A hundred thousand rows of seventy figures are
    /// read this way with one comparison each.
    fn found(&self, expected: &mut usize) -> Field {
        let name = &self.bytes[..self.length];
        let is = |at: &usize| Usage::FIGURES.get(*at).is_some_and(|figure| figure.name.as_bytes() == name);
        let at = if is(expected) { Some(*expected) } else { (0..Usage::FIGURES.len()).find(is) };
        if let Some(at) = at {
            *expected = at + 1;
            return Field::Figure(at);
        }
        let named = |text: &str| Usage::FIGURES.iter().position(|figure| figure.name == text);
        let figure = match name {
            b"source" => return Field::Sources,
            b"final" => return Field::Final,
            // Names of the first release, which had no others for these.
            b"mem_current_bytes" => named("memory_current_bytes"),
            b"mem_peak_bytes" => named("memory_peak_bytes"),
            _ => None,
        };
        figure.map_or(Field::Unknown, Field::Figure)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                let mut bytes = [0; Key::MAX];
                let length = name.len().min(Key::MAX);
                bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
                Ok(Key { bytes, length })
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A number of any kind; what is none, or is below zero, counts as nothing.
struct Lenient(u64);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Lenient;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Lenient, E> {
                Ok(Lenient(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Lenient, E> {
                Ok(Lenient(u64::try_from(value).unwrap_or_default()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Lenient, E> {
                Ok(Lenient(value as u64))
            }

            fn visit_unit<E>(self) -> Result<Lenient, E> {
                Ok(Lenient(0))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// `{"cpu": "bpf", ...}`
struct Told(Sources);

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Groups;
        impl<'de> Visitor<'de> for Groups {
            type Value = Told;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sources by group")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Told, A::Error> {
                let mut sources = Sources::default().to_array();
                while let Some(key) = map.next_key::<Key>()? {
                    let source = map.next_value::<Key>()?;
                    let group =
                        Group::ALL.iter().position(|it| it.as_str().as_bytes() == &key.bytes[..key.length]);
                    if let Some(at) = group {
                        sources[at] = match &source.bytes[..source.length] {
                            b"bpf" => Source::Bpf,
                            b"cgroup" => Source::Cgroup,
                            b"proc" => Source::Proc,
                            _ => Source::None,
                        };
                    }
                }
                Ok(Told(Sources::from_array(sources)))
            }
        }
        deserializer.deserialize_map(Groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_name_in_any_order_and_unknown_ones_passed_over() {
        let text = r#"{"usage": {"net_tx_bytes": 9, "cpu_ns": 5, "cpu_user_ns": 3, "of_tomorrow": {"a": [1]},
            "mem_current_bytes": 7, "processes": 2.0, "final": true, "source": {"cpu": "bpf", "memory": "cgroup", "x": "y"}}, "timestamp": 2.5}"#;
        let measured: Measured = serde_json::from_str(text).expect("figures");
        let counters = measured.counters().expect("there");
        let usage = counters.usage;
        assert_eq!(counters.at, Some(Duration::from_millis(2_500)));
        assert_eq!((usage.net_tx_bytes, usage.cpu_ns, usage.cpu_user_ns), (9, 5, 3));
        assert_eq!((usage.memory_current_bytes, usage.processes, counters.is_final), (7, 2, true));
        assert_eq!(
            (usage.sources.cpu, usage.sources.memory, usage.sources.network),
            (Source::Bpf, Source::Cgroup, Source::None)
        );
    }
}
