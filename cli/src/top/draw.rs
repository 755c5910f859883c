//! Draws the state: the parts of the screen are files below; here are the pen and the order. Only what is on the screen is
//! formatted, however long a list is.

mod detail;
mod header;
mod help;
mod list;
mod panes;

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::layout::Layout;
use super::state::State;

/// The symbols that lines and bars are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glyphs {
    /// From nothing to all.
    spark: &'static [char],
    /// A whole cell of a bar, and its parts from the smallest.
    bar: char,
    bar_parts: &'static [char],
    /// In place of what there was no room for.
    cut: char,
    descending: char,
    ascending: char,
}

impl Glyphs {
    pub(super) const UNICODE: Self = Self {
        spark: &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
        bar: '█',
        bar_parts: &['▏', '▎', '▍', '▌', '▋', '▊', '▉'],
        cut: '…',
        descending: '▼',
        ascending: '▲',
    };
    pub(super) const ASCII: Self = Self {
        spark: &['_', '.', ':', '-', '=', '+', '*', '#'],
        bar: '#',
        bar_parts: &[],
        cut: '~',
        descending: 'v',
        ascending: '^',
    };

    /// A bar of `share` of `width` cells. What is more than nothing shows.
    fn bar(&self, share: f64, width: u16) -> String {
        let cells = share.clamp(0.0, 1.0) * f64::from(width);
        let parts = self.bar_parts.len() as f64 + 1.0;
        let whole = (cells * parts + 0.5).floor() / parts;
        let mut text: String = std::iter::repeat_n(self.bar, whole as usize).collect();
        let part = ((whole.fract()) * parts).round() as usize;
        match part.checked_sub(1) {
            Some(part) => text.push(self.bar_parts[part]),
            None if text.is_empty() && share > 0.0 && width > 0 => {
                text.push(*self.bar_parts.first().unwrap_or(&self.bar));
            }
            None => {}
        }
        text
    }
}

pub(super) use help::height as help_height;

const PLAIN: Style = Style::new();
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
const HEAD: Style = Style::new().add_modifier(Modifier::REVERSED);
const SELECTED: Style = Style::new().bg(Color::Blue).fg(Color::White).add_modifier(Modifier::BOLD);
const LINE: Style = Style::new().fg(Color::Cyan);
const WARNING: Style = Style::new().fg(Color::Yellow);
const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// Where in an area a text goes, and on which side of its place it stands.
#[derive(Clone, Copy)]
struct Cell {
    x: u16,
    y: u16,
    width: u16,
    is_right: bool,
}

impl Cell {
    const fn left(x: u16, y: u16, width: u16) -> Self {
        Self { x, y, width, is_right: false }
    }

    const fn right(x: u16, y: u16, width: u16) -> Self {
        Self { x, y, width, is_right: true }
    }
}

/// Writes into the buffer, never beyond an area.
struct Pen<'b> {
    buffer: &'b mut Buffer,
    glyphs: Glyphs,
}

impl Pen<'_> {
    /// Writes from `x` of the area's line `y`, and returns where the text ends. What does not fit is cut.
    fn put(&mut self, area: Rect, x: u16, y: u16, text: &str, style: Style) -> u16 {
        if y >= area.height || x >= area.width {
            return x;
        }
        let room = usize::from(area.width - x);
        let (end, _) = self.buffer.set_stringn(area.x + x, area.y + y, text, room, style);
        end - area.x
    }

    /// Writes into a cell of a table; what is too long ends with a sign that it does.
    fn cell(&mut self, area: Rect, place: Cell, text: &str, style: Style) {
        let Cell { x, y, width, is_right } = place;
        let length = text.chars().count();
        let width = usize::from(width.min(area.width.saturating_sub(x)));
        let shown = if length > width {
            let kept = text.chars().take(width.saturating_sub(1));
            kept.chain((width > 0).then_some(self.glyphs.cut)).collect()
        } else if is_right {
            format!("{text:>width$}")
        } else {
            format!("{text:<width$}")
        };
        self.put(area, x, y, &shown, style);
    }

    /// Fills a line with a style.
    fn band(&mut self, area: Rect, y: u16, style: Style) {
        if y < area.height {
            self.buffer.set_style(Rect { y: area.y + y, height: 1, ..area }, style);
        }
    }
}

/// Draws everything. `now` is of the clock that readings are stamped by. Returns how many rows of a list were formatted.
pub(super) fn draw(state: &State, now: Duration, glyphs: Glyphs, buffer: &mut Buffer) -> usize {
    let area = buffer.area;
    let layout = Layout::of(area.width, area.height);
    let mut pen = Pen { buffer, glyphs };
    header::title(&mut pen, layout.title, state, now);
    if let Some(top) = state.help {
        help::draw(&mut pen, layout.body(), state.view, top);
        header::hints(&mut pen, layout.hints, state);
        return 0;
    }
    header::hints(&mut pen, layout.hints, state);
    if state.detail.is_some() {
        detail::draw(&mut pen, layout.body(), state);
        return 0;
    }
    header::totals(&mut pen, layout.totals, state);
    header::tabs(&mut pen, layout.tabs, state);
    list::draw(&mut pen, layout.heads, layout.rows, state)
}

#[cfg(test)]
mod tests {
    use super::Glyphs;

    #[test]
    fn bars_are_as_long_as_their_share() {
        let (fine, coarse) = (Glyphs::UNICODE, Glyphs::ASCII);
        assert_eq!((&*fine.bar(0.0, 4), &*fine.bar(1.0, 4), &*fine.bar(0.5, 4)), ("", "████", "██"));
        assert_eq!((&*fine.bar(0.28125, 4), &*fine.bar(1e-9, 4)), ("█▏", "▏"));
        assert_eq!((&*coarse.bar(0.6, 4), &*coarse.bar(1e-9, 4), &*coarse.bar(2.0, 3)), ("##", "#", "###"));
    }
}
