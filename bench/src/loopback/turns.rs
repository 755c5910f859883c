//! Who can be read now, and when it is time: one epoll for all sockets of the bench.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::clock;

/// The timer's own number.
const TIMER: u64 = u64::MAX;

/// Taken from the kernel at once.
const EVENTS_MAX: usize = 1_024;

/// While nothing is due, the longest wait.
const WAIT_MS: u16 = 100;

pub(crate) struct Turns {
    epoll: Epoll,
    /// Wakes to the microsecond; the epoll's own time-out only does to the millisecond.
    timer: TimerFd,
    events: Vec<EpollEvent>,
}

impl Turns {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self { epoll, timer, events: vec![EpollEvent::empty(); EVENTS_MAX] })
    }

    /// From now on `stream` is told under that number whenever it can be read.
    pub(crate) fn add(&self, stream: impl AsFd, number: u64) -> anyhow::Result<()> {
        Ok(self.epoll.add(stream, EpollEvent::new(EpollFlags::EPOLLIN, number))?)
    }

    /// Waits for what can be read, or until `due`. Tells the numbers.
    pub(crate) fn next(&mut self, due: Option<Instant>, ready: &mut Vec<u64>) -> anyhow::Result<()> {
        ready.clear();
        let wait = due.map(|due| due.saturating_duration_since(clock::now()));
        let timeout = match wait {
            Some(Duration::ZERO) => EpollTimeout::ZERO,
            Some(wait) => {
                self.timer.set(Expiration::OneShot(wait.into()), TimerSetTimeFlags::empty())?;
                EpollTimeout::from(WAIT_MS)
            }
            None => EpollTimeout::from(WAIT_MS),
        };
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Err(nix::Error::EINTR) => 0,
            other => other?,
        };
        for event in &self.events[..count] {
            match event.data() {
                // Only read to be quiet again; it may have been set anew meanwhile.
                TIMER => _ = self.timer.wait(),
                number => ready.push(number),
            }
        }
        Ok(())
    }
}
