//! The programs that hold containers to limits for which cgroups have no files. Apart from those that measure (`../main.rs`):
//! they need no field of the kernel and no bpffs, hold where nothing is measured, and stay as they are while the others
//! change. Each is attached to a container's own directory by `BPF_PROG_ATTACH`, stays there while no agent runs, and goes
//! with the directory.

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
#[path = "../atomic.rs"]
#[expect(dead_code, reason = "the programs that measure use the rest")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod devices;
#[cfg(target_arch = "bpf")]
mod egress;

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
