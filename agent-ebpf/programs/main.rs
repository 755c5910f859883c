//! The programs that run in the kernel, one file a concern; `cargo xtask ebpf` builds them into `object/`. Only the BPF
//! target has them: on any other this is an empty program.
//!
//! Rules here: a program leaves at its first look-up when the event is nobody's we know; nothing allocates on a hot path;
//! counters are per CPU and written without locks; every loop has a bound the verifier can see.
//!
//! The programs declare themselves GPL to the kernel, which reserves some helpers for such programs; they are offered
//! under GPL-2.0-only as well as under the licence of the workspace.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    feature(asm_experimental_arch),
    expect(
        unsafe_code,
        reason = "a BPF program reads kernel memory by pointer; the kernel's verifier, not rustc, proves each access"
    )
)]

#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod cpu;
#[cfg(target_arch = "bpf")]
mod io;
#[cfg(target_arch = "bpf")]
mod life;
#[cfg(target_arch = "bpf")]
mod memory;
#[cfg(target_arch = "bpf")]
mod net;
#[cfg(target_arch = "bpf")]
mod offset;
#[cfg(target_arch = "bpf")]
mod probe;
#[cfg(target_arch = "bpf")]
mod task;
#[cfg(target_arch = "bpf")]
mod tcp;
#[cfg(target_arch = "bpf")]
mod waits;

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here panics; if a change makes something panic, the endless loop makes the verifier refuse the program.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
