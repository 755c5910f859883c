//! Who is offered what. One thread decides (`core.rs`); the cluster core hands it events and takes its allocations
//! through lock-free rings (`handle.rs`). No Mutex, RwLock or Condvar in this folder; nothing here knows sockets or
//! encodings.

pub mod event;
pub mod key;
