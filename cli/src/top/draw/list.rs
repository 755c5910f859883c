//! A list: heads and rows.

use model::usage::{Source, Sources};
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{ALARM, Cell, FAINT, HEAD, PLAIN, Pen, SELECTED, STRONG, WARNING, header};
use crate::top::board::Row;
use crate::top::columns::{self, Content, GAP};
use crate::top::input::Freshness;
use crate::top::list::text_of;
use crate::top::numbers::Figure;
use crate::top::state::State;

/// Draws what is on the screen of the list, and says how many rows that is.
pub(super) fn draw(pen: &mut Pen<'_>, heads: Rect, rows: Rect, state: &State) -> usize {
    let list = state.list();
    let all = columns::of(state.view);
    let fitted = columns::fit(all, rows.width, list.sorted, |it| list.longest(it));
    pen.band(heads, 0, HEAD);
    let mut x = 0;
    for (at, width) in &fitted {
        let style = if *at == list.sorted { HEAD.patch(STRONG).patch(WARNING) } else { HEAD };
        let is_right = matches!(all[*at].content, Content::Number(_));
        pen.cell(heads, Cell { x, y: 0, width: *width, is_right }, all[*at].title, style);
        x += width + GAP;
    }
    let visible = list.order.iter().enumerate().skip(list.top).take(usize::from(rows.height));
    let mut count = 0;
    for (y, (place, at)) in (0..).zip(visible) {
        let row = &state.board.rows(state.view)[*at as usize];
        draw_row(pen, rows, y, row, &fitted, state);
        if place == list.selected {
            pen.band(rows, y, SELECTED);
        }
        count += 1;
    }
    if list.order.is_empty() {
        let text = match (&state.freshness, state.filter.is_empty()) {
            (Freshness::Waiting(_), _) => "",
            (_, false) => "nothing matches the filter (esc clears it)",
            (_, true) if state.with_ended => "there are none",
            (_, true) => "none is running (a: show those that have ended)",
        };
        pen.put(rows, 2, 1, text, FAINT);
    }
    count
}

fn draw_row(pen: &mut Pen<'_>, area: Rect, y: u16, row: &Row, fitted: &[(usize, u16)], state: &State) {
    let all = columns::of(state.view);
    let mut x = 0;
    for (at, width) in fitted {
        match all[*at].content {
            Content::Number(figure) => {
                let value = row.numbers.get(figure);
                let text = columns::shown(figure, value);
                pen.cell(area, Cell::right(x, y, *width), &text, style_of(row, figure));
            }
            Content::Trend => header::line(pen, area, (x, y, *width), &row.cpu, None),
            Content::Sources => pen.cell(area, Cell::left(x, y, *width), &letters(row.sources), FAINT),
            text => {
                let style = if row.is_alive { PLAIN } else { FAINT };
                pen.cell(area, Cell::left(x, y, *width), text_of(&state.board, state.view, row, text), style);
            }
        }
        x += width + GAP;
    }
}

/// A letter for each group of figures, in the groups' order.
pub(in crate::top) fn letters(sources: Sources) -> String {
    let letter = |source| match source {
        Source::Bpf => 'b',
        Source::Cgroup => 'c',
        Source::Proc => 'p',
        Source::None => '-',
    };
    sources.to_array().into_iter().map(letter).collect()
}

/// What is worth a look stands out.
fn style_of(row: &Row, figure: Figure) -> Style {
    let value = row.numbers.get(figure);
    let (warning, alarm) = match figure {
        Figure::Throttled | Figure::Preempted => (0.05, 0.25),
        Figure::Memory => {
            // A node's against what it has, a task's against what it asked for.
            let bound = row.numbers.get(Figure::MemoryTotal).or_else(|| row.numbers.get(Figure::MemoryAsked));
            match bound.filter(|it| *it > 0.0) {
                Some(bound) => (bound * 0.9, bound),
                None => return PLAIN,
            }
        }
        Figure::Wait99 => (10e6, 100e6),
        Figure::Faults => (10.0, 1_000.0),
        Figure::CpuAsked | Figure::CpuTotal | Figure::MemoryAsked | Figure::MemoryTotal => return FAINT,
        _ => return if value.is_none() { FAINT } else { PLAIN },
    };
    match value {
        None => FAINT,
        Some(value) if value >= alarm => ALARM,
        Some(value) if value >= warning => WARNING,
        Some(_) => PLAIN,
    }
}
