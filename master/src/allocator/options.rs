//! What an operator may choose about allocation.

use super::policy::Kind;
use model::quantity::Quantity;
use std::num::NonZeroUsize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Less than this many CPUs *and* less than `mem_min` are not offered. Thousandths count.
    pub cpus_min: Quantity,
    /// MiB.
    pub mem_min: Quantity,
    /// In which order the roles of one parent are served.
    pub role_policy: Kind,
    /// In which order the frameworks of one role are served.
    pub framework_policy: Kind,
    /// Threads that decide, each about agents of its own.
    pub workers: NonZeroUsize,
}

/// As Mesos: 0.01 CPUs or 32 MiB (`src/master/constants.hpp`).
impl Default for Options {
    fn default() -> Self {
        Self {
            cpus_min: Quantity::from_milli(10),
            mem_min: Quantity::from_units(32),
            role_policy: Kind::Drf,
            framework_policy: Kind::Drf,
            workers: NonZeroUsize::MIN,
        }
    }
}
