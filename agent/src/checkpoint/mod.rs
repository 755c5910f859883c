//! What the agent writes down for its later self: where (`layout`), how (`store`), and how it is read back (`load`).
//!
//! Frameworks choose: only what belongs to one with `checkpoint` set is written, as in Mesos. The agent's own id always is.

pub mod layout;
pub mod load;
mod log;
pub mod store;

#[cfg(test)]
mod tests;
