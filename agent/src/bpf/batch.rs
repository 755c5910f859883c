//! Many entries of a hash map by one system call (`BPF_MAP_LOOKUP_BATCH`, 5.6), which aya does not have. Knows words, not
//! records.
#![expect(unsafe_code, reason = "aya has no wrapper for the batch commands of bpf(2)")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `BPF_MAP_LOOKUP_BATCH` of include/uapi/linux/bpf.h.
const MAP_LOOKUP_BATCH: libc::c_int = 24;
/// How much is asked for at once, and the fewest entries: the kernel hands out whole buckets, which hold one or two.
const BYTES: usize = 256 * 1024;
const ENTRIES_MIN: usize = 64;

/// The part of `union bpf_attr` that the batch commands read.
#[repr(C)]
struct Attr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Buffers, kept from one reading to the next.
#[derive(Default)]
pub(super) struct Batch {
    keys: Vec<u64>,
    values: Vec<u64>,
}

impl Batch {
    /// Hands over every entry of a hash map whose keys and values are so many words (of a per-CPU map: those of all CPUs).
    /// An entry that comes or goes meanwhile may be among them or not; no other is missed or comes twice.
    ///
    /// # Errors
    /// The system call that failed.
    pub(super) fn each(
        &mut self,
        map: BorrowedFd<'_>,
        key_words: usize,
        value_words: usize,
        mut sink: impl FnMut(&[u64], &[u64]),
    ) -> io::Result<()> {
        let mut room = (BYTES / (8 * (key_words + value_words))).max(ENTRIES_MIN);
        // The kernel's own note of where it is.
        let mut place = [0_u64; 2];
        let mut begun = false;
        loop {
            self.keys.resize(room * key_words, 0);
            self.values.resize(room * value_words, 0);
            let place_at = &raw mut place as u64;
            let mut attr = Attr {
                in_batch: if begun { place_at } else { 0 },
                out_batch: place_at,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: u32::try_from(room).expect("a few thousand"),
                map_fd: map.as_raw_fd().cast_unsigned(),
                elem_flags: 0,
                flags: 0,
            };
            // SAFETY: the kernel reads `attr`, of which it is told the size, and writes `count` into it. It writes at most
            // `room` keys and values of the map's sizes, which the caller vouches for, into buffers that hold as many, and
            // a note of four bytes into `place`, which is longer.
            let done =
                unsafe { libc::syscall(libc::SYS_bpf, MAP_LOOKUP_BATCH, &raw mut attr, size_of::<Attr>()) };
            let error = (done < 0).then(io::Error::last_os_error);
            match error.as_ref().and_then(io::Error::raw_os_error) {
                // No more after these.
                None | Some(libc::ENOENT) => {}
                // A bucket holds more than there is room for.
                Some(libc::ENOSPC) => {
                    room *= 2;
                    continue;
                }
                Some(libc::EINTR) => continue,
                Some(_) => return Err(error.expect("it has a number")),
            }
            let count = attr.count as usize;
            let entries = self.keys.chunks_exact(key_words).zip(self.values.chunks_exact(value_words));
            entries.take(count).for_each(|(key, value)| sink(key, value));
            if error.is_some() {
                return Ok(());
            }
            begun = true;
        }
    }
}
