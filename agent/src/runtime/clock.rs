//! The agent's clocks; nobody else in it reads them.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place where the agent's core gets its time from"
)]

use model::time::{Now, Time, UnixTime};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        Now { time: Time(nanoseconds(self.start.elapsed())), unix: wall() }
    }

    pub(crate) async fn sleep_until(&self, at: Time) {
        tokio::time::sleep_until((self.start + Duration::from_nanos(at.0)).into()).await;
    }
}

/// Before 1970 it is 1970.
pub(crate) fn wall() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

fn nanoseconds(time: Duration) -> u64 {
    // 584 years of running.
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
