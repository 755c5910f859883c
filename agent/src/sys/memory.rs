//! How the C library's allocator keeps the process's memory.
#![expect(unsafe_code, reason = "neither the language nor nix has a name for mallopt(3) and malloc_trim(3)")]

/// Has all threads allocate from one place. One thread does nearly all the work; what another allocates for it (the launcher
/// what a container keeps) would lie scattered over a place of its own. Before there are threads.
pub(crate) fn use_one_arena() {
    // SAFETY: takes two numbers; nothing else runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives what is free back to the kernel, holes among what is in use included. Some milliseconds for a hundred megabytes.
pub(crate) fn give_back() {
    // SAFETY: may be called at any time by any thread, takes no pointer, and moves nothing.
    unsafe { libc::malloc_trim(0) };
}
