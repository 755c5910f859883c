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
pub const VERSION: u32 = 5;
pub const HEADER_BYTES: usize = 16;
pub const STEP_HEADER_BYTES: usize = 8;

/// Where init finds its descriptors: 0, 1 and 2 are for the program.
pub const SPEC_FD: i32 = 3;
/// Init, or the program's process before it is the program, writes a [`Report`] here if a step fails; it is closed when the
/// program runs.
pub const REPORT_FD: i32 = 4;
/// Where the end is written to (`record.rs`).
pub const RECORD_FD: i32 = 5;
/// What init has open for the agent, and never touches: the agent's end of the container's terminal, which outlives the agent
/// by that. It is not there for a container without.
pub const KEEP_FD: i32 = 6;
/// How many init is given at most: the last two are for [`Tag::Enter`].
pub const FDS_COUNT: usize = 9;

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
    /// u64: the flags of namespaces to leave for new ones.
    Unshare = 11,
    /// Stands still until it is killed, or [`REPORT_FD`], here an end to read from, comes to its end: somebody has to be in a
    /// namespace while the agent makes it what it is to be. No payload.
    Await = 12,
    /// u64: flags for every mount there is.
    Propagation = 13,
    /// flags u32, 0 u32, then texts: source, target, type, data, each with its NUL. mount(2) as it has always been: only for
    /// places that the agent made.
    Mount = 14,
    /// slot u32, flags u32 (`TREE_*`), attributes u64, users u64 (a user namespace's descriptor, or [`NULL`]), then texts: a
    /// folder to be trusted, a place below it: a detached copy of what lies there, belonging to whom those users say. Links are
    /// followed as far as they stay below that folder.
    Tree = 15,
    /// slot u32, attributes u32, then texts: type, name, value, name, value, ...: a file system that is nowhere yet.
    Filesystem = 16,
    /// slot u32, flags u32 (`ATTACH_*`), then texts: a folder to be trusted, the place below it: what is in the slot appears
    /// there. Links are followed as far as they stay below that folder.
    Attach = 17,
    /// A path: that folder, with what is mounted in it, becomes the root, and what was is out of reach.
    Pivot = 18,
    /// Texts: what it says, where it is.
    Symlink = 19,
    /// A path, of a file or a folder: nothing can be seen there. Done if there is none.
    Mask = 20,
    /// A path: nothing can be changed there. Done if there is none.
    ReadOnly = 21,
    /// A text: what the machine is called.
    Hostname = 22,
    /// No payload: the loopback device is up.
    Loopback = 23,
    /// u64 each: resource, soft, hard.
    Rlimit = 24,
    /// u64: the bounding set of capabilities.
    Bounding = 25,
    /// Permitted capabilities survive the change of user. No payload.
    KeepCapabilities = 26,
    /// u64 each: those that are permitted, effective and kept by what is executed; 1: being root gives none.
    Capabilities = 27,
    /// Nothing that is executed gives rights. No payload.
    NoNewPrivileges = 28,
    /// A program for seccomp(2): instructions of 8 bytes.
    Seccomp = 29,
    /// Standard input, a terminal, becomes the session's. No payload.
    Terminal = 30,
    /// descriptor u32, flags u32 (`CLONE_NEW*`): those namespaces of the process that the pidfd stands for. Who is forked
    /// later is in its PID namespace. The descriptor is closed.
    Enter = 31,
}

/// How many detached mounts can be held at a time, and hence what a slot is less than.
pub const SLOTS_MAX: usize = 128;
/// What is mounted in it comes along.
pub const TREE_RECURSIVE: u32 = 1;
/// If there is nothing, the slot stays empty.
pub const TREE_OPTIONAL: u32 = 2;
/// What is missing of the place is made, as folders.
pub const TREE_MAKE: u32 = 4;
/// What is missing of the place is made: a file for a file, and folders. It belongs to whom the trusted folder belongs.
pub const ATTACH_MAKE: u32 = 1;
/// No links at all on the way.
pub const ATTACH_NO_LINKS: u32 = 2;
/// If there is no such place, or nothing in the slot, it is done.
pub const ATTACH_OPTIONAL: u32 = 4;

impl Tag {
    pub const ALL: [Self; 31] = [
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
        Self::Unshare,
        Self::Await,
        Self::Propagation,
        Self::Mount,
        Self::Tree,
        Self::Filesystem,
        Self::Attach,
        Self::Pivot,
        Self::Symlink,
        Self::Mask,
        Self::ReadOnly,
        Self::Hostname,
        Self::Loopback,
        Self::Rlimit,
        Self::Bounding,
        Self::KeepCapabilities,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Seccomp,
        Self::Terminal,
        Self::Enter,
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
            Self::Unshare => "unshare",
            Self::Await => "map users",
            Self::Propagation => "mount(MS_SLAVE)",
            Self::Mount => "mount",
            Self::Tree => "open_tree",
            Self::Filesystem => "fsmount",
            Self::Attach => "move_mount",
            Self::Pivot => "pivot_root",
            Self::Symlink => "symlink",
            Self::Mask => "mask",
            Self::ReadOnly => "mount_setattr",
            Self::Hostname => "sethostname",
            Self::Loopback => "ioctl(SIOCSIFFLAGS)",
            Self::Rlimit => "prlimit",
            Self::Bounding => "prctl(PR_CAPBSET_DROP)",
            Self::KeepCapabilities => "prctl(PR_SET_KEEPCAPS)",
            Self::Capabilities => "capset",
            Self::NoNewPrivileges => "prctl(PR_SET_NO_NEW_PRIVS)",
            Self::Seccomp => "seccomp",
            Self::Terminal => "ioctl(TIOCSCTTY)",
            Self::Enter => "setns",
        }
    }
}

/// A step that failed. As bytes: tag, errno, place, 4 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Zero where the spec itself makes no sense.
    pub tag: u32,
    pub errno: i32,
    /// Of the step, from zero.
    pub place: u32,
}

impl Report {
    pub const BYTES: usize = 12;

    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let words = [self.tag, self.errno.cast_unsigned(), self.place];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { tag: word(0), errno: word(4).cast_signed(), place: word(8) }
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

/// The u32 that begins there.
pub fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

/// A payload that is one u64.
pub fn only_number(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.try_into().ok()?))
}

/// The u64 that begins there.
pub fn wide(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(number(bytes, at)?) | u64::from(number(bytes, at + 4)?) << 32)
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
