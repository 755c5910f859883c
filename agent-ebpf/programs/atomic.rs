//! Atomic read-modify-writes on map values (Linux 5.12, x86-64 and arm64 JITs). rustc declares the BPF target without
//! atomics, so these are the instructions themselves; they order fully except [`add`], which orders nothing.

use core::arch::asm;

use agent_ebpf::Histogram;

/// `*at += value`, for counters that an interrupt or another task may also raise on this CPU.
///
/// # Safety
/// `at` points into a map value or a task's storage.
#[inline(always)]
pub(crate) unsafe fn add(at: *mut u64, value: u64) {
    // SAFETY: the caller says where `at` points; the verifier checks it.
    unsafe { asm!("lock *(u64 *)({at} + 0) += {value}", at = in(reg) at, value = in(reg) value) };
}

/// `*at += value`; gives what was there before.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn fetch_add(at: *mut u64, value: u64) -> u64 {
    let mut old = value;
    // SAFETY: as in `add`.
    unsafe {
        asm!("{old} = atomic_fetch_add((u64 *)({at} + 0), {old})", at = in(reg) at, old = inout(reg) old)
    };
    old
}

/// Takes a duration into a histogram.
///
/// # Safety
/// `histogram` is a field of a map value.
#[inline(always)]
pub(crate) unsafe fn record(histogram: *mut Histogram, ns: u64) {
    let mut bucket = Histogram::bucket(ns);
    // rustc knows that it is one of the buckets and would leave the proof away, but the verifier has forgotten. (An
    // instruction, because line information for an empty `asm!` is refused.)
    // SAFETY: changes nothing; there are fewer than 32.
    unsafe { asm!("{bucket} &= 31", bucket = inout(reg) bucket, options(nomem, nostack)) };
    if bucket < Histogram::BUCKETS {
        // SAFETY: as the caller says; the bucket is one of them.
        unsafe {
            add((&raw mut (*histogram).buckets).cast::<u64>().add(bucket), 1);
            add(&raw mut (*histogram).sum_ns, ns);
        }
    }
}

/// Puts `value` there and gives what was there before.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn exchange(at: *mut u64, value: u64) -> u64 {
    let mut old = value;
    // SAFETY: as in `add`.
    unsafe { asm!("{old} = xchg_64({at} + 0, {old})", at = in(reg) at, old = inout(reg) old) };
    old
}

/// Raises `*at` to `value` if it is lower.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn raise(at: *mut u64, value: u64) {
    // Four turns at most: a turn is lost only to another CPU that has just raised it too. Should all four be lost, the
    // next change of the sum tries again, and the reader takes the larger of peak and present.
    for _ in 0..4 {
        // SAFETY: as in `add`; a stale value only costs a turn.
        let seen = unsafe { core::ptr::read_volatile(at) };
        if seen >= value {
            return;
        }
        let found: u64;
        // SAFETY: as in `add`.
        unsafe {
            asm!(
                "r0 = cmpxchg_64({at} + 0, r0, {value})",
                at = in(reg) at,
                value = in(reg) value,
                inout("r0") seen => found,
            );
        }
        if found == seen {
            return;
        }
    }
}
