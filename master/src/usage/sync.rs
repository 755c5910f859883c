//! Atomics, as `version.rs` and `place.rs` use them; their loom test brings its own.

pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
pub(super) use std::thread::yield_now;
