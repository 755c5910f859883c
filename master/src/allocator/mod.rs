//! Who is offered what. Workers decide, each about agents of its own (`core.rs`, `worker.rs`), and share the accounts of
//! roles with quotas (`account.rs`) and news of what they gave (`mates.rs`); the cluster core hands them events and takes
//! their allocations through lock-free rings (`handle.rs`). No Mutex, RwLock or Condvar in this folder; nothing here knows sockets or
//! encodings.

pub mod constraints;
pub mod core;
pub mod crew;
pub mod event;
pub mod handle;
pub mod key;
pub mod options;
pub mod pattern;

mod account;
mod agents;
mod barred;
mod bell;
mod bits;
mod claimant;
mod column;
mod cycle;
mod filter;
mod frameworks;
mod invariant;
mod mates;
mod order;
mod parcel;
pub mod policy;
mod quantities;
mod quota;
mod ring;
mod role_tree;
mod seats;
mod shapes;
mod share;
pub mod slice;
mod slot;
mod sync;
mod tree_invariant;
mod worker;
