//! What the keys do and what the columns mean.

use ratatui::layout::Rect;

use super::{FAINT, PLAIN, Pen, STRONG};
use crate::top::board::View;
use crate::top::columns;

const KEYS: &[(&str, &str)] = &[
    ("tab 1 2 3", "nodes, frameworks, tasks"),
    ("up down k j", "select a row; page up and down, home and end (g G) go farther"),
    ("enter", "of a task: all of its figures; of a node or framework: its tasks"),
    ("< >", "order by the column beside; by the one of a letter (below)"),
    ("r", "the other way around; so does a column's letter once more"),
    ("/", "only rows whose id, name, state, node or framework holds a text"),
    ("a", "what has ended, or is away, too"),
    ("space", "pause; ctrl-z stops, ctrl-l redraws, q quits"),
];

/// Lines that all of it takes.
pub(in crate::top) fn height(view: View) -> u16 {
    (KEYS.len() + 1 + columns::of(view).len()) as u16
}

/// From its line `top` on.
pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, view: View, top: u16) {
    let keys = KEYS.iter().map(|(keys, what)| (*keys, "", *what)).chain([("", "", "")]);
    let columns = columns::of(view).iter().map(|it| (it.letter(), it.title, it.help));
    let lines = keys.chain(columns).skip(usize::from(top));
    for (y, (key, title, what)) in (0..area.height).zip(lines) {
        pen.put(area, 1, y, key, STRONG);
        pen.put(area, 3, y, title, STRONG);
        pen.put(area, 16, y, what, if title.is_empty() { PLAIN } else { FAINT });
    }
}
