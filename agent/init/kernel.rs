//! The system calls that init makes, raw: it has no library under it. Their numbers and the two instructions that differ
//! between machines stand here and nowhere else.

use core::arch::{asm, global_asm};
use core::ffi::CStr;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("init knows the system calls of x86_64 and aarch64");

/// Numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
#[cfg(target_arch = "x86_64")]
pub(crate) mod number {
    pub const CAPSET: usize = 126;
    pub const CHDIR: usize = 80;
    pub const CHROOT: usize = 161;
    pub const CLOCK_GETTIME: usize = 228;
    pub const CLONE: usize = 56;
    pub const CLOSE: usize = 3;
    pub const EXECVE: usize = 59;
    pub const EXIT_GROUP: usize = 231;
    pub const FCHDIR: usize = 81;
    pub const FCHOWNAT: usize = 260;
    pub const FCNTL: usize = 72;
    pub const FSCONFIG: usize = 431;
    pub const FSMOUNT: usize = 432;
    pub const FSOPEN: usize = 430;
    pub const GETPID: usize = 39;
    pub const GETPPID: usize = 110;
    pub const GETRUSAGE: usize = 98;
    pub const IOCTL: usize = 16;
    pub const KILL: usize = 62;
    pub const LSEEK: usize = 8;
    pub const MKDIRAT: usize = 258;
    pub const MMAP: usize = 9;
    pub const MOUNT: usize = 165;
    pub const MOUNT_SETATTR: usize = 442;
    pub const MOVE_MOUNT: usize = 429;
    pub const MUNMAP: usize = 11;
    pub const OPENAT2: usize = 437;
    pub const OPEN_TREE: usize = 428;
    pub const PIVOT_ROOT: usize = 155;
    pub const PRCTL: usize = 157;
    pub const PRLIMIT64: usize = 302;
    pub const PWRITE64: usize = 18;
    pub const READ: usize = 0;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const SECCOMP: usize = 317;
    pub const SETGROUPS: usize = 116;
    pub const SETHOSTNAME: usize = 170;
    pub const SETNS: usize = 308;
    pub const SETRESGID: usize = 119;
    pub const SETRESUID: usize = 117;
    pub const SETSID: usize = 112;
    pub const SOCKET: usize = 41;
    pub const STATX: usize = 332;
    pub const SYMLINKAT: usize = 266;
    pub const UMASK: usize = 95;
    pub const UMOUNT2: usize = 166;
    pub const UNSHARE: usize = 272;
    pub const WAIT4: usize = 61;
    pub const WRITE: usize = 1;
}
#[cfg(target_arch = "aarch64")]
pub(crate) mod number {
    pub const CAPSET: usize = 91;
    pub const CHDIR: usize = 49;
    pub const CHROOT: usize = 51;
    pub const CLOCK_GETTIME: usize = 113;
    pub const CLONE: usize = 220;
    pub const CLOSE: usize = 57;
    pub const EXECVE: usize = 221;
    pub const EXIT_GROUP: usize = 94;
    pub const FCHDIR: usize = 50;
    pub const FCHOWNAT: usize = 54;
    pub const FCNTL: usize = 25;
    pub const FSCONFIG: usize = 431;
    pub const FSMOUNT: usize = 432;
    pub const FSOPEN: usize = 430;
    pub const GETPID: usize = 172;
    pub const GETPPID: usize = 173;
    pub const GETRUSAGE: usize = 165;
    pub const IOCTL: usize = 29;
    pub const KILL: usize = 129;
    pub const LSEEK: usize = 62;
    pub const MKDIRAT: usize = 34;
    pub const MMAP: usize = 222;
    pub const MOUNT: usize = 40;
    pub const MOUNT_SETATTR: usize = 442;
    pub const MOVE_MOUNT: usize = 429;
    pub const MUNMAP: usize = 215;
    pub const OPENAT2: usize = 437;
    pub const OPEN_TREE: usize = 428;
    pub const PIVOT_ROOT: usize = 41;
    pub const PRCTL: usize = 167;
    pub const PRLIMIT64: usize = 261;
    pub const PWRITE64: usize = 68;
    pub const READ: usize = 63;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const SECCOMP: usize = 277;
    pub const SETGROUPS: usize = 159;
    pub const SETHOSTNAME: usize = 161;
    pub const SETNS: usize = 268;
    pub const SETRESGID: usize = 149;
    pub const SETRESUID: usize = 147;
    pub const SETSID: usize = 157;
    pub const SOCKET: usize = 198;
    pub const STATX: usize = 291;
    pub const SYMLINKAT: usize = 36;
    pub const UMASK: usize = 166;
    pub const UMOUNT2: usize = 39;
    pub const UNSHARE: usize = 97;
    pub const WAIT4: usize = 260;
    pub const WRITE: usize = 64;
}

// The kernel enters with the stack pointer at the arguments, which nobody needs.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym crate::init_main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x30, #0", "bl {main}", "brk #1", main = sym crate::init_main);

// What the compiler calls of its own accord. Volatile, or it would take the loops for what they are and call them again.

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: by this function's contract.
        unsafe { to.add(at).write_volatile(byte as u8) };
    }
    to
}

/// # Safety
/// As C's.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: by this function's contract.
        unsafe { to.add(at).write_volatile(from.add(at).read()) };
    }
    to
}

/// Named by the core library's tables for unwinding, which nothing here does.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// A call that failed: its errno.
pub type Errno = i32;

/// # Safety
/// What the call of this number does with these arguments must be sound.
pub(crate) unsafe fn call(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel's calling convention; it changes no other registers, and memory as the caller vouches for.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            in("x5") f, options(nostack));
    }
    if result < 0 { Err(-result as Errno) } else { Ok(result as usize) }
}

/// A call that takes numbers only, or pointers to what lives long enough and is only read.
pub(crate) fn plain<const N: usize>(number: usize, given: [usize; N]) -> Result<usize, Errno> {
    let mut arguments = [0; 6];
    arguments[..N].copy_from_slice(&given);
    // SAFETY: every use in this file is a call that writes to no memory of ours and keeps no pointer.
    unsafe { call(number, arguments) }
}

pub const EINTR: Errno = 4;
pub const ENOEXEC: Errno = 8;
pub const ENOENT: Errno = 2;
pub const EACCES: Errno = 13;
pub const ENODEV: Errno = 19;
pub const ENOTDIR: Errno = 20;
pub const EINVAL: Errno = 22;
pub const ESTALE: Errno = 116;
pub const ESRCH: Errno = 3;
pub const SIGKILL: i32 = 9;
pub const SIGCHLD: i32 = 17;
/// Of `rt_sig*`: 64 signals.
const MASK_BYTES: usize = 8;

pub fn exit(code: i32) -> ! {
    loop {
        let _ = plain(number::EXIT_GROUP, [code as usize]);
    }
}

pub fn set_name(name: &CStr) {
    const PR_SET_NAME: usize = 15;
    let _ = plain(number::PRCTL, [PR_SET_NAME, name.as_ptr() as usize]);
}

/// Orphans of the container become children of this process.
pub fn adopt_orphans() {
    const PR_SET_CHILD_SUBREAPER: usize = 36;
    let _ = plain(number::PRCTL, [PR_SET_CHILD_SUBREAPER, 1]);
}

/// SIGKILL for this process when its parent ends.
pub fn die_with_parent() -> Result<usize, Errno> {
    const PR_SET_PDEATHSIG: usize = 1;
    plain(number::PRCTL, [PR_SET_PDEATHSIG, SIGKILL as usize])
}

pub fn pid() -> usize {
    plain(number::GETPID, []).unwrap_or(0)
}

pub fn parent() -> usize {
    plain(number::GETPPID, []).unwrap_or(0)
}

pub fn set_close_on_exec(fd: i32) -> Result<usize, Errno> {
    const F_SETFD: usize = 2;
    const FD_CLOEXEC: usize = 1;
    plain(number::FCNTL, [fd as usize, F_SETFD, FD_CLOEXEC])
}

pub fn close(fd: i32) {
    let _ = plain(number::CLOSE, [fd as usize]);
}

/// A descriptor's bytes, as a private copy that is made page by page where it is written to.
pub fn map(fd: i32) -> Result<&'static mut [u8], Errno> {
    const SEEK_END: usize = 2;
    const PROT_READ_WRITE: usize = 1 | 2;
    const MAP_PRIVATE: usize = 2;
    let length = plain(number::LSEEK, [fd as usize, 0, SEEK_END])?;
    // SAFETY: the kernel chooses a place where nothing is. The file is sealed: it cannot become shorter than the mapping.
    unsafe {
        let begin = call(number::MMAP, [0, length, PROT_READ_WRITE, MAP_PRIVATE, fd as usize, 0])?;
        Ok(core::slice::from_raw_parts_mut(begin as *mut u8, length))
    }
}

/// # Safety
/// Nothing of it is used any more.
pub unsafe fn unmap(bytes: *mut u8, length: usize) {
    // SAFETY: by this function's contract.
    let _ = unsafe { call(number::MUNMAP, [bytes as usize, length, 0, 0, 0, 0]) };
}

pub fn write(fd: i32, bytes: &[u8]) {
    let _ = plain(number::WRITE, [fd as usize, bytes.as_ptr() as usize, bytes.len()]);
}

/// At the file's begin.
pub fn overwrite(fd: i32, bytes: &[u8]) -> Result<usize, Errno> {
    plain(number::PWRITE64, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0])
}

pub fn setsid() -> Result<usize, Errno> {
    plain(number::SETSID, [])
}

/// A terminal becomes that of the session that this process leads.
pub fn make_controlling(terminal: i32) -> Result<usize, Errno> {
    const TIOCSCTTY: usize = 0x540e;
    plain(number::IOCTL, [terminal as usize, TIOCSCTTY, 0])
}

pub fn umask(mask: usize) {
    let _ = plain(number::UMASK, [mask]);
}

pub fn chdir(path: &CStr) -> Result<usize, Errno> {
    plain(number::CHDIR, [path.as_ptr() as usize])
}

/// `groups`: u32 each.
pub fn setgroups(groups: &[u8]) -> Result<usize, Errno> {
    plain(number::SETGROUPS, [groups.len() / 4, groups.as_ptr() as usize])
}

pub fn setresgid(gid: usize) -> Result<usize, Errno> {
    plain(number::SETRESGID, [gid, gid, gid])
}

pub fn setresuid(uid: usize) -> Result<usize, Errno> {
    plain(number::SETRESUID, [uid, uid, uid])
}

/// Zero in the child, which goes on with a copy of everything.
pub fn fork() -> Result<usize, Errno> {
    // SAFETY: without CLONE_VM and without a stack of its own it is fork(2).
    unsafe { call(number::CLONE, [SIGCHLD as usize, 0, 0, 0, 0, 0]) }
}

pub fn kill(pid: usize, signal: i32) {
    let _ = plain(number::KILL, [pid, signal as usize]);
}

/// Every signal does what it does by default.
pub fn reset_signals() {
    // Zeros are SIG_DFL, no flags and an empty mask on every machine, with room to spare.
    let default = [0_u64; 8];
    for signal in 1..=64 {
        // SIGKILL and SIGSTOP refuse, rightly.
        let _ = plain(number::RT_SIGACTION, [signal, default.as_ptr() as usize, 0, MASK_BYTES]);
    }
}

/// Which signals wait: those whose bit is set.
pub fn block_signals(mask: u64) -> Result<usize, Errno> {
    const SIG_SETMASK: usize = 2;
    plain(number::RT_SIGPROCMASK, [SIG_SETMASK, &raw const mask as usize, 0, MASK_BYTES])
}

/// Waits for a signal that is blocked.
pub fn next_signal() -> Result<i32, Errno> {
    let all = u64::MAX;
    plain(number::RT_SIGTIMEDWAIT, [&raw const all as usize, 0, 0, MASK_BYTES]).map(|signal| signal as i32)
}

/// A child that has ended: its number and its wait status. `None`: none has, or there is none.
pub fn reap() -> Option<(usize, i32)> {
    const WNOHANG: usize = 1;
    const ANY: usize = usize::MAX;
    let mut status = 0_i32;
    // SAFETY: the call writes four bytes into `status`, and nothing where there is a null.
    let pid = unsafe { call(number::WAIT4, [ANY, &raw mut status as usize, WNOHANG, 0, 0, 0]) };
    pid.ok().filter(|pid| *pid > 0).map(|pid| (pid, status))
}

/// Of getrusage(2), its first three figures; the others are room.
#[repr(C)]
#[derive(Default)]
pub struct Usage {
    user: [i64; 2],
    system: [i64; 2],
    rss_peak_kib: i64,
    rest: [i64; 13],
}

impl Usage {
    /// Of all children that were reaped, and theirs.
    pub fn of_children() -> Self {
        const RUSAGE_CHILDREN: usize = usize::MAX;
        let mut usage = Self::default();
        // SAFETY: the call writes `struct rusage`, 144 bytes, which is this one's size.
        let _ = unsafe { call(number::GETRUSAGE, [RUSAGE_CHILDREN, &raw mut usage as usize, 0, 0, 0, 0]) };
        usage
    }

    pub fn user_us(&self) -> u64 {
        (self.user[0] * 1_000_000 + self.user[1]) as u64
    }

    pub fn system_us(&self) -> u64 {
        (self.system[0] * 1_000_000 + self.system[1]) as u64
    }

    pub fn rss_peak_bytes(&self) -> u64 {
        self.rss_peak_kib as u64 * 1024
    }
}

/// The wall clock, µs since 1970.
pub fn unix_us() -> u64 {
    let mut time = [0_i64; 2];
    // SAFETY: the call writes a `struct timespec`, two words. Clock zero is CLOCK_REALTIME.
    let _ = unsafe { call(number::CLOCK_GETTIME, [0, &raw mut time as usize, 0, 0, 0, 0]) };
    (time[0] * 1_000_000 + time[1] / 1000) as u64
}

/// Returns only if it fails.
///
/// # Safety
/// The first is a text that ends with a NUL, the others arrays of such texts that end with a null.
pub unsafe fn execve(program: *const u8, args: *const *const u8, env: *const *const u8) -> Errno {
    // SAFETY: by this function's contract.
    match unsafe { call(number::EXECVE, [program as usize, args as usize, env as usize, 0, 0, 0]) } {
        Ok(_) => 0,
        Err(errno) => errno,
    }
}
