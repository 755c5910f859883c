//! Memory that the process has freed and its allocator still keeps.
#![expect(unsafe_code, reason = "neither the language nor nix has a name for malloc_trim(3)")]

/// Gives what is free back to the kernel, holes among what is in use included. Some milliseconds for a hundred megabytes.
pub(crate) fn give_back() {
    // SAFETY: may be called at any time by any thread, takes no pointer, and moves nothing.
    unsafe { libc::malloc_trim(0) };
}
