//! What the keys do and what the columns mean.

use ratatui::layout::Rect;

use super::{FAINT, PLAIN, Pen, STRONG};
use crate::top::board::View;
use crate::top::columns;

const KEYS: &[(&str, &str)] = &[
    ("tab 1 2 3", "nodes, frameworks, tasks"),
    ("up down k j", "the row; page up and down, home and end (g G) go farther"),
    ("enter", "of a task: all of its figures; of a node or framework: its tasks"),
    ("< >", "order by the column beside; a column's letter (below) orders by it, once more reverses"),
    ("r a /", "reverse; show what has ended too; filter by id, name, state, node, framework"),
    ("space", "pause; ctrl-z stops, ctrl-l redraws, q quits"),
];

pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, view: View) {
    let mut y = 0;
    for (keys, what) in KEYS {
        pen.put(area, 1, y, keys, STRONG);
        pen.put(area, 14, y, what, PLAIN);
        y += 1;
    }
    y += 1;
    // In as many columns as it takes, side by side where that is wide enough.
    let all = columns::of(view);
    let height = usize::from(area.height.saturating_sub(y)).max(1);
    let across = all.len().div_ceil(height).max(1);
    let width = area.width / across as u16;
    for (at, column) in all.iter().enumerate() {
        let place = Rect {
            x: area.x + (at / height) as u16 * width,
            width: width.saturating_sub(1),
            y: area.y + y,
            height: area.height.saturating_sub(y),
        };
        let line = (at % height) as u16;
        let key = column.key.map_or(' ', |it| it);
        pen.put(place, 1, line, &key.to_string(), STRONG);
        pen.put(place, 3, line, column.title, STRONG);
        pen.put(place, 15, line, column.help, FAINT);
    }
}
