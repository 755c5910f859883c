//! The process table as `/proc` shows it: who is whose child, in which session, started when, and what it used.
//!
//! This is how a container is known where it has no cgroup: its processes are the leader's session, everything that
//! descends from it, and everything that still carries the container's mark in its environment. A process that left the
//! session, lost its parents *and* wiped its environment is not found: only a cgroup holds that one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
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

/// How often a process that is just becoming another program is looked at again: some milliseconds, far longer than that
/// moment lasts on a machine that does not stand still.
const EXEC_LOOKS_MAX: u32 = 10_000;

/// Whether a process was started with this `NAME=value` in its environment.
/// False as well when the environment may not be read (another user's process) or is not there (a kernel thread).
pub fn environment_has(pid: i32, entry: &str) -> bool {
    let path = Path::new("/proc").join(pid.to_string()).join("environ");
    for _ in 0..EXEC_LOOKS_MAX {
        let Ok(environment) = read_at_once(&path) else { return false };
        if !environment.is_empty() {
            return environment.split(|&byte| byte == 0).any(|variable| variable == entry.as_bytes());
        }
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if !has_environment(&line) {
            return false;
        }
        std::thread::yield_now();
    }
    false
}

/// What most environments are shorter than, bytes.
const ENVIRONMENT_BYTES: usize = 16 << 10;
/// Arguments and environment together are never longer than 6 MiB (execve(2), "Limits on size of arguments and
/// environment").
const ENVIRONMENT_BYTES_MAX: usize = 8 << 20;

/// Reads a file by one system call: what stands in an open `environ` ends when its process becomes another program, and a
/// second read would take that for the end of it.
fn read_at_once(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; ENVIRONMENT_BYTES];
    loop {
        let length = fs::File::open(path)?.read(&mut bytes)?;
        if length < bytes.len() || length >= ENVIRONMENT_BYTES_MAX {
            bytes.truncate(length);
            return Ok(bytes);
        }
        bytes.resize(4 * length, 0);
    }
}

/// Whether a process whose environment read as empty has one all the same: in the midst of an exec it has its new memory,
/// but the environment has no place there yet. By its stat line (proc_pid_stat(5)): field 23, `vsize`, is zero for a kernel
/// thread and a zombie; 26, `startcode`, is set when everything else in the new memory has its place; then 50 and 51,
/// `env_start` and `env_end`, are equal only where the environment is truly empty.
fn has_environment(line: &str) -> bool {
    let Some((_, rest)) = line.rsplit_once(") ") else { return false };
    let mut fields = rest.split_ascii_whitespace();
    // Numbered from 3.
    let (memory, code) = (fields.nth(23 - 3), fields.nth(26 - 23 - 1));
    let (start, end) = (fields.nth(50 - 26 - 1), fields.next());
    memory.is_some_and(|it| it != "0") && (code == Some("0") || start != end)
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
    fn a_process_between_two_programs_is_told_from_one_without_an_environment() {
        let line = |memory: u64, code: u64, [start, end]: [u64; 2]| {
            let between = "0 ".repeat(23);
            format!(
                "9 (a) b) S 1 9 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 {memory} 1 9 {code} {between}{start} {end} 0"
            )
        };
        let fields = line(1, 2, [3, 4]).rsplit_once(") ").map(|(_, rest)| rest.split(' ').count());
        assert_eq!(fields, Some(52 - 2));
        assert!(has_environment(&line(8192, 0, [0, 0])), "between two programs");
        assert!(
            has_environment(&line(8192, 0, [77, 77])),
            "its arguments have their place, its environment not"
        );
        assert!(has_environment(&line(8192, 5, [70, 77])), "it has just got one");
        assert!(!has_environment(&line(8192, 5, [77, 77])), "it was given none");
        assert!(!has_environment(&line(0, 0, [0, 0])), "a kernel thread");
        assert!(!has_environment(""), "gone");
    }

    /// Between its two programs a process has no environment to be known by.
    #[test]
    fn a_process_is_known_while_it_becomes_another_program() {
        let entry = format!("INGOT_TEST_MARK={}", std::process::id());
        let again = "[ $0 -gt 200 ] && exec sleep 1000; exec sh -c \"$SCRIPT\" $(($0 + 1))";
        let mut child = std::process::Command::new("sh")
            .env("INGOT_TEST_MARK", std::process::id().to_string())
            .env("SCRIPT", again)
            .args(["-c", again, "0"])
            .spawn()
            .expect("a shell");
        let pid = child.id().cast_signed();
        let name = || fs::read_to_string(format!("/proc/{pid}/comm")).expect("not reaped");
        let mut unknown_count = 0;
        while name() != "sleep\n" {
            unknown_count += u32::from(!environment_has(pid, &entry));
        }
        child.kill().and_then(|()| child.wait()).expect("a child of ours");
        assert_eq!(unknown_count, 0);
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
