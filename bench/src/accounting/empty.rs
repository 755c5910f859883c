//! Programs that do nothing, where the agent's run: what the kernel's statistics say of them is the measuring itself.
//! By raw calls of bpf(2), since no crate but the agent's knows how to load one.
#![expect(unsafe_code, reason = "bpf(2) takes a struct of pointers")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::Context;

// linux/bpf.h
const BPF_PROG_LOAD: i64 = 5;
const BPF_RAW_TRACEPOINT_OPEN: i64 = 17;
const BPF_LINK_CREATE: i64 = 28;
const BPF_PROG_TYPE_CGROUP_SKB: u32 = 8;
const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const BPF_CGROUP_INET_EGRESS: u32 = 1;

/// `bpf_attr` of BPF_PROG_LOAD, up to the field that is needed last.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct RawTracepoint {
    name: u64,
    program: u32,
    padding: u32,
}

#[repr(C)]
struct Link {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// An attached program; dropping it detaches it.
pub(super) struct Empty {
    program: OwnedFd,
    _link: OwnedFd,
}

impl Empty {
    pub(super) fn on_switch() -> anyhow::Result<Self> {
        let program = load(BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0)?;
        let name = c"sched_switch";
        let attributes = RawTracepoint {
            name: name.as_ptr() as u64,
            program: program.as_raw_fd().cast_unsigned(),
            padding: 0,
        };
        // SAFETY: `name` outlives the call.
        let link = unsafe { bpf(BPF_RAW_TRACEPOINT_OPEN, &attributes) }.context("attach an empty program")?;
        Ok(Self { program, _link: link })
    }

    /// On packets that leave sockets of a cgroup.
    pub(super) fn on_egress(cgroup: &Path) -> anyhow::Result<Self> {
        let program = load(BPF_PROG_TYPE_CGROUP_SKB, 1, BPF_CGROUP_INET_EGRESS)?;
        let directory = File::open(cgroup)?;
        let attributes = Link {
            program: program.as_raw_fd().cast_unsigned(),
            target: directory.as_raw_fd().cast_unsigned(),
            attach_type: BPF_CGROUP_INET_EGRESS,
            flags: 0,
        };
        // SAFETY: no pointers in it.
        let link = unsafe { bpf(BPF_LINK_CREATE, &attributes) }.context("attach an empty program")?;
        Ok(Self { program, _link: link })
    }

    /// Runs and nanoseconds so far, of what the kernel has timed.
    pub(super) fn cost(&self) -> anyhow::Result<(u64, u64)> {
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.program.as_raw_fd()))?;
        let field = |name: &str| -> anyhow::Result<u64> {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            Ok(value.with_context(|| format!("fdinfo without {name}"))?.trim().parse()?)
        };
        Ok((field("run_cnt")?, field("run_time_ns")?))
    }
}

/// A program that returns a number at once.
fn load(kind: u32, result: u8, expected_attach_type: u32) -> anyhow::Result<OwnedFd> {
    let instructions: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, result, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let license = c"GPL";
    let attributes = Load {
        kind,
        instruction_count: 2,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        name: *b"ingot_empty\0\0\0\0\0",
        expected_attach_type,
        ..Load::default()
    };
    // SAFETY: instructions and licence outlive the call.
    unsafe { bpf(BPF_PROG_LOAD, &attributes) }.context("load an empty program")
}

/// # Safety
/// The command makes a descriptor, `T` is its part of `bpf_attr`, and what it points to is there.
unsafe fn bpf<T>(command: i64, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: by this function's contract; the kernel reads no more than the size it is given, and a result >= 0 is a fresh
    // descriptor that nobody else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>());
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd as i32)) }
    }
}
