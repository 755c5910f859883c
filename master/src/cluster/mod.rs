//! CORE: what the master knows, and what follows from what it hears. No socket, encoding, clock or thread.

pub mod counters;
pub mod executors;
pub mod offers;
pub mod snapshot;
pub mod tasks;
