//! What of the resources given to tasks may be offered again, as revocable: what they were given, less the most that they
//! are expected to use for a while. Decides; reads nothing and asks no clock.

pub mod core;
mod keeper;
mod memory;
pub mod predictor;
mod published;
pub mod qos;
mod reach;
pub mod series;
mod steady;
#[cfg(test)]
mod tests;
