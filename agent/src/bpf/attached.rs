//! Programs attached to a cgroup's directory by `BPF_PROG_ATTACH`: they stay when the agent ends and go with the directory,
//! and one takes the place of another in one step. aya attaches by links only, which end with their owner unless they are
//! pinned. Knows programs and directories; which program belongs where, hold.rs knows.
#![expect(unsafe_code, reason = "aya has no wrapper for these commands of bpf(2)")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// Commands, kinds and flags of include/uapi/linux/bpf.h.
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// Where in a directory's lists a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Side {
    Egress = 1,
    Device = 6,
}

/// Most programs of one kind that are looked at; more the kernel does not allow.
const PROGRAMS_MAX: usize = 64;
/// Most maps of a program that are told.
const MAPS_MAX: usize = 8;
/// `BPF_OBJ_NAME_LEN`.
const NAME_BYTES: usize = 16;

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_len: u32,
    xlated_len: u32,
    jited: u64,
    xlated: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; NAME_BYTES],
}

/// A program that is attached.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) program: OwnedFd,
    /// As far as the kernel keeps it: 15 characters.
    pub(super) name: String,
    pub(super) map_ids: Vec<u32>,
}

/// The kernel reads `attr`, of which it is told the size, and writes into it what the command gives.
fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is a row of plain words for this command (each caller's), valid for reads and writes of its size; the
    // addresses in it are of buffers that callers hold during the call, with room for what they say.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

/// Attaches beside what others have attached there; in place of `old`, so that at no time neither or both are asked (5.6).
pub(super) fn attach(
    directory: BorrowedFd<'_>,
    side: Side,
    program: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let number = |fd: BorrowedFd<'_>| fd.as_raw_fd().cast_unsigned();
    let mut attr = AttachAttr {
        target_fd: number(directory),
        attach_bpf_fd: number(program),
        attach_type: side as u32,
        attach_flags: ALLOW_MULTI | if old.is_some() { REPLACE } else { 0 },
        replace_bpf_fd: old.map_or(0, number),
    };
    bpf(PROG_ATTACH, &mut attr).map(drop)
}

pub(super) fn detach(directory: BorrowedFd<'_>, side: Side, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = AttachAttr {
        target_fd: directory.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: side as u32,
        ..AttachAttr::default()
    };
    bpf(PROG_DETACH, &mut attr).map(drop)
}

/// The program of that name in this directory's own list, by whomever and whenever it was attached.
pub(super) fn find(directory: BorrowedFd<'_>, side: Side, name: &str) -> io::Result<Option<Attached>> {
    let mut ids = [0_u32; PROGRAMS_MAX];
    let mut attr = QueryAttr {
        target_fd: directory.as_raw_fd().cast_unsigned(),
        attach_type: side as u32,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(ids.len()).expect("a few"),
        padding: 0,
    };
    bpf(PROG_QUERY, &mut attr)?;
    for id in ids.into_iter().take(attr.prog_cnt as usize) {
        match open(id).and_then(look) {
            Ok(attached) if attached.name == name => return Ok(Some(attached)),
            Ok(_) => {}
            // Detached meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn open(id: u32) -> io::Result<OwnedFd> {
    let fd = bpf(PROG_GET_FD_BY_ID, &mut IdAttr { id, ..IdAttr::default() })?;
    let fd = i32::try_from(fd).expect("the kernel gives descriptors");
    // SAFETY: the kernel has just made it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn look(program: OwnedFd) -> io::Result<Attached> {
    let mut map_ids = [0_u32; MAPS_MAX];
    let mut info = ProgramInfo {
        nr_map_ids: u32::try_from(map_ids.len()).expect("a few"),
        map_ids: map_ids.as_mut_ptr() as u64,
        ..ProgramInfo::default()
    };
    let mut attr = InfoAttr {
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        info_len: u32::try_from(size_of::<ProgramInfo>()).expect("some words"),
        info: &raw mut info as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    let end = info.name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES);
    let name = String::from_utf8_lossy(&info.name[..end]).into_owned();
    let known = map_ids.len().min(info.nr_map_ids as usize);
    Ok(Attached { program, name, map_ids: map_ids[..known].to_vec() })
}
