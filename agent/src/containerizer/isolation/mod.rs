//! How containers are kept apart: what one gets (`confinement`), decided from what it asks for and what the operator says
//! (`asked`), and what that comes to as steps of its init (`mounts`). Decides; looks at nothing.

pub mod asked;
pub mod capabilities;
pub mod confinement;
pub mod mounts;
mod rlimits;
pub mod volumes;
