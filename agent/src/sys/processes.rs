//! The process table as `/proc` shows it: who is whose child, in which session, started when, and what it used.
//!
//! This is how a container is known where it has no cgroup: its processes are the leader's session, everything that
//! descends from it, and everything that still carries the container's mark in its environment. A process that left the
//! session, lost its parents *and* wiped its environment is not found: only a cgroup holds that one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One line of `/proc/PID/stat` (proc_pid_stat(5)), the fields that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: i32,
    pub state: u8,
    pub parent: i32,
    pub session: i32,
    /// Clock ticks (100 a second on every Linux) that its threads, ended ones too, spent in user mode.
    pub user_ticks: u64,
    pub system_ticks: u64,
    /// The same of its children and theirs, as far as they were waited for.
    pub children_user_ticks: u64,
    pub children_system_ticks: u64,
    pub threads_count: u32,
    /// Clock ticks after boot. With the pid and the boot, it names a process for good.
    pub start_ticks: u64,
}

impl Stat {
    /// `None` if the text has not the shape of a stat line.
    pub fn parse(text: &str) -> Option<Self> {
        // The name stands in parentheses and may hold anything, parentheses too: only the last one ends it.
        let (pid, rest) = text.split_once(" (")?;
        let mut fields = rest.rsplit_once(") ")?.1.split_ascii_whitespace();
        // Fields are numbered from 1 in the manual; the state is number 3.
        let state = *fields.next()?.as_bytes().first()?;
        let mut field = |skip: usize| fields.nth(skip);
        Some(Self {
            pid: pid.trim().parse().ok()?,
            state,
            parent: field(0)?.parse().ok()?,
            session: field(1)?.parse().ok()?,
            user_ticks: field(7)?.parse().ok()?,
            system_ticks: field(0)?.parse().ok()?,
            children_user_ticks: field(0)?.parse().ok()?,
            children_system_ticks: field(0)?.parse().ok()?,
            threads_count: field(2)?.parse().ok()?,
            start_ticks: field(1)?.parse().ok()?,
        })
    }

    /// Ended, waiting only for its parent to ask how.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// The stat line of one process; `None` when there is none of this number (any more).
pub fn stat(pid: i32) -> Option<Stat> {
    Stat::parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// By what the processes of a container without a cgroup are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its first process, which may have ended; zero when nobody remembers which that was.
    pub leader: i32,
    /// The leader's start, so that another process that got its number later is not taken for it.
    pub leader_start_ticks: u64,
    /// An entry of the environment, `NAME=value`, that no other container has.
    pub environment: String,
}

/// Everything that runs, at one moment or nearly: processes come and go while it is read.
#[derive(Debug, Default)]
pub struct Table {
    stats: BTreeMap<i32, Stat>,
}

impl Table {
    /// Reads all of `/proc`: about 10 µs a process.
    pub fn read() -> Self {
        let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self { stats: numbers.filter_map(stat).map(|s| (s.pid, s)).collect() }
    }

    /// The living processes of a container, by number. Zombies are not among them.
    pub fn members(&self, mark: &Mark) -> Vec<Stat> {
        self.members_where(mark, |pid| environment_has(pid, &mark.environment))
    }

    fn members_where(&self, mark: &Mark, carries_mark: impl Fn(i32) -> bool) -> Vec<Stat> {
        let leader_is = |s: &Stat| s.pid == mark.leader && s.start_ticks == mark.leader_start_ticks;
        // A session keeps its number as long as it has members, so the number cannot have been given to another one while
        // they live; but once it is empty it can: then the new leader is in the table, and is not ours.
        // Session zero is the kernel's own.
        let session_is_ours = mark.leader > 0 && self.stats.get(&mark.leader).is_none_or(leader_is);
        let mut found = BTreeMap::new();
        let mut queue: Vec<i32> = Vec::new();
        for stat in self.stats.values() {
            // A kernel thread has no environment and its ancestor is number 2; asking costs an open each.
            let is_one = leader_is(stat)
                || (session_is_ours
                    && stat.session == mark.leader
                    && stat.start_ticks >= mark.leader_start_ticks)
                || (stat.parent != 2 && !stat.is_zombie() && carries_mark(stat.pid));
            if is_one {
                queue.push(stat.pid);
                found.insert(stat.pid, *stat);
            }
        }
        while let Some(parent) = queue.pop() {
            for child in self.stats.values().filter(|s| s.parent == parent) {
                if found.insert(child.pid, *child).is_none() {
                    queue.push(child.pid);
                }
            }
        }
        found.into_values().filter(|s| !s.is_zombie()).collect()
    }
}

/// Whether a process was started with this `NAME=value` in its environment.
/// False as well when the environment may not be read (another user's process) or is not there (a kernel thread).
pub fn environment_has(pid: i32, entry: &str) -> bool {
    let environment = fs::read(Path::new("/proc").join(pid.to_string()).join("environ")).unwrap_or_default();
    environment.split(|&byte| byte == 0).any(|variable| variable == entry.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "7041 (a) (b c) S 6960 7041 7040 34816 7041 4194304 1203 9 0 0 11 22 5 6 20 0 3 0 987654 8200192 1100 \
                    18446744073709551615 1 1 0 0 0 0 0 2 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let expect = Stat {
            pid: 7041,
            state: b'S',
            parent: 6960,
            session: 7040,
            user_ticks: 11,
            system_ticks: 22,
            children_user_ticks: 5,
            children_system_ticks: 6,
            threads_count: 3,
            start_ticks: 987654,
        };
        assert_eq!(Stat::parse(text), Some(expect));
        assert_eq!(Stat::parse("7041 (sh"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn we_ourselves_are_in_the_table() {
        let me = std::process::id() as i32;
        let mine = stat(me).expect("we run");
        let table = Table::read();
        assert_eq!(table.stats[&me].start_ticks, mine.start_ticks);
        assert_eq!(stat(i32::MAX), None);
    }

    fn table(rows: &[(i32, i32, i32, u8, u64)]) -> Table {
        let stat = |&(pid, parent, session, state, start_ticks)| Stat {
            pid,
            state,
            parent,
            session,
            user_ticks: 0,
            system_ticks: 0,
            children_user_ticks: 0,
            children_system_ticks: 0,
            threads_count: 1,
            start_ticks,
        };
        Table { stats: rows.iter().map(stat).map(|s| (s.pid, s)).collect() }
    }

    fn members(table: &Table, marked: &[i32]) -> Vec<i32> {
        let mark = Mark { leader: 10, leader_start_ticks: 500, environment: "M=1".to_owned() };
        table.members_where(&mark, |pid| marked.contains(&pid)).iter().map(|s| s.pid).collect()
    }

    #[test]
    fn members_are_the_session_the_descendants_and_the_marked() {
        let table = table(&[
            (1, 0, 1, b'S', 1),
            (10, 1, 10, b'S', 500),
            (11, 10, 10, b'S', 501), // child in the session
            (12, 11, 12, b'S', 502), // grandchild in its own session
            (13, 1, 10, b'S', 503),  // orphan that stayed in the session
            (14, 1, 14, b'S', 504),  // daemon: only its environment tells
            (15, 14, 14, b'S', 505), // the daemon's child
            (16, 10, 10, b'Z', 506), // has ended
            (20, 1, 20, b'S', 400),  // somebody else
        ]);
        assert_eq!(members(&table, &[14]), [10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn a_number_that_was_given_away_again_is_not_ours() {
        let table = table(&[(10, 1, 10, b'S', 9000), (11, 10, 10, b'S', 9001), (14, 1, 14, b'S', 600)]);
        assert_eq!(members(&table, &[14]), [14]);
        assert_eq!(members(&table, &[]), [0; 0]);
    }

    #[test]
    fn without_a_leader_only_the_mark_counts() {
        let table = table(&[(2, 0, 0, b'S', 600), (9, 2, 0, b'S', 601), (14, 1, 14, b'S', 600)]);
        let mark = Mark { leader: 0, leader_start_ticks: 0, environment: "M=1".to_owned() };
        let members: Vec<_> = table.members_where(&mark, |pid| pid == 14).iter().map(|s| s.pid).collect();
        assert_eq!(members, [14]);
    }

    #[test]
    fn the_leaders_end_leaves_the_rest_findable() {
        let table = table(&[(11, 1, 10, b'S', 501), (12, 11, 12, b'S', 502)]);
        assert_eq!(members(&table, &[]), [11, 12]);
    }
}
