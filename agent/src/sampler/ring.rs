//! One submission reads any number of held files: raw io_uring.
//!
//! Files of cgroupfs cannot be read without blocking (the kernel takes locks and sums over CPUs), so the kernel hands such
//! reads to its own workers. The submitting thread pays for one system call and goes on; the ring's descriptor wakes it
//! when answers are there.
#![expect(
    unsafe_code,
    reason = "the kernel writes into buffers that only this file's discipline keeps alive"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, types};
use tokio::io::Interest;

use super::plain;
use crate::sys::watch::Watch;

/// What one read brings. `memory.stat`, the longest but for `cgroup.procs`, has about 2,000 bytes; what is longer than
/// this is read to its end in the plain way.
const BUFFER_BYTES: usize = 4096;
const ENTRIES_MIN: u32 = 64;
/// The kernel's own bound; more files take a second submission.
const ENTRIES_MAX: u32 = 32_768;

type Buffer = Box<[u8; BUFFER_BYTES]>;

/// A ring and the buffers that the kernel may write to.
pub(super) struct Ring {
    uring: IoUring,
    watch: Watch,
    /// Neither grows nor is read while the kernel may write to it: while `unanswered` is above zero.
    buffers: Vec<Buffer>,
    results: Vec<i32>,
    unanswered: usize,
}

impl Ring {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        Self::sized(ENTRIES_MIN)
    }

    fn sized(entries: u32) -> io::Result<Self> {
        let uring = IoUring::builder().dontfork().build(entries)?;
        // One worker reads them all in turn. The kernel would start four for each CPU, which then meet at the same locks.
        // Before 5.15 it cannot be told, and does that.
        let _ = uring.submitter().register_iowq_max_workers(&mut [1, 1]);
        // SAFETY: the descriptor is the ring's, open for as long as the ring; it is borrowed to be duplicated, here and now.
        let fd = unsafe { BorrowedFd::borrow_raw(uring.as_raw_fd()) }.try_clone_to_owned()?;
        let watch = Watch::new(fd, Interest::READABLE)?;
        Ok(Self { uring, watch, buffers: Vec::new(), results: Vec::new(), unanswered: 0 })
    }

    /// Reads each file from its start. A file that cannot be read (its cgroup is gone) has an error in its place.
    /// An error of the whole is one of the ring.
    pub(super) async fn read_all(&mut self, files: &[&File]) -> io::Result<Vec<io::Result<Vec<u8>>>> {
        // Of a call whose future was dropped.
        self.settle()?;
        self.grow(files.len())?;
        let mut texts = Vec::with_capacity(files.len());
        for batch in files.chunks(ENTRIES_MAX as usize) {
            self.submit(batch)?;
            while self.unanswered > 0 {
                self.take_answers();
                if self.unanswered > 0 {
                    self.watch.event().await?;
                }
            }
            texts.extend(batch.iter().enumerate().map(|(index, file)| self.text(index, file)));
        }
        Ok(texts)
    }

    fn text(&self, index: usize, file: &File) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.results[index])
            .map_err(|_| io::Error::from_raw_os_error(-self.results[index]))?;
        let mut text = self.buffers[index][..length].to_vec();
        if length == BUFFER_BYTES {
            plain::read_from(file, length as u64, &mut text)?;
        }
        Ok(text)
    }

    /// Makes room for so many reads in one submission.
    fn grow(&mut self, reads: usize) -> io::Result<()> {
        let wanted = u32::try_from(reads).unwrap_or(ENTRIES_MAX).clamp(ENTRIES_MIN, ENTRIES_MAX);
        if self.uring.params().sq_entries() < wanted {
            let buffers = std::mem::take(&mut self.buffers);
            *self = Self::sized(wanted.next_power_of_two())?;
            self.buffers = buffers;
        }
        let buffers = reads.min(ENTRIES_MAX as usize);
        if self.buffers.len() < buffers {
            self.buffers.resize_with(buffers, || Box::new([0; BUFFER_BYTES]));
        }
        Ok(())
    }

    fn submit(&mut self, files: &[&File]) -> io::Result<()> {
        assert_eq!(self.unanswered, 0, "a buffer is used by one read at a time");
        self.results.clear();
        self.results.resize(files.len(), 0);
        let mut queue = self.uring.submission();
        for (index, (file, buffer)) in files.iter().zip(&mut self.buffers).enumerate() {
            let fd = types::Fd(file.as_fd().as_raw_fd());
            let read = opcode::Read::new(fd, buffer.as_mut_ptr(), BUFFER_BYTES as u32)
                .build()
                .user_data(index as u64);
            // SAFETY: the buffer is a heap block of that many bytes which stays where it is, unread and unwritten by us, until
            // the answer is taken: `read_all` and `drop` settle before they let `buffers` grow or go. Should the file be closed
            // before the kernel takes the entry, it reads another or none; that text is never looked at.
            unsafe { queue.push(&read) }.expect("`grow` made room for a whole batch");
            // Counted from here on: what is in the queue may be taken by any later call on this ring.
            self.unanswered += 1;
        }
        drop(queue);
        loop {
            match self.uring.submit() {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ if self.uring.submission().is_empty() => return Ok(()),
                _ => {}
            }
        }
    }

    fn take_answers(&mut self) {
        for answer in self.uring.completion() {
            self.results[answer.user_data() as usize] = answer.result();
            self.unanswered -= 1;
        }
    }

    /// Waits until the kernel has answered everything. Blocks, for as long as the reads of one `read_all` take.
    fn settle(&mut self) -> io::Result<()> {
        while self.unanswered > 0 {
            self.uring.submit_and_wait(1)?;
            self.take_answers();
        }
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.settle().is_err() {
            // The kernel may still write to them.
            std::mem::forget(std::mem::take(&mut self.buffers));
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("unanswered", &self.unanswered).finish_non_exhaustive()
    }
}
