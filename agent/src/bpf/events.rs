//! Beginnings and ends of processes, as the kernel reports them: the reading side of the ring buffer and the thread that
//! drains it. What an event means to the agent is decided elsewhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use agent_ebpf::Event;
use aya::maps::{MapData, RingBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// How long events that wake nobody may wait. Those of processes that were killed, and many at once, wake.
const WAIT_MAX_MS: u16 = 1000;

/// The ring buffer, taken out of a [`Bpf`](super::Bpf) once. Readable (poll, epoll) when there are events.
pub struct Events {
    ring: RingBuf<MapData>,
    /// Records that were not what the programs write. Not 0 only if object and agent do not belong together.
    pub malformed_count: u64,
}

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, malformed_count: 0 }
    }

    /// Hands over every event that is there now, oldest first. Never waits.
    pub fn drain(&mut self, mut sink: impl FnMut(Event)) {
        while let Some(record) = self.ring.next() {
            match Event::from_bytes(&record) {
                Some(event) => sink(event),
                None => self.malformed_count += 1,
            }
        }
    }

    /// Moves the draining to a thread of its own, `bpf-events`, which calls `sink` for each event: at once for violent
    /// ends, within a second for others. The thread ends, after a last drain, when the returned value is dropped.
    ///
    /// # Errors
    /// The system has no descriptor or no thread left.
    pub fn spawn(mut self, mut sink: impl FnMut(Event) + Send + 'static) -> io::Result<Drain> {
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let stopped: OwnedFd = stop.as_fd().try_clone_to_owned()?;
        let body = move || loop {
            let mut waited = [
                PollFd::new(self.as_fd(), PollFlags::POLLIN),
                PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
            ];
            // A signal may cut the wait short; then there is nothing to drain, which does no harm.
            let _ = poll(&mut waited, PollTimeout::from(WAIT_MAX_MS));
            let done = waited[1].any().unwrap_or(true);
            self.drain(&mut sink);
            if done {
                return;
            }
        };
        let thread = std::thread::Builder::new().name("bpf-events".into()).spawn(body)?;
        Ok(Drain { stop, thread: Some(thread) })
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The draining thread; dropping it ends the thread.
pub struct Drain {
    stop: EventFd,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Drain {
    fn drop(&mut self) {
        // The descriptor counts to 2^64 - 2; one more always fits.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // A panic of the sink has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}
