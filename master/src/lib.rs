//! The Ingot master: knows the cluster, offers its resources to frameworks, carries out what they accept.
//! `cluster` and `allocator` decide, `net` and `http` do.

pub mod allocator;
pub mod cluster;
pub mod http;
pub mod net;
pub mod usage;
