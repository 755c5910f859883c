//! What the view shows and what a key does to it. A core: it is fed what happened and leaves what is to be done.

use std::time::Duration;

use super::board::{Board, Key as RowKey, View};
use super::columns;
use super::input::{Effect, Freshness, Input, Key, Watch};
use super::insight::Insight;
use super::layout::Layout;
use super::list::List;

/// Of the newest reading: this many intervals without another, and it is shown as stale.
const STALE_INTERVALS: u32 = 3;

#[derive(Debug)]
pub(super) struct State {
    /// The master as it was named to us.
    pub(super) master: String,
    pub(super) interval: Duration,
    pub(super) board: Board,
    pub(super) view: View,
    /// By view.
    lists: [List; 3],
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    pub(super) with_ended: bool,
    /// Readings are not taken in.
    pub(super) is_paused: bool,
    /// The help is shown from this line on.
    pub(super) help: Option<u16>,
    /// The id of a task that is to be looked at closely once it is there.
    pub(super) wanted: Option<String>,
    /// The task that is looked at closely.
    pub(super) detail: Option<Detail>,
    pub(super) freshness: Freshness,
    pub(super) width: u16,
    pub(super) height: u16,
}

/// One task, looked at closely.
#[derive(Debug)]
pub(super) struct Detail {
    pub(super) key: RowKey,
    /// What is asked for; `None` while the task's agent or container is not known.
    pub(super) watch: Option<Watch>,
    /// The first look since it was opened, the newest, and the one before.
    pub(super) first: Option<Box<Insight>>,
    pub(super) before: Option<Box<Insight>>,
    pub(super) newest: Option<Box<Insight>>,
    /// The master's reading before which the newest came.
    pub(super) told_at: Option<Duration>,
    /// Why there is nothing newer.
    pub(super) error: Option<String>,
    /// Shows what came since it was opened; otherwise since the container began.
    pub(super) is_recent: bool,
    /// Which distribution is shown: its number, modulo how many there are.
    pub(super) distribution: usize,
}

impl State {
    pub(super) fn new(master: String, interval: Duration, view: View, filter: String) -> Self {
        Self {
            master,
            interval,
            board: Board::default(),
            view,
            lists: View::ALL.map(List::new),
            filter,
            is_typing: false,
            with_ended: false,
            is_paused: false,
            help: None,
            wanted: None,
            detail: None,
            freshness: Freshness::Waiting(None),
            width: 80,
            height: 24,
        }
    }

    /// Orders the list that is shown by the column with a title; of several with the same, by the first. The error names
    /// those that there are.
    pub(super) fn sort_by_title(&mut self, title: &str) -> Result<(), String> {
        let all = columns::of(self.view);
        let Some(column) = all.iter().position(|it| it.key.is_some() && it.title.eq_ignore_ascii_case(title))
        else {
            let titles: Vec<&str> = all.iter().filter(|it| it.key.is_some()).map(|it| it.title).collect();
            return Err(format!("no column to sort by is called `{title}`; there are {}", titles.join(", ")));
        };
        if self.list().sorted != column {
            self.list_mut().sort_by(column);
        }
        Ok(())
    }

    pub(super) fn list(&self) -> &List {
        &self.lists[self.view as usize]
    }

    fn list_mut(&mut self) -> &mut List {
        &mut self.lists[self.view as usize]
    }

    /// Whether what is shown is older than it should be.
    pub(super) fn stale_since(&self, now: Duration) -> Option<Duration> {
        let at = self.board.at?;
        match &self.freshness {
            Freshness::Stale { since, .. } => Some(*since),
            _ => (now.saturating_sub(at) > self.interval * STALE_INTERVALS && !self.is_paused).then_some(at),
        }
    }

    /// For how long the agent of the looked-at task has said nothing, if that is longer than it should be.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        let detail = self.detail.as_ref().filter(|it| it.watch.is_some())?;
        let silence = self.board.at?.saturating_sub(detail.told_at?);
        (silence > self.interval * STALE_INTERVALS).then_some(silence)
    }

    pub(super) fn handle(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Key(key) => self.key(key, effects),
            Input::Resized { width, height } => {
                (self.width, self.height) = (width, height);
                self.scroll();
            }
            Input::Reading(reading) => {
                self.freshness = Freshness::Fresh;
                if !self.is_paused {
                    self.board.take(*reading);
                    self.arrange();
                    self.open_wanted(effects);
                    self.watch(effects);
                }
            }
            Input::Unreadable(why) => {
                self.freshness = match self.board.at {
                    Some(since) => Freshness::Stale { since, why },
                    None => Freshness::Waiting(Some(why)),
                };
            }
            Input::Insight(watch, said) => {
                if let Some(detail) = &mut self.detail
                    && detail.watch.as_ref() == Some(&watch)
                {
                    if said.is_ok() {
                        detail.told_at = self.board.at;
                    }
                    detail.take(said);
                }
            }
        }
    }

    fn key(&mut self, key: Key, effects: &mut Vec<Effect>) {
        match key {
            Key::Control('c') => effects.push(Effect::Quit),
            Key::Control('z') => effects.push(Effect::Suspend),
            Key::Control('l') => effects.push(Effect::Repaint),
            _ if self.help.is_some() => self.help_key(key),
            _ if self.is_typing => self.type_filter(key),
            Key::Char('q') => effects.push(Effect::Quit),
            Key::Char('?' | 'h') => self.help = Some(0),
            Key::Char(' ') => {
                self.is_paused = !self.is_paused;
                if !self.is_paused {
                    effects.push(Effect::Refresh);
                }
            }
            _ if self.detail.is_some() => self.detail_key(key, effects),
            _ => self.list_key(key, effects),
        }
    }

    /// The help is scrolled, or left by any other key.
    fn help_key(&mut self, key: Key) {
        let page = Layout::of(self.width, self.height).body().height;
        let last = super::draw::help_height(self.view).saturating_sub(page);
        self.help = self.help.and_then(|top| match key {
            Key::Up | Key::Char('k') => Some(top.saturating_sub(1)),
            Key::Down | Key::Char('j') => Some((top + 1).min(last)),
            Key::PageUp | Key::Home => Some(0),
            Key::PageDown | Key::End => Some(last),
            _ => None,
        });
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Char(letter) => self.filter.push(letter),
            Key::Backspace => drop(self.filter.pop()),
            Key::Control('u') => self.filter.clear(),
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            _ => return self.step(key),
        }
        self.arrange();
    }

    fn detail_key(&mut self, key: Key, effects: &mut Vec<Effect>) {
        let Some(detail) = &mut self.detail else { return };
        match key {
            Key::Escape | Key::Enter | Key::Backspace => {
                self.detail = None;
                effects.push(Effect::Watch(None));
            }
            Key::Char('t') => detail.is_recent = !detail.is_recent,
            Key::Char('d') | Key::Right | Key::Tab => {
                detail.distribution = detail.distribution.wrapping_add(1)
            }
            Key::Left | Key::BackTab => detail.distribution = detail.distribution.wrapping_sub(1),
            Key::Up | Key::Down | Key::Char('k' | 'j') => {
                self.step(key);
                self.open(effects);
            }
            _ => {}
        }
    }

    fn list_key(&mut self, key: Key, effects: &mut Vec<Effect>) {
        match key {
            Key::Char('1') => self.show(View::Nodes),
            Key::Char('2') => self.show(View::Frameworks),
            Key::Char('3') => self.show(View::Tasks),
            Key::Tab => self.show(View::ALL[(self.view as usize + 1) % 3]),
            Key::BackTab => self.show(View::ALL[(self.view as usize + 2) % 3]),
            Key::Char('/') => self.is_typing = true,
            Key::Escape => {
                self.filter.clear();
                self.arrange();
            }
            Key::Char('a') => {
                self.with_ended = !self.with_ended;
                self.arrange();
            }
            Key::Char('r') => {
                let list = self.list_mut();
                list.is_reversed = !list.is_reversed;
                self.arrange();
            }
            Key::Char('<') | Key::Left => self.sort_beside(false),
            Key::Char('>') | Key::Right => self.sort_beside(true),
            Key::Enter => self.enter(effects),
            Key::Char(letter) if letter.is_ascii_uppercase() && letter != 'G' => {
                let column = columns::of(self.view).iter().position(|it| it.key == Some(letter));
                if let Some(column) = column {
                    self.list_mut().sort_by(column);
                    self.arrange();
                }
            }
            _ => self.step(key),
        }
    }

    fn sort_beside(&mut self, forward: bool) {
        self.list_mut().sort_beside(forward);
        self.arrange();
    }

    /// Moves the selection.
    fn step(&mut self, key: Key) {
        let page = self.rows_visible().max(2) - 1;
        let (at, last) = (self.list().selected, self.list().order.len().saturating_sub(1));
        let to = match key {
            Key::Up | Key::Char('k') => at.saturating_sub(1),
            Key::Down | Key::Char('j') => at + 1,
            Key::PageUp => at.saturating_sub(page),
            Key::PageDown => at + page,
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            _ => return,
        };
        self.lists[self.view as usize].select(&self.board, to);
        self.scroll();
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.arrange();
    }

    /// A task is looked at closely; of a node or a framework, its tasks.
    fn enter(&mut self, effects: &mut Vec<Effect>) {
        let Some(row) = self.list().order.get(self.list().selected) else { return };
        if self.view == View::Tasks {
            return self.open(effects);
        }
        let row = &self.board.rows(self.view)[*row as usize];
        // Hosts are what people know nodes by; two agents of one host differ by their ids.
        let is_alone = self.board.rows(self.view).iter().filter(|it| it.name == row.name).count() == 1;
        self.filter = if is_alone { row.name.to_string() } else { row.id.to_string() };
        self.show(View::Tasks);
    }

    fn open(&mut self, effects: &mut Vec<Effect>) {
        let Some(key) = self.list().selected_key(&self.board) else { return };
        if self.detail.as_ref().is_some_and(|it| it.key == key) {
            return;
        }
        let (list, board) = (&mut self.lists[View::Tasks as usize], &self.board);
        list.select(board, list.selected); // Leaving it leads back to this row.
        self.open_key(key, effects);
    }

    fn open_key(&mut self, key: RowKey, effects: &mut Vec<Effect>) {
        let old = self.detail.take();
        let (is_recent, distribution) = old.map_or((false, 0), |it| (it.is_recent, it.distribution));
        self.detail = Some(Detail {
            key,
            watch: None,
            first: None,
            before: None,
            newest: None,
            told_at: None,
            error: None,
            is_recent,
            distribution,
        });
        effects.push(Effect::Watch(None));
        self.watch(effects);
    }

    /// Opens the task that is to be looked at from the beginning, as soon as it is there.
    fn open_wanted(&mut self, effects: &mut Vec<Effect>) {
        let Some(wanted) = &self.wanted else { return };
        let named = |at: &usize| *self.board.tasks[*at].id == **wanted;
        let all = || (0..self.board.tasks.len()).filter(named);
        // The same id in two frameworks: one that runs.
        if let Some(at) = all().find(|at| self.board.tasks[*at].is_alive).or_else(|| all().next()) {
            let key = self.board.key(View::Tasks, at);
            self.wanted = None;
            self.open_key(key, effects);
        }
    }

    /// Asks for the looked-at task's container, when it is known or has become another.
    fn watch(&mut self, effects: &mut Vec<Effect>) {
        let Some(detail) = &self.detail else { return };
        let wanted = self.board.find(View::Tasks, &detail.key).and_then(|at| {
            let row = &self.board.tasks[at];
            let agent = self.board.node_of(row).map(|it| &it.address).filter(|it| !it.is_empty())?;
            row.is_alive.then(|| Watch {
                agent: agent.clone(),
                container: row.container.clone(),
                framework: detail.key.framework.clone(),
                // A command's executor bears the task's name.
                executor: if row.executor.is_empty() { row.id.clone() } else { row.executor.clone() },
            })
        });
        if detail.watch != wanted {
            effects.push(Effect::Watch(wanted.clone()));
            let detail = self.detail.as_mut().expect("there, see above");
            // A task that has ended leaves what was last seen of it; another container begins anew.
            if wanted.is_some() {
                (detail.first, detail.before, detail.newest) = (None, None, None);
            }
            detail.error = None;
            detail.watch = wanted;
        }
    }

    /// Filters and sorts the list that is shown, and keeps the selected row on the screen.
    fn arrange(&mut self) {
        self.lists[self.view as usize].arrange(&self.board, &self.filter, self.with_ended);
        self.scroll();
    }

    fn scroll(&mut self) {
        let height = self.rows_visible();
        self.list_mut().scroll(height);
    }

    /// Rows of a list that the terminal has room for.
    fn rows_visible(&self) -> usize {
        usize::from(Layout::of(self.width, self.height).rows.height)
    }
}

impl Detail {
    fn take(&mut self, said: Result<Box<Insight>, String>) {
        match said {
            Ok(insight) => {
                self.error = None;
                let is_same_look =
                    self.newest.as_ref().is_some_and(|it| it.at == insight.at && !it.at.is_zero());
                if is_same_look {
                    return;
                }
                if self.first.is_none() {
                    self.first = Some(insight.clone());
                }
                self.before = self.newest.replace(insight);
            }
            Err(why) => self.error = Some(why),
        }
    }
}
