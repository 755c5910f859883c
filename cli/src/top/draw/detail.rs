//! One task, looked at closely: whose it is, its figures, how long it waits and who takes its CPU.

use ratatui::layout::Rect;

use super::{ALARM, FAINT, PLAIN, Pen, STRONG, header, panes};
use crate::top::board::View;
use crate::top::columns;
use crate::top::facts::{Fact, facts};
use crate::top::numbers::Figure;
use crate::top::state::{Detail, State};
use crate::top::units;

/// Lines above the facts.
const HEAD_HEIGHT: u16 = 3;
/// A label and its text, and the blanks before the next.
const FACT_WIDTH: u16 = 39;
const LABEL_WIDTH: u16 = 22;
/// Lines that the panes below the facts need to be of any use.
const PANES_HEIGHT: u16 = 7;

pub(super) fn draw(pen: &mut Pen<'_>, area: Rect, state: &State) {
    let Some(detail) = &state.detail else { return };
    head(pen, area, state, detail);
    let rest = Rect {
        y: area.y + HEAD_HEIGHT.min(area.height),
        height: area.height.saturating_sub(HEAD_HEIGHT),
        ..area
    };
    let Some(newest) = &detail.newest else {
        let text = match (&detail.error, &detail.watch) {
            (Some(why), _) => why,
            (None, Some(_)) => "asking its agent ...",
            (None, None) => "it has ended, or its agent is not known: there is nothing more to ask for",
        };
        pen.put(rest, 2, 1, text, if detail.error.is_some() { ALARM } else { FAINT });
        return;
    };
    let all = facts(newest, detail.before.as_deref());
    let across = (rest.width / FACT_WIDTH).max(1);
    let needed = all.len().div_ceil(usize::from(across)) as u16;
    // The panes keep half of the screen, or what they need; facts that there is no room for are left out.
    let height = needed.min(rest.height.saturating_sub(PANES_HEIGHT.max(rest.height / 2)));
    draw_facts(pen, Rect { height, ..rest }, &all, across);
    let below = Rect { y: rest.y + height, height: rest.height - height, ..rest };
    let shown = match &detail.first {
        Some(first) if detail.is_recent => &newest.since(first),
        _ => newest,
    };
    let span = if detail.is_recent { "since opened" } else { "since it began" };
    let half = (below.width / 2).saturating_sub(1);
    panes::distribution(pen, Rect { width: half, ..below }, shown, detail.distribution, span);
    let right = Rect { x: below.x + half + 2, width: below.width.saturating_sub(half + 2), ..below };
    panes::preempters(pen, right, shown, span);
}

fn head(pen: &mut Pen<'_>, area: Rect, state: &State, detail: &Detail) {
    let board = &state.board;
    let row = board.find(View::Tasks, &detail.key).map(|at| &board.tasks[at]);
    let x = pen.put(area, 0, 0, &detail.key.id, STRONG);
    let Some(row) = row else {
        pen.put(area, x + 2, 0, "the master knows it no more", ALARM);
        return;
    };
    let x = pen.put(area, x + 2, 0, row.state, if row.is_alive { PLAIN } else { ALARM });
    if let Some(why) = detail.error.as_ref().filter(|_| detail.newest.is_some()) {
        pen.put(area, x + 2, 0, why, ALARM);
    } else if let Some(silence) = state.silent_for() {
        pen.put(area, x + 2, 0, &format!("its agent is silent for {}", units::ago(silence)), ALARM);
    }
    let name = |row: Option<&crate::top::board::Row>| row.map_or("-".to_owned(), |it| it.name.to_string());
    let mut whose = format!("framework {}, node {}", name(board.framework_of(row)), name(board.node_of(row)));
    if !row.executor.is_empty() {
        whose += &format!(", executor {}: all its tasks share these figures", row.executor);
    }
    pen.put(area, 0, 1, &whose, FAINT);
    let shown = |figure| columns::shown(figure, row.numbers.get(figure));
    pen.put(area, 0, 2, "CPU", STRONG);
    header::line(pen, area, (4, 2, crate::top::board::ROW_HISTORY as u16), &row.cpu, None);
    let text = format!(
        "{} of {} cores, {} of {}",
        shown(Figure::Cpu),
        shown(Figure::CpuAsked),
        shown(Figure::Memory),
        shown(Figure::MemoryAsked)
    );
    pen.put(area, 36, 2, &text, PLAIN);
}

/// Down, then across: facts of one kind stand below each other.
fn draw_facts(pen: &mut Pen<'_>, area: Rect, all: &[Fact], across: u16) {
    let height = usize::from(area.height);
    if height == 0 {
        return;
    }
    for (at, fact) in all.iter().take(height * usize::from(across)).enumerate() {
        let (x, y) = ((at / height) as u16 * FACT_WIDTH, (at % height) as u16);
        pen.put(area, x, y, fact.label, FAINT);
        pen.put(area, x + LABEL_WIDTH, y, &fact.text, PLAIN);
    }
}
