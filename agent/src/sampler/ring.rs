//! One submission reads a window full of held files: raw io_uring.
//!
//! Files are held in the ring's own table of descriptors: they take none of the process's, and the kernel need not look
//! them up and count them at each read. All reads share one arena, a window at a time; what a window brought is taken before
//! the next is submitted. Small windows keep the arena in the processor's cache, and memory per file at nothing.
//!
//! The kernel reads at once, within the submission, if it may take the file for one that does not block. Files of cgroupfs
//! and `/proc` are such since Linux 6.x, for they can be polled. Older kernels hand each read to a worker thread, which
//! costs three times what it saves: [`Ring::new`] finds out, and refuses (docs/decisions/031).
#![expect(
    unsafe_code,
    reason = "the kernel writes into an arena that only this file's discipline keeps alive"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, types};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::Interest;

use super::engine::Request;
use crate::sys::watch::Watch;

/// Reads in one window.
const WINDOW: usize = 64;
/// Room for what a window brings.
const ARENA_BYTES: usize = 64 * 1024;
/// Files that can be held, if the process may have as many; the kernel's own bound before 5.19. Eight bytes each.
const HELD_MAX: u32 = 32_768;

/// A ring, its table of files, and the arena that the kernel may write to.
pub(super) struct Ring {
    uring: IoUring,
    watch: Watch,
    /// Is neither moved nor read while the kernel may write to it: while `unanswered` is above zero.
    arena: Box<[u8]>,
    results: [i32; WINDOW],
    unanswered: usize,
    /// Places in the table that were used and are free again.
    free: Vec<u32>,
    /// Places from here on were never used.
    fresh: u32,
    held_max: u32,
}

impl Ring {
    /// # Errors
    /// io_uring may not be used, is older than 5.19, or would hand each read to a worker thread.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new() -> io::Result<Self> {
        let mut ring = Self::unproved()?;
        let place = ring.hold(&File::open("/proc/loadavg")?)?;
        ring.submit(&[Request { place, room: super::engine::Room::Line }], 0)?;
        ring.take_answers();
        let reads_at_once = ring.unanswered == 0;
        ring.settle()?;
        ring.release(place);
        if reads_at_once {
            Ok(ring)
        } else {
            Err(io::Error::other("this kernel reads them by worker threads"))
        }
    }

    fn unproved() -> io::Result<Self> {
        let uring = IoUring::builder().dontfork().build(WINDOW as u32)?;
        let held_max = register_table(&uring)?;
        // Should it need workers after all, one reads them all in turn. Before 5.15 it cannot be told.
        let _ = uring.submitter().register_iowq_max_workers(&mut [1, 1]);
        // SAFETY: the descriptor is the ring's, open for as long as the ring; it is borrowed to be duplicated, here and now.
        let fd = unsafe { BorrowedFd::borrow_raw(uring.as_raw_fd()) }.try_clone_to_owned()?;
        let watch = Watch::new(fd, Interest::READABLE)?;
        let arena = vec![0; ARENA_BYTES].into_boxed_slice();
        let (results, unanswered) = ([0; WINDOW], 0);
        Ok(Self { uring, watch, arena, results, unanswered, free: Vec::new(), fresh: 0, held_max })
    }

    /// Takes a file into the table, where it stays open until it is released. The caller's descriptor may be closed.
    ///
    /// # Errors
    /// The table is full, or the kernel refuses.
    pub(super) fn hold(&mut self, file: &File) -> io::Result<u32> {
        self.settle()?;
        let place = self.free.last().copied().unwrap_or(self.fresh);
        if place == self.held_max {
            return Err(io::Error::from(io::ErrorKind::QuotaExceeded));
        }
        self.uring.submitter().register_files_update(place, &[file.as_raw_fd()])?;
        if self.free.pop().is_none() {
            self.fresh += 1;
        }
        Ok(place)
    }

    pub(super) fn release(&mut self, place: u32) {
        // A place that cannot be emptied is not used again; its file stays open.
        if self.settle().is_ok() && self.uring.submitter().register_files_update(place, &[-1]).is_ok() {
            self.free.push(place);
        }
    }

    /// Reads each file from its start and shows the text, with the request's index, or the error that stands in its place
    /// (its cgroup is gone). Texts that do not fit their room come last.
    ///
    /// # Errors
    /// Of the ring itself.
    pub(super) async fn read(
        &mut self,
        requests: &[Request],
        mut see: impl FnMut(usize, io::Result<&[u8]>),
    ) -> io::Result<()> {
        // Of a call whose future was dropped.
        self.settle()?;
        let mut long = Vec::new();
        let mut first = 0;
        while first < requests.len() {
            let count = self.submit(&requests[first..], 0)?;
            self.answers().await?;
            let mut at = 0;
            for (index, request) in (first..).zip(&requests[first..first + count]) {
                match self.result(index - first) {
                    Ok(length) if request.room.may_go_on(length) => {
                        long.push((index, self.arena[at..at + length].to_vec()));
                    }
                    Ok(length) => see(index, Ok(&self.arena[at..at + length])),
                    Err(error) => see(index, Err(error)),
                }
                at += request.room.bytes();
            }
            first += count;
            // A window takes the kernel a tenth of a millisecond. Others are waiting.
            tokio::task::yield_now().await;
        }
        for (index, mut text) in long {
            let rest = self.read_on(requests[index], &mut text).await?;
            see(index, rest.map(|()| text.as_slice()));
        }
        Ok(())
    }

    /// The rest of a text whose beginning is known.
    async fn read_on(&mut self, request: Request, text: &mut Vec<u8>) -> io::Result<io::Result<()>> {
        loop {
            self.submit(&[request], text.len() as u64)?;
            self.answers().await?;
            match self.result(0) {
                Ok(0) => return Ok(Ok(())),
                Ok(length) => text.extend_from_slice(&self.arena[..length]),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    fn result(&self, index: usize) -> io::Result<usize> {
        let result = self.results[index];
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    /// Submits as many as make a window, and says how many.
    fn submit(&mut self, requests: &[Request], offset: u64) -> io::Result<usize> {
        assert_eq!(self.unanswered, 0, "the arena is used by one window at a time");
        let mut queue = self.uring.submission();
        let mut at = 0;
        let mut count = 0;
        for request in requests.iter().take(WINDOW) {
            let Some(room) = self.arena.get_mut(at..at + request.room.bytes()) else { break };
            let length = u32::try_from(room.len()).expect("no more than a page");
            let read = opcode::Read::new(types::Fixed(request.place), room.as_mut_ptr(), length)
                .offset(offset)
                .build()
                .user_data(count as u64);
            // SAFETY: the room lies in the arena, a heap block that stays where it is, unread and unwritten by us, until the
            // answer is taken: `read` and `drop` settle before the arena is used again or goes. The table keeps the file open,
            // and `release` settles before a place changes hands.
            unsafe { queue.push(&read) }.expect("the queue is as long as a window");
            // Counted from here on: what is in the queue may be taken by any later call on this ring.
            self.unanswered += 1;
            at += length as usize;
            count += 1;
        }
        drop(queue);
        loop {
            match self.uring.submit() {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ if self.uring.submission().is_empty() => return Ok(count),
                _ => {}
            }
        }
    }

    async fn answers(&mut self) -> io::Result<()> {
        loop {
            self.take_answers();
            if self.unanswered == 0 {
                return Ok(());
            }
            self.watch.event().await?;
        }
    }

    fn take_answers(&mut self) {
        for answer in self.uring.completion() {
            self.results[answer.user_data() as usize] = answer.result();
            self.unanswered -= 1;
        }
    }

    /// Waits until the kernel has answered everything. Blocks, for as long as the reads of one window take.
    fn settle(&mut self) -> io::Result<()> {
        while self.unanswered > 0 {
            self.uring.submit_and_wait(1)?;
            self.take_answers();
        }
        Ok(())
    }
}

/// Makes a ring's table of files and says how many it holds. The kernel wants the process to be allowed as many open files
/// as the table has places, though none of them becomes one; what the process may is raised for this one call, so that what
/// it starts is held to what it was.
fn register_table(uring: &IoUring) -> io::Result<u32> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let places = u64::from(HELD_MAX).min(hard);
    if soft < places {
        setrlimit(Resource::RLIMIT_NOFILE, places, hard)?;
    }
    let places = u32::try_from(places).expect("no more than HELD_MAX");
    let done = uring.submitter().register_files_sparse(places);
    if soft < u64::from(places) {
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    }
    done.map(|()| places)
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.settle().is_err() {
            // The kernel may still write to it.
            std::mem::forget(std::mem::take(&mut self.arena));
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("unanswered", &self.unanswered).finish_non_exhaustive()
    }
}
