//! Who is offered what. One thread decides (`core.rs`); the cluster core hands it events and takes its allocations
//! through lock-free rings (`handle.rs`). No Mutex, RwLock or Condvar in this folder; nothing here knows sockets or
//! encodings.

pub mod core;
pub mod event;
pub mod handle;
pub mod key;
pub mod options;

mod agents;
mod bell;
mod bits;
mod claimant;
mod column;
mod cycle;
mod filter;
mod frameworks;
mod invariant;
mod order;
mod parcel;
pub mod policy;
mod quantities;
mod quota;
mod ring;
mod role_tree;
mod shapes;
mod share;
mod slot;
mod sync;
mod worker;
