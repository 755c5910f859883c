//! HTTP: what schedulers, operators and monitors are answered.

pub mod legacy;
pub mod system;
