//! The columns of each list: what they are called, what key sorts by them, and which remain when there is little room.

use super::board::View;
use super::numbers::Figure;
use super::units::{self, BYTES_WIDTH, CORES_WIDTH, COUNT_WIDTH, DURATION_WIDTH, PERCENT_WIDTH};

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A task's id, a node's host, a framework's name.
    Name,
    State,
    /// Of a task.
    Host,
    Framework,
    Number(Figure),
    /// On-CPU time of the last minute, as a sparkline.
    Trend,
    /// Who told each group of figures, a letter a group.
    Sources,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Sorts by it; `None`: it cannot be sorted by.
    pub(super) key: Option<char>,
    pub(super) content: Content,
    /// Texts: at least.
    pub(super) width: u16,
    /// Texts: at most. Numbers stay as they are.
    pub(super) width_max: u16,
    /// The lower, the longer it stays when room gets scarce.
    rank: u8,
    pub(super) help: &'static str,
}

impl Column {
    /// Its key as a text.
    pub(super) fn letter(&self) -> &'static str {
        const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let at = self.key.and_then(|key| LETTERS.find(key));
        at.map_or("", |at| &LETTERS[at..=at])
    }
}

const fn number(title: &'static str, key: char, figure: Figure, rank: u8, help: &'static str) -> Column {
    let width = match figure {
        Figure::Cpu | Figure::CpuAsked | Figure::CpuTotal | Figure::Busy => CORES_WIDTH,
        Figure::Memory | Figure::MemoryAsked | Figure::MemoryTotal | Figure::MemoryFree => BYTES_WIDTH,
        Figure::NetRx | Figure::NetTx | Figure::IoRead | Figure::IoWrite => BYTES_WIDTH,
        Figure::Wait99 => DURATION_WIDTH,
        Figure::Throttled | Figure::Preempted => PERCENT_WIDTH,
        Figure::Tasks | Figure::Switches | Figure::Faults | Figure::Processes => COUNT_WIDTH,
    };
    Column { title, key: Some(key), content: Content::Number(figure), width, width_max: width, rank, help }
}

const fn text(
    title: &'static str,
    key: char,
    content: Content,
    widths: (u16, u16),
    rank: u8,
    help: &'static str,
) -> Column {
    Column { title, key: Some(key), content, width: widths.0, width_max: widths.1, rank, help }
}

const CPU: Column = number("CPU", 'C', Figure::Cpu, 1, "cores in use: on-CPU time, user and system");
const CPU_ASKED: Column = number("ASKED", 'A', Figure::CpuAsked, 2, "cores asked for");
const CPU_TOTAL: Column = number("CORES", 'U', Figure::CpuTotal, 3, "cores that the node offers");
const BUSY: Column =
    number("BUSY", 'Y', Figure::Busy, 2, "cores that the whole node keeps busy, tasks or not");
const FREE: Column =
    number("FREE", 'Q', Figure::MemoryFree, 2, "memory that the whole node could still give out");
const MEM: Column = number("MEM", 'M', Figure::Memory, 1, "memory in use");
const MEM_ASKED: Column = number("ASKED", 'B', Figure::MemoryAsked, 2, "memory asked for");
const MEM_TOTAL: Column = number("TOTAL", 'V', Figure::MemoryTotal, 3, "memory that the node offers");
const RX: Column = number("RX/s", 'R', Figure::NetRx, 4, "network, bytes a second in");
const TX: Column = number("TX/s", 'T', Figure::NetTx, 4, "network, bytes a second out");
const READ: Column = number("RD/s", 'I', Figure::IoRead, 8, "devices, bytes a second read");
const WRITE: Column = number("WR/s", 'O', Figure::IoWrite, 8, "devices, bytes a second written");
const WAIT: Column = number("WAIT", 'W', Figure::Wait99, 3, "99 of 100 waits for a CPU were no longer");
const THROTTLED: Column =
    number("THR%", 'L', Figure::Throttled, 4, "of its own CPU limit's periods, those that met the limit");
const PREEMPTED: Column =
    number("PRE%", 'P', Figure::Preempted, 3, "of the time it would have run, what others took from it");
const SWITCHES: Column = number("CSW/s", 'X', Figure::Switches, 9, "context switches a second");
const FAULTS: Column = number("MJF/s", 'J', Figure::Faults, 13, "major page faults a second");
const PROCESSES: Column = number("PROCS", 'K', Figure::Processes, 10, "processes");
const COUNT_OF_TASKS: Column = number("TASKS", 'K', Figure::Tasks, 1, "tasks that are not at their end");
const STATE: Column = text("STATE", 'S', Content::State, (8, 8), 7, "running, staging, ...; or how it ended");
const TREND: Column = Column {
    title: "LAST MINUTE",
    key: None,
    content: Content::Trend,
    width: 12,
    width_max: 30,
    rank: 12,
    help: "CPU in use, up to the most of what is shown",
};
const SOURCES: Column = Column {
    title: "CQMFPNTIL",
    key: None,
    content: Content::Sources,
    width: 9,
    width_max: 9,
    rank: 11,
    help: "who tells cpu, run queue, memory, faults, pressure, network, tcp, io, life: b BPF, c cgroup, p /proc, - nobody",
};

const TASKS: &[Column] = &[
    text("TASK", 'N', Content::Name, (16, 44), 0, "the task's id"),
    STATE,
    text("NODE", 'H', Content::Host, (10, 20), 6, "where it runs"),
    text("FRAMEWORK", 'F', Content::Framework, (9, 24), 14, "whose it is"),
    CPU,
    CPU_ASKED,
    TREND,
    MEM,
    MEM_ASKED,
    RX,
    TX,
    READ,
    WRITE,
    WAIT,
    PREEMPTED,
    THROTTLED,
    SWITCHES,
    FAULTS,
    PROCESSES,
    SOURCES,
];

const NODES: &[Column] = &[
    text("NODE", 'N', Content::Name, (12, 40), 0, "the node's host name"),
    STATE,
    COUNT_OF_TASKS,
    CPU,
    CPU_ASKED,
    CPU_TOTAL,
    BUSY,
    TREND,
    MEM,
    MEM_ASKED,
    MEM_TOTAL,
    FREE,
    RX,
    TX,
    READ,
    WRITE,
    WAIT,
    PREEMPTED,
    THROTTLED,
    SWITCHES,
    FAULTS,
];

const FRAMEWORKS: &[Column] = &[
    text("FRAMEWORK", 'N', Content::Name, (12, 40), 0, "the framework's name"),
    STATE,
    COUNT_OF_TASKS,
    CPU,
    CPU_ASKED,
    TREND,
    MEM,
    MEM_ASKED,
    RX,
    TX,
    READ,
    WRITE,
    WAIT,
    PREEMPTED,
    THROTTLED,
    SWITCHES,
    FAULTS,
];

/// Blanks between two columns.
pub(super) const GAP: u16 = 1;

pub(super) const fn of(view: View) -> &'static [Column] {
    match view {
        View::Nodes => NODES,
        View::Frameworks => FRAMEWORKS,
        View::Tasks => TASKS,
    }
}

/// The columns that `width` characters have room for, each with its width; the one that is sorted by is among them. A
/// column of texts does not become wider than its `longest`.
pub(super) fn fit(
    all: &'static [Column],
    width: u16,
    sorted: usize,
    longest: impl Fn(Content) -> u16,
) -> Vec<(usize, u16)> {
    let mut by_rank: Vec<usize> = (0..all.len()).collect();
    by_rank.sort_by_key(|at| (all[*at].rank != 0, *at != sorted, all[*at].rank));
    let mut left = width + GAP;
    let mut kept = Vec::new();
    for at in by_rank {
        let needs = all[at].width + GAP;
        // What comes later is less important, but may be narrower: it does not jump the queue, or columns would come and
        // go in no order while a window is made wider.
        if needs > left {
            break;
        }
        left -= needs;
        kept.push(at);
    }
    if kept.is_empty() {
        return vec![(0, width)]; // The names, as far as they go.
    }
    kept.sort_unstable();
    let mut fitted: Vec<(usize, u16)> = kept.iter().map(|at| (*at, all[*at].width)).collect();
    // What is left goes to the texts, the first first.
    for (at, width) in &mut fitted {
        let column = &all[*at];
        let wanted = match column.content {
            Content::Name | Content::Host | Content::Framework => {
                column.width_max.min(longest(column.content))
            }
            Content::State | Content::Number(_) | Content::Trend | Content::Sources => column.width_max,
        };
        let more = left.min(wanted.saturating_sub(*width));
        *width += more;
        left -= more;
    }
    fitted
}

/// A number as its column shows it.
pub(super) fn shown(figure: Figure, value: Option<f32>) -> String {
    let Some(value) = value.map(f64::from) else { return "-".to_owned() };
    match figure {
        Figure::Cpu | Figure::CpuAsked | Figure::CpuTotal | Figure::Busy => units::cores(value),
        Figure::Memory | Figure::MemoryAsked | Figure::MemoryTotal | Figure::MemoryFree => {
            units::bytes(value)
        }
        Figure::NetRx | Figure::NetTx | Figure::IoRead | Figure::IoWrite => units::bytes(value),
        Figure::Wait99 => units::duration(value),
        Figure::Throttled | Figure::Preempted => units::percent(value),
        Figure::Tasks | Figure::Switches | Figure::Faults | Figure::Processes => units::count(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_sorts_by_one_column_and_titles_fit() {
        for view in View::ALL {
            let all = of(view);
            let mut keys: Vec<char> = all.iter().filter_map(|it| it.key).collect();
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), count, "{view:?}");
            assert!(keys.iter().all(char::is_ascii_uppercase), "small letters are commands");
            for column in all {
                assert!(column.title.len() <= usize::from(column.width), "{column:?}");
                assert!(column.width <= column.width_max && !column.help.is_empty(), "{column:?}");
            }
            assert_eq!(all[0].rank, 0, "the name always stays");
        }
    }

    #[test]
    fn what_fits_is_within_the_width_and_holds_the_sorted_column() {
        for view in View::ALL {
            let all = of(view);
            for width in 0..=300 {
                for sorted in 0..all.len() {
                    let fitted = fit(all, width, sorted, |_| 30);
                    let total: u16 = fitted.iter().map(|(_, width)| width + GAP).sum();
                    assert!(total <= width + GAP, "{view:?} {width}: {fitted:?}");
                    let sorted_fits = all[0].width + all[sorted].width + GAP <= width;
                    assert!(
                        !sorted_fits || fitted.iter().any(|(at, _)| *at == sorted),
                        "{view:?} {width} {sorted}"
                    );
                }
            }
            assert_eq!(fit(all, 300, 0, |_| 30).len(), all.len());
        }
    }
}
