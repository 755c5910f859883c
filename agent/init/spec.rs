//! What the agent asks of init, as bytes: steps, each a tag and what it needs, done in the order in which they stand. The
//! agent decides and encodes (`containerizer::steps`), init does (`main.rs`); this file is compiled into both.
//!
//! ```text
//!   magic u32 | version u32 | length of all u32 | 0 u32        then, until that length:
//!   tag u32 | length of what follows u32 | payload, filled up with zeros to a multiple of 8
//! ```
//! Numbers are little-endian. Everything before [`Tag::Fork`] is done by init itself, everything behind it by the process
//! that becomes the container's program. To teach init a new step: a tag and its name here, its payload in `steps.rs` of the
//! agent, its system calls in `main.rs`. The bytes live only from the agent's write to init's read, and both are of one
//! build: the version is a guard against a mistake, not an interface.

pub const MAGIC: u32 = u32::from_le_bytes(*b"INGI");
pub const VERSION: u32 = 1;
pub const HEADER_BYTES: usize = 16;
pub const STEP_HEADER_BYTES: usize = 8;

/// Where init finds its descriptors: 0, 1 and 2 are for the program.
pub const SPEC_FD: i32 = 3;
/// Init, or the program's process before it is the program, writes a [`Report`] here if a step fails; it is closed when the
/// program runs.
pub const REPORT_FD: i32 = 4;
/// Where the end is written to (`record.rs`).
pub const RECORD_FD: i32 = 5;
/// How many init is given.
pub const FDS_COUNT: usize = 6;

/// A step. The numbers are init's language; the names are what an error is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Tag {
    /// A session and a process group of its own. No payload.
    Session = 1,
    /// u64: the mode bits that new files do not get.
    Umask = 2,
    /// A path with its NUL: the working folder.
    Chdir = 3,
    /// u32 each: the supplementary groups, all of them.
    Groups = 4,
    /// u64: real, effective and saved group.
    Gid = 5,
    /// u64: real, effective and saved user.
    Uid = 6,
    /// From here on it is the program's process. No payload.
    Fork = 7,
    /// It is killed when init is. Behind [`Tag::Uid`], which would undo it. No payload.
    DieWithInit = 8,
    /// Lets signals in, all of which are blocked until then. No payload.
    Signals = 9,
    /// Becomes the program (see [`relocate`]); the last step.
    Exec = 10,
}

impl Tag {
    pub const ALL: [Self; 10] = [
        Self::Session,
        Self::Umask,
        Self::Chdir,
        Self::Groups,
        Self::Gid,
        Self::Uid,
        Self::Fork,
        Self::DieWithInit,
        Self::Signals,
        Self::Exec,
    ];

    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|tag| *tag as u32 == number)
    }

    /// The system call that it comes to.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "setsid",
            Self::Umask => "umask",
            Self::Chdir => "chdir",
            Self::Groups => "setgroups",
            Self::Gid => "setresgid",
            Self::Uid => "setresuid",
            Self::Fork => "fork",
            Self::DieWithInit => "prctl(PR_SET_PDEATHSIG)",
            Self::Signals => "rt_sigprocmask",
            Self::Exec => "execve",
        }
    }
}

/// A step that failed. As bytes: tag and errno, 4 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Zero where the spec itself makes no sense.
    pub tag: u32,
    pub errno: i32,
}

impl Report {
    pub const BYTES: usize = 8;

    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (tag, errno) = bytes.split_at_mut(4);
        tag.copy_from_slice(&self.tag.to_le_bytes());
        errno.copy_from_slice(&self.errno.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { tag: u32::from_le_bytes([a, b, c, d]), errno: i32::from_le_bytes([e, f, g, h]) }
    }
}

/// The steps of a spec, one by one; `None` inside where the bytes are no step. What a step does not need is not looked at.
pub struct Steps<'a> {
    rest: &'a mut [u8],
}

impl<'a> Steps<'a> {
    /// `None`: this is no spec, or not of this version.
    pub fn of(bytes: &'a mut [u8]) -> Option<Self> {
        let is_ours = number(bytes, 0)? == MAGIC && number(bytes, 4)? == VERSION;
        let length = number(bytes, 8)? as usize;
        let rest = bytes.get_mut(HEADER_BYTES..length)?;
        is_ours.then_some(Self { rest })
    }

    #[expect(clippy::should_implement_trait, reason = "an iterator could not be used so plainly without std")]
    pub fn next(&mut self) -> Option<Option<(Tag, &'a mut [u8])>> {
        let rest = core::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let Some((tag, length)) = number(rest, 0).and_then(Tag::of).zip(number(rest, 4)) else {
            return Some(None);
        };
        let padded = (length as usize).next_multiple_of(8);
        if rest.len() < STEP_HEADER_BYTES + padded {
            return Some(None);
        }
        let (step, rest) = rest.split_at_mut(STEP_HEADER_BYTES + padded);
        self.rest = rest;
        Some(
            step.get_mut(STEP_HEADER_BYTES..STEP_HEADER_BYTES + length as usize)
                .map(|payload| (tag, payload)),
        )
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

/// A payload that is one u64.
pub fn only_number(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.try_into().ok()?))
}

/// In the slots of an exec: the end of an array.
pub const NULL: u64 = u64::MAX;
pub const EXEC_HEADER_BYTES: usize = 16;

/// The arrays of a program to execute, as `execve` wants them, each ended by a null.
///
/// ```text
///   programs u32 | args u32 | env u32 | 0 u32        how many texts
///   u64 each: programs, NULL, args, NULL, env, NULL, script's args, NULL
///   the texts, each with its NUL
/// ```
/// A slot holds how far from the payload's begin its text is, or [`NULL`]. The script's arguments are the shell, a place for
/// the program's path, and the arguments but the first: for a script without an interpreter line.
#[derive(Clone, Copy, Debug)]
pub struct Exec {
    pub programs: *const *const u8,
    pub args: *const *const u8,
    pub env: *const *const u8,
    pub script_args: *mut *const u8,
}

/// How many slots these numbers of texts have, and in which the four arrays begin.
pub fn slots(programs: usize, args: usize, env: usize) -> ([usize; 4], usize) {
    let starts = [0, programs + 1, programs + args + 2, programs + args + env + 3];
    (starts, starts[3] + 2 + args.saturating_sub(1) + 1)
}

/// Turns distances into addresses, in place. The pointers hold as long as the payload stays where it is.
/// `None`: some text is not inside, or has no end.
pub fn relocate(payload: &mut [u8]) -> Option<Exec> {
    let count = |at| number(payload, at).map(|count| count as usize);
    let (starts, slots_count) = slots(count(0)?, count(4)?, count(8)?);
    let length = payload.len() as u64;
    // Then every text inside has an end.
    if payload.last() != Some(&0) {
        return None;
    }
    let begin = payload.as_mut_ptr();
    let table = payload.get_mut(EXEC_HEADER_BYTES..EXEC_HEADER_BYTES + 8 * slots_count)?;
    for slot in table.chunks_exact_mut(8) {
        let distance = u64::from_le_bytes((&*slot).try_into().ok()?);
        let address = match distance {
            NULL => 0,
            distance if distance < length => begin as u64 + distance,
            _ => return None,
        };
        slot.copy_from_slice(&address.to_ne_bytes());
    }
    let array = |start: usize| begin.wrapping_add(EXEC_HEADER_BYTES + 8 * start).cast::<*const u8>();
    let [programs, args, env, script_args] = starts.map(array);
    Some(Exec { programs, args, env, script_args })
}
