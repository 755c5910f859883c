//! Two panes beside each other: a distribution of durations as bars, and who takes a container's CPU.

use model::latency::Latency;
use ratatui::layout::Rect;

use super::{ALARM, Cell, FAINT, HEAD, LINE, PLAIN, Pen, WARNING};
use crate::top::insight::{Insight, Preempter};
use crate::top::units::{count, duration, percent};

/// Bars of how many durations lie between which bounds, longest below.
pub(super) fn distribution(pen: &mut Pen<'_>, area: Rect, shown: &Insight, which: usize, span: &str) {
    let all = &shown.distributions;
    pen.band(area, 0, HEAD);
    if all.is_empty() {
        pen.put(area, 1, 0, "waits for a CPU", HEAD);
        pen.put(area, 1, 2, "nobody measures them here", FAINT);
        return;
    }
    let at = which % all.len();
    let Latency { sum_ns, .. } = all[at].latency;
    let latency = &all[at].latency;
    pen.put(area, 1, 0, &format!("{} {span} ({}/{})", all[at].name, at + 1, all.len()), HEAD);
    let total = latency.count();
    if total == 0 {
        pen.put(area, 1, 2, "none", FAINT);
        return;
    }
    let quantile =
        |per_mille| latency.quantile_ns(per_mille).map_or("-".to_owned(), |ns| duration(ns as f64));
    let text = format!(
        "{}  p50 {}  p99 {}  p99.9 {}  mean {}",
        count(total as f64),
        quantile(500),
        quantile(990),
        quantile(999),
        duration(sum_ns as f64 / total as f64),
    );
    pen.put(area, 1, 1, &text, PLAIN);
    let bars = bars(latency, usize::from(area.height.saturating_sub(2)));
    let most = bars.iter().map(|it| it.count).max().unwrap_or_default();
    for (y, bar) in (2..).zip(&bars) {
        let label = match bar.below_ns {
            Some(bound) => format!("< {}", duration(bound as f64)),
            None => "longer".to_owned(),
        };
        pen.cell(area, Cell::right(1, y, 8), &label, PLAIN);
        pen.cell(
            area,
            Cell::right(10, y, 5),
            &count(bar.count as f64),
            if bar.count == 0 { FAINT } else { PLAIN },
        );
        let text = pen.glyphs.bar(bar.count as f64 / most as f64, area.width.saturating_sub(17));
        pen.put(area, 16, y, &text, LINE);
    }
}

/// How many durations were shorter than a bound, and not shorter than the bar's before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bar {
    /// `None`: the longest that there are, without a bound.
    below_ns: Option<u64>,
    count: u64,
}

/// From the first magnitude that occurs to the last, in at most `height` bars: where that is too few, of several
/// magnitudes each.
fn bars(latency: &Latency, height: usize) -> Vec<Bar> {
    let occurs = |at: &usize| latency.buckets[*at] > 0;
    let (Some(first), Some(last)) =
        ((0..Latency::BUCKETS).find(occurs), (0..Latency::BUCKETS).rev().find(occurs))
    else {
        return Vec::new();
    };
    if height == 0 {
        return Vec::new();
    }
    let each = (last + 1 - first).div_ceil(height);
    let begins = (first..=last).step_by(each);
    let bar = |begin: usize| {
        let end = (begin + each).min(Latency::BUCKETS);
        let count = latency.buckets[begin..end].iter().fold(0, |sum: u64, it| sum.saturating_add(*it));
        Bar { below_ns: Latency::bound_ns(end - 1), count }
    };
    begins.map(bar).collect()
}

/// Who took its CPU, by how long it then waited.
pub(super) fn preempters(pen: &mut Pen<'_>, area: Rect, shown: &Insight, span: &str) {
    pen.band(area, 0, HEAD);
    pen.put(area, 1, 0, &format!("who takes its CPU, {span}"), HEAD);
    let others = |it: &&Preempter| it.kind != "itself";
    let all: u64 = shown.preempters.iter().filter(others).fold(0, |sum, it| sum.saturating_add(it.waited_ns));
    if shown.preempters.is_empty() {
        let is_known = shown.counters.knows(model::usage::Group::RunQueue);
        let text = if is_known { "nobody did" } else { "nobody measures it here" };
        pen.put(area, 1, 2, text, FAINT);
        return;
    }
    pen.put(area, 1, 1, "SHARE WAITED COUNT  WHO", FAINT);
    for (y, it) in (2..).zip(&shown.preempters) {
        // Its own threads are no neighbours: they are told, but have no share of what others took.
        let is_other = others(&it);
        let share = if is_other && all > 0 { it.waited_ns as f64 / all as f64 } else { 0.0 };
        let text = if is_other { percent(share) } else { "-".to_owned() };
        pen.cell(area, Cell::right(1, y, 5), &text, PLAIN);
        pen.cell(area, Cell::right(7, y, 6), &duration(it.waited_ns as f64), PLAIN);
        pen.cell(area, Cell::right(14, y, 5), &count(it.count as f64), PLAIN);
        let style = match &*it.kind {
            "container" if share >= 0.5 => ALARM,
            "container" => WARNING,
            "itself" => FAINT,
            _ => PLAIN,
        };
        pen.cell(area, Cell::left(21, y, area.width.saturating_sub(21)), &it.name, style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_span_what_occurs_and_hold_every_duration() {
        let mut latency = Latency::default();
        assert_eq!(bars(&latency, 5), []);
        for ns in [500, 3_000, 3_500, 70_000] {
            latency.record(ns);
        }
        let all = bars(&latency, 20);
        assert_eq!(
            (all[0], all[2]),
            (Bar { below_ns: Some(1_024), count: 1 }, Bar { below_ns: Some(4_096), count: 2 })
        );
        assert_eq!(all.len(), 8, "up to the bucket of 70 us");
        for height in 1..8 {
            let few = bars(&latency, height);
            assert!(few.len() <= height, "{few:?}");
            assert_eq!(few.iter().map(|it| it.count).sum::<u64>(), 4);
        }
        latency.record(u64::MAX / 2);
        assert_eq!(bars(&latency, 30).last().expect("some").below_ns, None);
    }
}
