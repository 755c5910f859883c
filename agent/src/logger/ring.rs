//! All waiting and moving of the logger: raw io_uring. One submission arms any number of streams, each by two linked
//! requests: wait until the pipe has something, then splice it into the file.
//!
//! No request names memory of ours, only descriptors. Splices run on the kernel's worker threads, of which four are allowed
//! for all streams together: a flooding task shares them with the others, a chunk of a pipe's size in its turn.
#![expect(
    unsafe_code,
    reason = "a request is made of a descriptor's number, and who made it keeps the descriptor open"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};

/// Requests submitted at a time.
const ENTRIES: u32 = 256;
const WORKERS_MAX: u32 = 4;
/// splice(2): SPLICE_F_MOVE is a hint; not to wait is not one.
const SPLICE_F_NONBLOCK: u32 = 2;

/// What a request was about: the number of its stream, or of its source.
const KIND_SPLICE: u64 = 0;
const KIND_READABLE: u64 = 1;
const KIND_IGNORED: u64 = 2;

/// Something that was asked for is over.
#[derive(Debug)]
pub(super) enum Done {
    /// So many bytes went from a stream's pipe into its file. Zero: the pipe has no writer any more, and is empty.
    Spliced { stream: u32, result: io::Result<u64> },
    /// There is something to be read, or the end.
    Readable { source: u32 },
}

pub(super) struct Ring {
    uring: IoUring,
}

impl Ring {
    pub(super) fn new() -> io::Result<Self> {
        let uring = IoUring::builder().dontfork().build(ENTRIES)?;
        // Before Linux 5.15 it cannot be told, and is decided by the number of processors.
        let _ = uring.submitter().register_iowq_max_workers(&mut [WORKERS_MAX, WORKERS_MAX]);
        Ok(Self { uring })
    }

    /// Moves what is in the pipe into the file, at most `length`, when there is something; at once if `is_ready`.
    ///
    /// Both descriptors must stay open until the stream's *Spliced* is there, and there may be one such request a stream.
    pub(super) fn splice(
        &mut self,
        stream: u32,
        pipe: BorrowedFd<'_>,
        (file, offset): (BorrowedFd<'_>, u64),
        length: u64,
        is_ready: bool,
    ) -> io::Result<()> {
        let pipe = pipe.as_raw_fd();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let offset = i64::try_from(offset).map_err(io::Error::other)?;
        let splice = opcode::Splice::new(types::Fd(pipe), -1, types::Fd(file.as_raw_fd()), offset, length)
            .flags(SPLICE_F_NONBLOCK)
            .build()
            .user_data(tag(KIND_SPLICE, stream));
        if is_ready {
            return self.push(&[splice]);
        }
        let wait = opcode::PollAdd::new(types::Fd(pipe), libc::POLLIN as u32)
            .build()
            .flags(Flags::IO_LINK)
            .user_data(tag(KIND_IGNORED, stream));
        self.push(&[wait, splice])
    }

    /// Says once when there is something to be read.
    pub(super) fn watch(&mut self, source: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
        let wait = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), libc::POLLIN as u32)
            .build()
            .user_data(tag(KIND_READABLE, source));
        self.push(&[wait])
    }

    fn push(&mut self, entries: &[Entry]) -> io::Result<()> {
        loop {
            // SAFETY: the requests name descriptors and numbers, no memory. The caller keeps the descriptors open until
            // they are answered, so that their numbers mean nothing else; were that broken, bytes would go into a wrong
            // file, and no memory be touched.
            if unsafe { self.uring.submission().push_multiple(entries) }.is_ok() {
                return Ok(());
            }
            self.submit(0, None)?;
        }
    }

    /// Submits what was asked for and returns when something is over, or the time is.
    pub(super) fn wait(&mut self, at_most: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        self.submit(1, at_most)?;
        for answer in self.uring.completion() {
            let number = answer.user_data() as u32;
            match answer.user_data() >> 32 {
                KIND_SPLICE => {
                    let result = u64::try_from(answer.result())
                        .map_err(|_| io::Error::from_raw_os_error(-answer.result()));
                    done.push(Done::Spliced { stream: number, result });
                }
                KIND_READABLE => done.push(Done::Readable { source: number }),
                _ => {}
            }
        }
        Ok(())
    }

    fn submit(&mut self, wanted: usize, at_most: Option<Duration>) -> io::Result<()> {
        let submitted = match at_most {
            None => self.uring.submitter().submit_and_wait(wanted),
            Some(at_most) => {
                let time = types::Timespec::from(at_most);
                let args = types::SubmitArgs::new().timespec(&time);
                self.uring.submitter().submit_with_args(wanted, &args)
            }
        };
        match submitted {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME | libc::EBUSY)) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

fn tag(kind: u64, number: u32) -> u64 {
    kind << 32 | u64::from(number)
}
