//! Pages of metrics in Prometheus' text format, version 0.0.4 (`/metrics` of both daemons): names, labels, escapes. What is
//! on a page is its daemon's affair.
//!
//! Values are in base units: nanoseconds become seconds and thousandths whole numbers, digit by digit, so that no counter
//! loses a count to rounding.

pub mod figures;
pub mod process;

use model::latency::Latency;
use std::fmt::Write as _;

/// Of the answer that carries a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a scraper may do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only upwards, until whoever counts begins anew. Names end in `_total`.
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Value {
    Whole(u64),
    /// Written as seconds.
    Nanoseconds(u64),
    /// Written as ones.
    Milli(u64),
    Float(f64),
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Whole(is.into())
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Whole(count as u64)
    }
}

/// Labels of one line, written down once and used for many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(String);

impl Labels {
    pub const NONE: Self = Self(String::new());

    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut labels = Self::NONE;
        pairs.into_iter().for_each(|(name, value)| labels.push(name, value));
        labels
    }

    /// The same and one more.
    pub fn and(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        more.push(name, value);
        more
    }

    fn push(&mut self, name: &str, value: &str) {
        let Self(text) = self;
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for letter in value.chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                _ => text.push(letter),
            }
        }
        text.push('"');
    }
}

/// A page, family by family.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    /// Only to find a family that comes twice, which no scraper takes.
    #[cfg(debug_assertions)]
    families: std::collections::BTreeSet<String>,
}

impl Page {
    /// A page that will be about as long.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ..Self::default() }
    }

    /// Begins a family; it has its head when it has its first line, and none without. `help` is one sentence.
    pub fn family<'p>(&'p mut self, name: &'p str, kind: Kind, help: &'p str) -> Family<'p> {
        Family { page: self, name, kind, help, is_begun: false }
    }

    /// A family of one line.
    pub fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl Into<Value>) {
        self.family(name, kind, help).line(&Labels::NONE, value);
    }

    pub fn into_text(self) -> String {
        self.text
    }
}

pub struct Family<'p> {
    page: &'p mut Page,
    name: &'p str,
    kind: Kind,
    help: &'p str,
    is_begun: bool,
}

impl Family<'_> {
    pub fn line(&mut self, labels: &Labels, value: impl Into<Value>) {
        self.begin();
        self.write("", labels, None, value.into());
    }

    /// A distribution: each bucket with all below it, as scrapers want them. The bounds are exclusive there and inclusive
    /// here; no clock that fills them tells the nanosecond between.
    pub fn histogram(&mut self, labels: &Labels, latency: &Latency) {
        self.begin();
        let mut below = 0_u64;
        for (at, count) in latency.buckets.iter().enumerate() {
            below = below.saturating_add(*count);
            self.write("_bucket", labels, Some(Latency::bound_ns(at)), Value::Whole(below));
        }
        self.write("_sum", labels, None, Value::Nanoseconds(latency.sum_ns));
        self.write("_count", labels, None, Value::Whole(below));
    }

    fn begin(&mut self) {
        if std::mem::replace(&mut self.is_begun, true) {
            return;
        }
        #[cfg(debug_assertions)]
        assert!(self.page.families.insert(self.name.to_owned()), "{} comes twice", self.name);
        let (name, kind) = (self.name, self.kind.as_str());
        let help = self.help.trim().replace('\\', "\\\\").replace('\n', " ");
        _ = writeln!(self.page.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// `bound_ns`: of a bucket; the last one's is infinite.
    fn write(&mut self, suffix: &str, Labels(labels): &Labels, bound_ns: Option<Option<u64>>, value: Value) {
        let text = &mut self.page.text;
        text.push_str(self.name);
        text.push_str(suffix);
        if !labels.is_empty() || bound_ns.is_some() {
            text.push('{');
            text.push_str(labels);
            if let Some(bound_ns) = bound_ns {
                text.push_str(if labels.is_empty() { "le=\"" } else { ",le=\"" });
                match bound_ns {
                    Some(ns) => parts(text, ns, 1_000_000_000),
                    None => text.push_str("+Inf"),
                }
                text.push('"');
            }
            text.push('}');
        }
        text.push(' ');
        match value {
            Value::Whole(count) => _ = write!(text, "{count}"),
            Value::Nanoseconds(ns) => parts(text, ns, 1_000_000_000),
            Value::Milli(milli) => parts(text, milli, 1_000),
            Value::Float(value) => _ = write!(text, "{value}"),
        }
        text.push('\n');
    }
}

/// `count` of which `one` make one, as a decimal number without trailing zeros. `one` is a power of ten.
fn parts(text: &mut String, count: u64, one: u64) {
    _ = write!(text, "{}", count / one);
    let (mut rest, mut place) = (count % one, one / 10);
    if rest > 0 {
        text.push('.');
    }
    while rest > 0 {
        text.push(char::from(b'0' + u8::try_from(rest / place).expect("a digit")));
        (rest, place) = (rest % place, (place / 10).max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_as_scrapers_read_it() {
        let mut page = Page::default();
        let mut family = page.family("a_seconds_total", Kind::Counter, " Time\\space. ");
        family.line(&Labels::NONE, Value::Nanoseconds(1_000_000_007));
        family.line(&Labels::of([("name", "a \"b\"\n\\"), ("x", "")]), Value::Nanoseconds(0));
        page.family("nothing", Kind::Gauge, "Of this there is none.");
        page.one("load", Kind::Gauge, "Load.", Value::Milli(1_250));
        page.one("ratio", Kind::Gauge, "A ratio.", Value::Float(0.1));
        page.one("is", Kind::Gauge, "Whether.", true);
        let expect = "# HELP a_seconds_total Time\\\\space.\n# TYPE a_seconds_total counter\n\
                      a_seconds_total 1.000000007\na_seconds_total{name=\"a \\\"b\\\"\\n\\\\\",x=\"\"} 0\n\
                      # HELP load Load.\n# TYPE load gauge\nload 1.25\n\
                      # HELP ratio A ratio.\n# TYPE ratio gauge\nratio 0.1\n\
                      # HELP is Whether.\n# TYPE is gauge\nis 1\n";
        assert_eq!(page.into_text(), expect);
    }

    #[test]
    fn a_histogram_adds_up_as_it_goes() {
        let mut latency = Latency::default();
        [500, 1_500, 1_600, u64::MAX / 2].iter().for_each(|ns| latency.record(*ns));
        latency.sum_ns = 2_500_000_000;
        let mut page = Page::default();
        page.family("wait_seconds", Kind::Histogram, "Waits.").histogram(&Labels::of([("c", "1")]), &latency);
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "wait_seconds_bucket{c=\"1\",le=\"0.000001024\"} 1");
        assert_eq!(lines[3], "wait_seconds_bucket{c=\"1\",le=\"0.000002048\"} 3");
        assert_eq!(lines[2 + Latency::BUCKETS - 2], "wait_seconds_bucket{c=\"1\",le=\"17.179869184\"} 3");
        let end = &lines[2 + Latency::BUCKETS - 1..];
        let expect = [
            "wait_seconds_bucket{c=\"1\",le=\"+Inf\"} 4",
            "wait_seconds_sum{c=\"1\"} 2.5",
            "wait_seconds_count{c=\"1\"} 4",
        ];
        assert_eq!(end, expect);
    }

    #[test]
    #[should_panic(expected = "comes twice")]
    fn no_family_comes_twice() {
        let mut page = Page::default();
        page.one("a", Kind::Gauge, "A.", 1_usize);
        page.one("a", Kind::Gauge, "A.", 1_usize);
    }
}
