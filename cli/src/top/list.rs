//! One list: which rows it shows, in what order, and which of them is selected.

use super::board::{Board, Key, Row, View};
use super::columns::{self, Content};

#[derive(Debug)]
pub(super) struct List {
    view: View,
    /// The column that it is sorted by.
    pub(super) sorted: usize,
    pub(super) is_reversed: bool,
    /// Places in the board's rows.
    pub(super) order: Vec<u32>,
    /// Place in `order`.
    pub(super) selected: usize,
    /// The row that somebody selected, so that it is found again wherever it moves. Until then the first is selected,
    /// whichever that is.
    key: Option<Key>,
    /// The first row on the screen; place in `order`.
    pub(super) top: usize,
    /// Characters of the longest name, host and framework.
    longest: [u16; 3],
}

impl List {
    pub(super) fn new(view: View) -> Self {
        let is_cpu = |it: &columns::Column| it.key == Some('C');
        let sorted = columns::of(view).iter().position(is_cpu).expect("every list has a CPU column");
        Self {
            view,
            sorted,
            is_reversed: false,
            order: Vec::new(),
            selected: 0,
            key: None,
            top: 0,
            longest: [0; 3],
        }
    }

    /// Filters and sorts anew, and finds the selected row again. One that is gone leaves its place to the next.
    pub(super) fn arrange(&mut self, board: &Board, filter: &str, with_ended: bool) {
        let rows = board.rows(self.view);
        let matches = Filter::new(board, filter);
        let kept = (0..rows.len()).filter(|at| (with_ended || rows[*at].is_alive) && matches.row(&rows[*at]));
        self.order = kept.map(|at| at as u32).collect();
        self.measure(board);
        self.sort(board);
        let found = self.key.as_ref().and_then(|key| {
            let at = board.find(self.view, key)? as u32;
            self.order.iter().position(|it| *it == at)
        });
        match found {
            Some(at) => self.selected = at,
            None if self.key.is_some() => self.select(board, self.selected),
            None => self.selected = 0,
        }
    }

    /// Of all rows, not only those on the screen: columns stand still while one scrolls.
    fn measure(&mut self, board: &Board) {
        let rows = board.rows(self.view);
        let shown = self.order.iter().map(|at| &rows[*at as usize]);
        let most =
            |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or_default().min(999) as u16;
        let names: u16 = most(&mut shown.map(|row| text_of(board, self.view, row, Content::Name).len()));
        let of = |rows: &[Row]| most(&mut rows.iter().map(|row| row.name.len()));
        self.longest = [names, of(&board.nodes), of(&board.frameworks)];
    }

    pub(super) fn longest(&self, content: Content) -> u16 {
        let [names, nodes, frameworks] = self.longest;
        match content {
            Content::Host => nodes,
            Content::Framework => frameworks,
            _ => names,
        }
    }

    /// Sorts by keys that stand beside the places: sorting then touches nothing else. Equals stay in the rows' own order.
    fn sort(&mut self, board: &Board) {
        let rows = board.rows(self.view);
        let order = &self.order;
        let by = |key: &dyn Fn(&Row) -> u32| {
            order.iter().map(|at| (key(&rows[*at as usize]), *at)).collect::<Vec<_>>()
        };
        let mut keyed = match columns::of(self.view)[self.sorted].content {
            // Descending; what is not known comes last. Numbers are not negative, and so in the order of their bits.
            Content::Number(figure) => {
                by(&|row| row.numbers.get(figure).map_or(u32::MAX, |it| !(it.max(0.0).to_bits() + 1)))
            }
            Content::Host => {
                let ranks = ranks(&board.nodes);
                by(&|row| row.node.map_or(u32::MAX, |at| ranks[at as usize]))
            }
            Content::Framework => {
                let ranks = ranks(&board.frameworks);
                by(&|row| row.framework.map_or(u32::MAX, |at| ranks[at as usize]))
            }
            Content::Name | Content::State | Content::Trend | Content::Sources => {
                return self.sort_by_text(board);
            }
        };
        keyed.sort_unstable_by(|a, b| {
            if self.is_reversed { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) }.then(a.1.cmp(&b.1))
        });
        self.order = keyed.into_iter().map(|(_, at)| at).collect();
    }

    fn sort_by_text(&mut self, board: &Board) {
        let (rows, content) = (board.rows(self.view), columns::of(self.view)[self.sorted].content);
        let text = |at: &u32| text_of(board, self.view, &rows[*at as usize], content);
        if self.is_reversed {
            self.order.sort_by(|a, b| text(b).cmp(text(a)));
        } else {
            self.order.sort_by(|a, b| text(a).cmp(text(b)));
        }
    }

    /// Selects the row at `at` of the list, or the last if there are fewer.
    pub(super) fn select(&mut self, board: &Board, at: usize) {
        self.selected = at.min(self.order.len().saturating_sub(1));
        self.key = self.selected_key(board);
    }

    /// Moves the window of `height` rows so that the selected one is in it.
    pub(super) fn scroll(&mut self, height: usize) {
        let height = height.max(1);
        self.top = self.top.min(self.order.len().saturating_sub(height));
        if self.selected < self.top {
            self.top = self.selected;
        } else if self.selected >= self.top + height {
            self.top = self.selected + 1 - height;
        }
    }

    pub(super) fn selected_key(&self, board: &Board) -> Option<Key> {
        self.order.get(self.selected).map(|row| board.key(self.view, *row as usize))
    }

    /// Sorts by the column that a key names; the same one again turns the order around.
    pub(super) fn sort_by(&mut self, column: usize) {
        self.is_reversed = self.sorted == column && !self.is_reversed;
        self.sorted = column;
    }

    /// Sorts by the next column, or the one before, that can be sorted by.
    pub(super) fn sort_beside(&mut self, forward: bool) {
        let all = columns::of(self.view);
        let count = all.len();
        let step = if forward { 1 } else { count - 1 };
        let mut at = (self.sorted + step) % count;
        while all[at].key.is_none() {
            at = (at + step) % count;
        }
        (self.sorted, self.is_reversed) = (at, false);
    }
}

/// What a text column says of a row.
pub(super) fn text_of<'a>(board: &'a Board, view: View, row: &'a Row, content: Content) -> &'a str {
    match content {
        Content::Name if view == View::Tasks => &row.id,
        Content::Name => &row.name,
        Content::State => row.state,
        // The host of a task whose node is gone, nobody knows.
        Content::Host => board.node_of(row).map_or("-", |it| &it.name),
        Content::Framework => board.framework_of(row).map_or("-", |it| &it.name),
        Content::Number(_) | Content::Trend | Content::Sources => "",
    }
}

/// The place of each row in the order of the names; the same for the same name.
fn ranks(rows: &[Row]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| rows[*a].name.cmp(&rows[*b].name));
    let mut ranks = vec![0; rows.len()];
    for pair in order.windows(2) {
        ranks[pair[1]] = ranks[pair[0]] + u32::from(rows[pair[0]].name != rows[pair[1]].name);
    }
    ranks
}

/// Rows that hold a text, in any mix of capital and small letters: in their id, name or state, or in their node's or
/// framework's. Those of nodes and frameworks are looked at once, not once a task.
struct Filter {
    text: String,
    nodes: Vec<bool>,
    frameworks: Vec<bool>,
}

impl Filter {
    fn new(board: &Board, text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let all =
            |rows: &[Row]| rows.iter().map(|row| holds(&row.name, &text) || holds(&row.id, &text)).collect();
        Self { nodes: all(&board.nodes), frameworks: all(&board.frameworks), text }
    }

    fn row(&self, row: &Row) -> bool {
        self.text.is_empty()
            || [&*row.id, &*row.name, row.state].into_iter().any(|it| holds(it, &self.text))
            || row.node.is_some_and(|at| self.nodes[at as usize])
            || row.framework.is_some_and(|at| self.frameworks[at as usize])
    }
}

/// `needle` is in small letters.
fn holds(text: &str, needle: &str) -> bool {
    needle.is_empty()
        || text.as_bytes().windows(needle.len()).any(|it| it.eq_ignore_ascii_case(needle.as_bytes()))
}
