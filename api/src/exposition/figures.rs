//! The figures of `model::usage` as families: one a figure, one line a row.

use super::{Kind, Labels, Page, Value};
use model::usage::{self, Figure, Group, NodeUsage, Source, Unit, Usage};

/// One line of each figure.
#[derive(Clone, Debug)]
pub struct Row {
    labels: Labels,
    /// In the order of the table.
    words: Vec<u64>,
    is_told: [bool; Group::COUNT],
}

impl Row {
    pub fn of_container(labels: Labels, usage: &Usage) -> Self {
        let is_told = usage.sources.to_array().map(|source| source != Source::None);
        Self { labels, words: usage.to_words().to_vec(), is_told }
    }

    pub fn of_node(labels: Labels, usage: &NodeUsage) -> Self {
        let is_told = usage.sources.to_array().map(|source| source != Source::None);
        Self { labels, words: usage.to_words().to_vec(), is_told }
    }
}

/// Writes every figure of all rows under `prefix`; `figures` is the rows' table. A figure that nobody tells has no line in
/// its row.
pub fn write(page: &mut Page, prefix: &str, figures: &[Figure], rows: &[Row]) {
    for (at, figure) in figures.iter().enumerate() {
        let name = name(prefix, figure);
        let help = if figure.help.trim().is_empty() { sentence(figure) } else { figure.help.to_owned() };
        let mut family = page.family(&name, kind(figure), &help);
        for row in rows.iter().filter(|row| row.is_told[figure.group as usize]) {
            family.line(&row.labels, value(figure, row.words[at]));
        }
    }
}

/// In base units: `cpu_ns` is `PREFIX_cpu_seconds_total`.
fn name(prefix: &str, figure: &Figure) -> String {
    let (suffix, unit) = match figure.unit {
        Unit::Nanoseconds => ("_ns", "_seconds"),
        Unit::Bytes => ("_bytes", "_bytes"),
        Unit::Milli => ("_milli", ""),
        Unit::Count => ("", ""),
    };
    let stem = figure.name.strip_suffix(suffix).unwrap_or(figure.name);
    let end = if kind(figure) == Kind::Counter { "_total" } else { "" };
    format!("{prefix}_{stem}{unit}{end}")
}

fn kind(figure: &Figure) -> Kind {
    match figure.kind {
        // A high-water mark only grows, but no rate of it means anything.
        usage::Kind::Counter if !figure.name.contains("_peak_") => Kind::Counter,
        usage::Kind::Counter | usage::Kind::Gauge => Kind::Gauge,
    }
}

fn value(figure: &Figure, word: u64) -> Value {
    match figure.unit {
        Unit::Nanoseconds => Value::Nanoseconds(word),
        Unit::Milli => Value::Milli(word),
        Unit::Bytes | Unit::Count => Value::Whole(word),
    }
}

/// For a figure whose name says everything: its words.
fn sentence(figure: &Figure) -> String {
    let stem = ["_ns", "_bytes", "_milli"].iter().find_map(|suffix| figure.name.strip_suffix(suffix));
    let words = stem.unwrap_or(figure.name).replace('_', " ");
    let of = match figure.unit {
        Unit::Nanoseconds => "Time of",
        Unit::Bytes => "Bytes of",
        Unit::Milli | Unit::Count => "Number of",
    };
    format!("{of} {words}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::usage::Sources;

    #[test]
    fn figures_are_named_in_base_units() {
        let of = |name: &str| {
            let figure = Usage::FIGURES.iter().find(|it| it.name == name).expect("a figure");
            super::name("c", figure)
        };
        assert_eq!(of("cpu_user_ns"), "c_cpu_user_seconds_total");
        assert_eq!(of("run_queue_p99_ns"), "c_run_queue_p99_seconds");
        assert_eq!(of("memory_peak_bytes"), "c_memory_peak_bytes");
        assert_eq!(of("net_rx_bytes"), "c_net_rx_bytes_total");
        assert_eq!(of("switches_voluntary"), "c_switches_voluntary_total");
        assert_eq!(of("threads"), "c_threads");
    }

    #[test]
    fn what_nobody_tells_has_no_line() {
        let usage = Usage {
            cpu_ns: 1,
            io_read_ops: 2,
            sources: Sources { cpu: Source::Proc, ..Sources::default() },
            ..Usage::default()
        };
        let labels = Labels::of([("id", "x")]);
        let mut page = Page::default();
        write(&mut page, "c", Usage::FIGURES, &[Row::of_container(labels, &usage)]);
        let text = page.into_text();
        assert!(text.contains("c_cpu_seconds_total{id=\"x\"} 0.000000001\n"), "{text}");
        assert!(text.contains("# HELP c_cpu_user_seconds_total Time of cpu user.\n"), "{text}");
        assert!(!text.contains("io_read"), "{text}");
    }
}
