//! Everything that can happen to the view, and everything it can want.

use std::time::Duration;

use super::insight::Insight;
use super::reading::Reading;

#[derive(Debug)]
pub(super) enum Input {
    Key(Key),
    /// The terminal's size, in characters.
    Resized {
        width: u16,
        height: u16,
    },
    Reading(Box<Reading>),
    /// The master could not be read: why.
    Unreadable(String),
    /// What the watched container's agent said, or why it said nothing.
    Insight(Watch, Result<Box<Insight>, String>),
}

/// A key, as far as it can mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    /// With Ctrl.
    Control(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    BackTab,
    Enter,
    Escape,
    Backspace,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    /// Stop this process, as Ctrl-Z does.
    Suspend,
    /// The screen may hold what is not ours: draw all of it.
    Repaint,
    /// Read the master now, whenever it was to be read next.
    Refresh,
    /// Read the agent of this container at each interval, from now on; or of none.
    Watch(Option<Watch>),
}

/// A container, and who can tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watch {
    /// The agent's `HOST:PORT`.
    pub(super) agent: Box<str>,
    /// The container's id; empty: by its framework and executor.
    pub(super) container: Box<str>,
    pub(super) framework: Box<str>,
    pub(super) executor: Box<str>,
}

/// How current what is shown is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Nothing was read yet; why, if it was tried.
    Waiting(Option<String>),
    Fresh,
    /// What is shown was read at this time; since then the master cannot be read.
    Stale {
        since: Duration,
        why: String,
    },
}
