//! What stands around a list: which cluster and how current, its totals, the lists to choose from, and what keys do.

use std::time::Duration;

use ratatui::layout::Rect;

use super::{ALARM, FAINT, HEAD, LINE, PLAIN, Pen, STRONG, WARNING};
use crate::top::board::View;
use crate::top::columns;
use crate::top::history::{History, spark};
use crate::top::input::Freshness;
use crate::top::numbers::Figure;
use crate::top::state::State;
use crate::top::units;

pub(super) fn title(pen: &mut Pen<'_>, area: Rect, state: &State, now: Duration) {
    let x = pen.put(area, 0, 0, "ingot top  ", STRONG);
    let board = &state.board;
    let name = if board.cluster.is_empty() { String::new() } else { format!("{} at ", board.cluster) };
    let x = 2 + pen.put(area, x, 0, &format!("{name}{}", state.master), PLAIN);
    let age = |since: Duration| units::ago(now.saturating_sub(since));
    // What is wrong comes before what is usual: it has to be seen on a narrow screen too.
    let x = match (&state.freshness, state.stale_since(now)) {
        (Freshness::Waiting(None), _) => pen.put(area, x, 0, "asking ...", FAINT),
        (Freshness::Waiting(Some(why)), _) => pen.put(area, x, 0, why, ALARM),
        (Freshness::Stale { why, .. }, Some(since)) => {
            pen.put(area, x, 0, &format!("STALE for {}: {why}", age(since)), ALARM)
        }
        (_, Some(since)) => pen.put(area, x, 0, &format!("STALE for {}: no answer yet", age(since)), WARNING),
        _ if state.is_paused => pen.put(area, x, 0, "PAUSED", WARNING),
        _ => pen.put(area, x, 0, &format!("every {} s", state.interval.as_secs_f64()), FAINT),
    };
    if board.at.is_some() {
        let counts = format!(
            "{}{} tasks  {}/{} nodes  {} frameworks",
            if board.is_cut { "the newest " } else { "" },
            board.totals.tasks_alive,
            board.totals.nodes_active,
            board.nodes.len(),
            board.frameworks.iter().filter(|it| it.is_alive).count(),
        );
        pen.put(area, x + 2, 0, &counts, PLAIN);
    }
}

/// Three lines: each what is used as a sparkline, and in numbers.
pub(super) fn totals(pen: &mut Pen<'_>, area: Rect, state: &State) {
    let totals = &state.board.totals;
    let shown = |figure| columns::shown(figure, totals.numbers.get(figure));
    let full = |figure| totals.numbers.get(figure).unwrap_or_default();
    let texts = [
        format!(
            "{} cores in use, {} asked, {} there",
            shown(Figure::Cpu),
            shown(Figure::CpuAsked),
            shown(Figure::CpuTotal)
        ),
        format!(
            "{} in use, {} asked, {} there",
            shown(Figure::Memory),
            shown(Figure::MemoryAsked),
            shown(Figure::MemoryTotal)
        ),
        format!("{}/s in, {}/s out", shown(Figure::NetRx), shown(Figure::NetTx)),
    ];
    // The numbers have their room first; the lines get what is left.
    let with_io = area.width >= 110;
    let width = area
        .width
        .saturating_sub(if with_io { 68 } else { 48 })
        .min(super::super::board::TOTAL_HISTORY as u16);
    let heights = [(&totals.cpu, full(Figure::CpuTotal)), (&totals.memory, full(Figure::MemoryTotal))];
    for (y, ((values, full), label)) in (0..).zip(heights.into_iter().zip(["CPU", "MEM"])) {
        pen.put(area, 0, y, label, STRONG);
        line(pen, area, (4, y, width), values, Some(full));
        pen.put(area, width + 6, y, &texts[usize::from(y)], PLAIN);
    }
    let half = width.saturating_sub(4) / 2;
    pen.put(area, 0, 2, "NET", STRONG);
    line(pen, area, (4, 2, half), &totals.net, None);
    pen.put(area, half + 5, 2, "IO", STRONG);
    line(pen, area, (half + 8, 2, width.saturating_sub(half + 4)), &totals.io, None);
    let io = format!("IO {}/s read, {}/s written", shown(Figure::IoRead), shown(Figure::IoWrite));
    let text = if with_io { format!("{}; {io}", texts[2]) } else { texts[2].clone() };
    pen.put(area, width + 6, 2, &text, PLAIN);
}

/// A sparkline at `(x, y)`, `width` long; without a scale, up to the most of what is shown.
pub(super) fn line<const N: usize>(
    pen: &mut Pen<'_>,
    area: Rect,
    (x, y, width): (u16, u16, u16),
    values: &History<N>,
    full: Option<f32>,
) {
    let latest = || values.latest(usize::from(width));
    let full = full.filter(|it| *it > 0.0).unwrap_or_else(|| latest().flatten().fold(0.0, f32::max));
    let text = spark(latest(), full, pen.glyphs.spark);
    let blank = width.saturating_sub(text.chars().count() as u16);
    pen.put(area, x + blank, y, &text, LINE);
}

pub(super) fn tabs(pen: &mut Pen<'_>, area: Rect, state: &State) {
    let mut x = 0;
    for (number, view) in (1..).zip(View::ALL) {
        let style = if view == state.view { HEAD } else { PLAIN };
        x = pen.put(area, x, 0, &format!(" {number} {} ", view.name()), style);
    }
    let list = state.list();
    let column = &columns::of(state.view)[list.sorted];
    // Texts go from A to Z, numbers from the most to the least, unless they are turned around.
    let is_number = matches!(column.content, columns::Content::Number(_));
    let is_descending = is_number != list.is_reversed;
    let arrow = if is_descending { pen.glyphs.descending } else { pen.glyphs.ascending };
    let place = if list.order.is_empty() { 0 } else { list.selected + 1 };
    let ended = if state.with_ended { ", ended too" } else { "" };
    x = pen.put(
        area,
        x + 1,
        0,
        &format!("{place}/{}{ended}  by {} {arrow}", list.order.len(), column.title),
        FAINT,
    );
    if state.is_typing {
        pen.put(area, x + 2, 0, &format!("/{}_", state.filter), STRONG);
    } else if !state.filter.is_empty() {
        pen.put(area, x + 2, 0, &format!("/{}", state.filter), WARNING);
    }
}

pub(super) fn hints(pen: &mut Pen<'_>, area: Rect, state: &State) {
    let text = match (state.help, &state.detail, state.is_typing) {
        (Some(_), ..) => "up/down more  any other key back",
        (_, Some(_), _) => "esc back  up/down task  t recent/all  d distribution  ? help  q quit",
        (_, _, true) => "type to filter  enter keep  esc clear",
        _ if state.view == View::Tasks => {
            "tab list  enter open  / filter  < > order  a ended  space pause  ? help  q quit"
        }
        _ => "tab list  enter tasks  / filter  < > order  a all  space pause  ? help  q quit",
    };
    pen.put(area, 0, 0, text, FAINT);
}
