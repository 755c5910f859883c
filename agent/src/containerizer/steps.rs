//! What the first process of a container is to do, in order, and as the bytes that it understands (`init/spec.rs`). Decides:
//! no step is taken here. A new kind of step is a variant of [`Step`], its bytes in [`payload`], and its place in `order.rs`.

use std::ffi::CString;
use std::sync::Arc;

use super::spec::{EXEC_HEADER_BYTES, MAGIC, NULL, Tag, VERSION, slots};

/// See [`Tag`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Session,
    Terminal,
    Umask(u32),
    Chdir(CString),
    Groups(Vec<u32>),
    Gid(u32),
    Uid(u32),
    Fork,
    DieWithInit,
    Signals,
    Exec(Exec),
    /// `CLONE_NEW*` of the process that the pidfd stands for, which init has under this number.
    Enter {
        fd: u32,
        flags: u32,
    },
    /// `CLONE_NEW*`
    Unshare(u64),
    Await,
    /// `MS_*`
    Propagation(u64),
    Mount {
        source: CString,
        target: CString,
        kind: CString,
        data: CString,
    },
    Tree(Tree),
    Filesystem(Filesystem),
    Attach(Attach),
    Pivot(CString),
    Symlink {
        says: CString,
        place: CString,
    },
    Mask(CString),
    ReadOnly(CString),
    Hostname(CString),
    Loopback,
    Rlimit(Rlimit),
    /// Capabilities by number, here and below: bit n is number n.
    Bounding(u64),
    KeepCapabilities,
    /// Permitted, effective, and kept by what is executed. Root-less: being root gives none.
    Capabilities {
        set: u64,
        is_root_less: bool,
    },
    NoNewPrivileges,
    /// Instructions of 8 bytes.
    Seccomp(Arc<[u8]>),
}

/// setrlimit(2), `resource` by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

impl Step {
    /// What it is about, for an error; `None` for those that every container has.
    pub fn subject(&self) -> Option<String> {
        let show = |text: &CString| text.to_string_lossy().into_owned();
        match self {
            Self::Enter { .. } | Self::Unshare(_) | Self::Await => Some("namespaces".to_owned()),
            Self::Propagation(_) => Some("mounts".to_owned()),
            Self::Mount { kind, target, .. } => Some(format!("{} at {}", show(kind), show(target))),
            Self::Filesystem(filesystem) => Some(show(&filesystem.kind)),
            Self::Tree(Tree { users: Some(_), base, path, .. }) => {
                let base = show(base);
                Some(format!("{}/{} for the container's own users", base.trim_end_matches('/'), show(path)))
            }
            Self::Attach(Attach { base, path, .. }) | Self::Tree(Tree { base, path, .. }) => {
                Some(format!("{}/{}", show(base).trim_end_matches('/'), show(path)))
            }
            Self::Pivot(path) | Self::Mask(path) | Self::ReadOnly(path) => Some(show(path)),
            Self::Symlink { place, .. } => Some(show(place)),
            Self::Hostname(name) => Some(format!("hostname {}", show(name))),
            Self::Loopback => Some("loopback device".to_owned()),
            Self::Rlimit(limit) => Some(format!("rlimit {}", limit.resource)),
            Self::Bounding(_) | Self::KeepCapabilities | Self::Capabilities { .. } => {
                Some("capabilities".to_owned())
            }
            Self::NoNewPrivileges => Some("no_new_privs".to_owned()),
            Self::Seccomp(_) => Some("seccomp filter".to_owned()),
            _ => None,
        }
    }
}

/// A detached copy of what lies at `path` below `base` on the machine. `flags`: `TREE_*`; `attributes`: `MOUNT_ATTR_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    pub slot: u32,
    pub flags: u32,
    pub attributes: u64,
    /// Of a user namespace: it belongs there to whom it belongs here.
    pub users: Option<u32>,
    pub base: CString,
    pub path: CString,
}

/// A file system that is nowhere yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    pub slot: u32,
    pub kind: CString,
    pub attributes: u32,
    pub options: Vec<(CString, CString)>,
}

/// What is in the slot appears at `path` below `base`. `flags`: `ATTACH_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    pub slot: u32,
    pub flags: u32,
    pub base: CString,
    pub path: CString,
}

/// The program: files to try in turn, its arguments, its environment (`NAME=value`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    pub programs: Vec<CString>,
    pub args: Vec<CString>,
    pub env: Vec<CString>,
}

/// A spec for init.
pub fn encode(steps: &[Step]) -> Vec<u8> {
    let mut spec = Vec::with_capacity(4096);
    for word in [MAGIC, VERSION, 0, 0] {
        spec.extend(word.to_le_bytes());
    }
    // A spec without steps is one.
    let all = length(spec.len()).to_le_bytes();
    spec[8..12].copy_from_slice(&all);
    for step in steps {
        append(&mut spec, step);
    }
    spec
}

/// A spec that lacked the program.
pub fn completed(mut spec: Vec<u8>, exec: &Exec) -> Vec<u8> {
    append(&mut spec, &Step::Exec(exec.clone()));
    spec
}

fn append(spec: &mut Vec<u8>, step: &Step) {
    let (tag, payload) = payload(step);
    spec.extend((tag as u32).to_le_bytes());
    spec.extend(length(payload.len()).to_le_bytes());
    spec.extend(&payload);
    spec.resize(spec.len().next_multiple_of(8), 0);
    let all = length(spec.len()).to_le_bytes();
    spec[8..12].copy_from_slice(&all);
}

fn length(length: usize) -> u32 {
    // The kernel's own limit on arguments and environment is 6 MiB.
    u32::try_from(length).expect("a plan is far shorter than 4 GiB")
}

fn payload(step: &Step) -> (Tag, Vec<u8>) {
    let number = |number: u32| u64::from(number).to_le_bytes().to_vec();
    match step {
        Step::Session => (Tag::Session, Vec::new()),
        Step::Terminal => (Tag::Terminal, Vec::new()),
        Step::Umask(mask) => (Tag::Umask, number(*mask)),
        Step::Chdir(path) => (Tag::Chdir, path.as_bytes_with_nul().to_vec()),
        Step::Groups(groups) => (Tag::Groups, groups.iter().flat_map(|gid| gid.to_le_bytes()).collect()),
        Step::Gid(gid) => (Tag::Gid, number(*gid)),
        Step::Uid(uid) => (Tag::Uid, number(*uid)),
        Step::Fork => (Tag::Fork, Vec::new()),
        Step::DieWithInit => (Tag::DieWithInit, Vec::new()),
        Step::Signals => (Tag::Signals, Vec::new()),
        Step::Exec(exec) => (Tag::Exec, exec_payload(exec)),
        Step::Enter { fd, flags } => (Tag::Enter, with_texts(&[*fd, *flags], &[], &[])),
        Step::Unshare(flags) => (Tag::Unshare, flags.to_le_bytes().to_vec()),
        Step::Await => (Tag::Await, Vec::new()),
        Step::Propagation(flags) => (Tag::Propagation, flags.to_le_bytes().to_vec()),
        Step::Mount { source, target, kind, data } => {
            (Tag::Mount, with_texts(&[0, 0], &[], &[source, target, kind, data]))
        }
        Step::Tree(Tree { slot, flags, attributes, users, base, path }) => {
            let users = users.map_or(NULL, u64::from);
            (Tag::Tree, with_texts(&[*slot, *flags], &[*attributes, users], &[base, path]))
        }
        Step::Filesystem(Filesystem { slot, kind, attributes, options }) => {
            let options = options.iter().flat_map(|(name, value)| [name, value]);
            let texts: Vec<_> = std::iter::once(kind).chain(options).collect();
            (Tag::Filesystem, with_texts(&[*slot, *attributes], &[], &texts))
        }
        Step::Attach(Attach { slot, flags, base, path }) => {
            (Tag::Attach, with_texts(&[*slot, *flags], &[], &[base, path]))
        }
        Step::Pivot(path) => (Tag::Pivot, path.as_bytes_with_nul().to_vec()),
        Step::Symlink { says, place } => (Tag::Symlink, with_texts(&[], &[], &[says, place])),
        Step::Mask(path) => (Tag::Mask, path.as_bytes_with_nul().to_vec()),
        Step::ReadOnly(path) => (Tag::ReadOnly, path.as_bytes_with_nul().to_vec()),
        Step::Hostname(name) => (Tag::Hostname, name.as_bytes_with_nul().to_vec()),
        Step::Loopback => (Tag::Loopback, Vec::new()),
        Step::Rlimit(Rlimit { resource, soft, hard }) => {
            (Tag::Rlimit, with_texts(&[], &[u64::from(*resource), *soft, *hard], &[]))
        }
        Step::Bounding(set) => (Tag::Bounding, set.to_le_bytes().to_vec()),
        Step::KeepCapabilities => (Tag::KeepCapabilities, Vec::new()),
        Step::Capabilities { set, is_root_less } => {
            (Tag::Capabilities, with_texts(&[], &[*set, u64::from(*is_root_less)], &[]))
        }
        Step::NoNewPrivileges => (Tag::NoNewPrivileges, Vec::new()),
        Step::Seccomp(filter) => (Tag::Seccomp, filter.to_vec()),
    }
}

fn with_texts(numbers: &[u32], wide: &[u64], texts: &[&CString]) -> Vec<u8> {
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    let wide = wide.iter().flat_map(|number| number.to_le_bytes());
    let texts = texts.iter().flat_map(|text| text.as_bytes_with_nul());
    numbers.chain(wide).chain(texts.copied()).collect()
}

const SHELL: &std::ffi::CStr = c"/bin/sh";

fn exec_payload(exec: &Exec) -> Vec<u8> {
    let Exec { programs, args, env } = exec;
    let (_, slots_count) = slots(programs.len(), args.len(), env.len());
    let mut texts = Vec::new();
    let texts_begin = EXEC_HEADER_BYTES + 8 * slots_count;
    let mut place = |text: &std::ffi::CStr| {
        let at = texts_begin + texts.len();
        texts.extend(text.to_bytes_with_nul());
        at as u64
    };
    let mut table = Vec::with_capacity(slots_count);
    let mut args_places = Vec::new();
    for (at, list) in [programs, args, env].into_iter().enumerate() {
        let places: Vec<u64> = list.iter().map(|text| place(text)).collect();
        table.extend(&places);
        table.push(NULL);
        if at == 1 {
            args_places = places;
        }
    }
    // The second is for the program's path; the arguments but the first are those above.
    table.extend([place(SHELL), NULL]);
    table.extend(args_places.iter().skip(1));
    table.push(NULL);
    let counts = [programs.len(), args.len(), env.len(), 0].map(length);
    let header = counts.iter().flat_map(|count| count.to_le_bytes());
    header.chain(table.iter().flat_map(|slot| slot.to_le_bytes())).chain(texts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containerizer::spec::{Steps, only_number, relocate};

    /// Aligned as init's mapping is.
    fn aligned(bytes: &[u8]) -> Vec<u64> {
        bytes.chunks(8).map(|it| u64::from_le_bytes(it.try_into().expect("filled up"))).collect()
    }

    fn read(spec: &[u8]) -> Option<Vec<(Tag, Vec<u8>)>> {
        let mut bytes = spec.to_vec();
        let mut steps = Steps::of(&mut bytes)?;
        let mut found = Vec::new();
        while let Some(step) = steps.next() {
            let (tag, payload) = step?;
            found.push((tag, payload.to_vec()));
        }
        Some(found)
    }

    #[test]
    fn steps_are_read_as_they_were_written() {
        let steps = [Step::Umask(0o022), Step::Chdir(c"/a".into()), Step::Groups(vec![1, 2, 3]), Step::Fork];
        let found = read(&encode(&steps)).expect("a spec");
        let tags: Vec<Tag> = found.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags, [Tag::Umask, Tag::Chdir, Tag::Groups, Tag::Fork]);
        assert_eq!(only_number(&found[0].1), Some(0o022));
        assert_eq!(found[1].1, b"/a\0");
        assert_eq!(found[2].1, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn an_exec_becomes_arrays_as_the_kernel_takes_them() {
        let list = |texts: &[&str]| texts.iter().map(|it| CString::new(*it).expect("no NUL")).collect();
        let exec =
            Exec { programs: list(&["/a/x", "/b/x"]), args: list(&["x", "one", ""]), env: list(&["A=1"]) };
        let mut words = aligned(&encode(&[Step::Exec(exec)]));
        let bytes: Vec<u8> = words.iter().flat_map(|it| it.to_le_bytes()).collect();
        let mut copy = bytes.clone();
        let mut steps = Steps::of(&mut copy).expect("a spec");
        let (_, payload) = steps.next().flatten().expect("a step");
        let begin = payload.as_ptr() as u64;
        let length = payload.len();
        let whole = payload.to_vec();
        relocate(payload).expect("it is sound");
        let texts = |start: usize| {
            let slots = payload[EXEC_HEADER_BYTES + 8 * start..].chunks_exact(8);
            let addresses = slots.map(|it| u64::from_ne_bytes(it.try_into().expect("eight")));
            let texts = addresses.take_while(|it| *it != 0).map(|address| {
                let at = usize::try_from(address - begin).expect("inside");
                let text = std::ffi::CStr::from_bytes_until_nul(&whole[at..length]).expect("it ends");
                text.to_str().expect("as above").to_owned()
            });
            texts.collect::<Vec<_>>()
        };
        let ([programs, args, env, script], _) = slots(2, 3, 1);
        assert_eq!(texts(programs), ["/a/x", "/b/x"]);
        assert_eq!(texts(args), ["x", "one", ""]);
        assert_eq!(texts(env), ["A=1"]);
        assert_eq!(texts(script), ["/bin/sh"], "then the place for the program");
        assert_eq!(texts(script + 2), ["one", ""]);
        words.clear();
    }

    #[test]
    fn what_is_no_spec_is_told_from_one() {
        let good = encode(&[Step::Umask(1), Step::Fork]);
        assert!(read(&good).is_some());
        for damage in 0..good.len() {
            let mut bad = good.clone();
            bad[damage] ^= 0x80;
            // No byte of it makes the reader fall over; those of the header make it refuse.
            assert!(read(&bad).is_none() || damage >= 12, "byte {damage}");
        }
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_none());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_an_exec_reach_outside(mut bytes in proptest::collection::vec(0_u8.., 0..256)) {
            let begin = bytes.as_ptr() as u64;
            let end = begin + bytes.len() as u64;
            if let Some(count) = bytes.len().checked_sub(1) {
                bytes[count] = 0;
            }
            let before = bytes.clone();
            if relocate(&mut bytes).is_some() {
                let count = |at: usize| u32::from_le_bytes(before[at..at + 4].try_into().expect("four")) as usize;
                let (_, slots_count) = slots(count(0), count(4), count(8));
                for slot in bytes[EXEC_HEADER_BYTES..][..8 * slots_count].chunks_exact(8) {
                    let address = u64::from_ne_bytes(slot.try_into().expect("eight"));
                    proptest::prop_assert!(address == 0 || (begin..end).contains(&address));
                }
            }
        }
    }
}
