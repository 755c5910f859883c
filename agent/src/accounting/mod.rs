//! Counters to usage: what a container used, from whichever source tells it best. Decides; reads nothing.

pub mod account;
pub mod combine;
pub mod kernel;
pub mod losses;
pub mod sample;
