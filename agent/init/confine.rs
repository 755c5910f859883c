//! Steps that take rights away, or give a process names and limits of its own.

use core::ffi::CStr;

use crate::kernel::{EINVAL, Errno, number, plain};
use crate::spec::{REPORT_FD, wide};

/// include/uapi/linux/prctl.h
const PR_SET_KEEPCAPS: usize = 8;
const PR_CAPBSET_DROP: usize = 24;
const PR_SET_SECUREBITS: usize = 28;
const PR_SET_NO_NEW_PRIVS: usize = 38;
const PR_CAP_AMBIENT: usize = 47;
const PR_CAP_AMBIENT_RAISE: usize = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;
/// include/uapi/linux/securebits.h
const SECBIT_NOROOT: usize = 1;
/// include/uapi/linux/capability.h: sets of 64 bits, in two halves.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const CAPABILITIES_COUNT: usize = 64;

pub fn unshare(flags: usize) -> Result<(), Errno> {
    plain(number::UNSHARE, [flags]).map(drop)
}

/// Of a process by its pidfd: Linux 5.8.
pub fn enter(payload: &[u8]) -> Result<(), Errno> {
    let fd = number_at(payload, 0)?;
    let result = plain(number::SETNS, [fd as usize, number_at(payload, 4)? as usize]);
    crate::kernel::close(fd as i32);
    result.map(drop)
}

fn number_at(payload: &[u8], at: usize) -> Result<u32, Errno> {
    crate::spec::number(payload, at).ok_or(EINVAL)
}

/// Until the agent has done what it wanted, or is gone: this never succeeds.
pub fn wait() -> Result<(), Errno> {
    let mut byte = 0_u8;
    // SAFETY: the call writes one byte, into `byte`.
    match unsafe { crate::kernel::call(number::READ, [REPORT_FD as usize, &raw mut byte as usize, 1, 0, 0, 0]) } {
        Ok(_) => Err(EINVAL),
        Err(errno) => Err(errno),
    }
}

pub fn hostname(name: &CStr) -> Result<(), Errno> {
    plain(number::SETHOSTNAME, [name.as_ptr() as usize, name.count_bytes()]).map(drop)
}

/// include/uapi/linux/if.h: the beginning of `struct ifreq`, filled up to its 40 bytes.
#[repr(C)]
struct Interface {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

pub fn loopback() -> Result<(), Errno> {
    const AF_INET: usize = 2;
    const SOCK_DGRAM_CLOEXEC: usize = 2 | 0o2_000_000;
    const SIOCSIFFLAGS: usize = 0x8914;
    const IFF_UP: u16 = 1;
    let mut up = Interface { name: [0; 16], flags: IFF_UP, rest: [0; 22] };
    up.name[..2].copy_from_slice(b"lo");
    let socket = plain(number::SOCKET, [AF_INET, SOCK_DGRAM_CLOEXEC, 0])?;
    let result = plain(number::IOCTL, [socket, SIOCSIFFLAGS, &raw const up as usize]);
    crate::kernel::close(socket as i32);
    result.map(drop)
}

pub fn rlimit(payload: &[u8]) -> Result<(), Errno> {
    let word = |at| wide(payload, at).ok_or(EINVAL);
    let limit = [word(8)?, word(16)?];
    plain(number::PRLIMIT64, [0, word(0)? as usize, limit.as_ptr() as usize, 0]).map(drop)
}

pub fn bounding(keep: u64) -> Result<(), Errno> {
    for capability in (0..CAPABILITIES_COUNT).filter(|it| keep >> it & 1 == 0) {
        match plain(number::PRCTL, [PR_CAPBSET_DROP, capability, 0, 0, 0]) {
            Ok(_) => {}
            // Beyond the last that the kernel knows.
            Err(EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub fn keep_capabilities() -> Result<(), Errno> {
    plain(number::PRCTL, [PR_SET_KEEPCAPS, 1, 0, 0, 0]).map(drop)
}

/// Those that go through an exec without being root's are the ambient ones; for that they have to be inheritable.
pub fn capabilities(payload: &[u8]) -> Result<(), Errno> {
    let set = wide(payload, 0).ok_or(EINVAL)?;
    if wide(payload, 8).ok_or(EINVAL)? == 1 {
        plain(number::PRCTL, [PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0])?;
    }
    let header = [CAPABILITY_VERSION_3, 0];
    // Effective, permitted, inheritable: the lower halves, then the upper ones.
    let [low, high] = [set as u32, (set >> 32) as u32];
    let data = [low, low, low, high, high, high];
    plain(number::CAPSET, [header.as_ptr() as usize, data.as_ptr() as usize])?;
    plain(number::PRCTL, [PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0])?;
    for capability in (0..CAPABILITIES_COUNT).filter(|it| set >> it & 1 == 1) {
        plain(number::PRCTL, [PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0])?;
    }
    Ok(())
}

pub fn no_new_privileges() -> Result<(), Errno> {
    plain(number::PRCTL, [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]).map(drop)
}

pub fn seccomp(filter: &[u8]) -> Result<(), Errno> {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    let program = Program { length: (filter.len() / 8) as u16, instructions: filter.as_ptr() };
    plain(number::SECCOMP, [SECCOMP_SET_MODE_FILTER, 0, &raw const program as usize]).map(drop)
}

/// include/uapi/linux/filter.h, `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const u8,
}
