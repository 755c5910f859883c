//! The core as its neighbours see it: a world of scripted agents and schedulers, with an allocator whose books are checked
//! after every single event.

mod agents;
mod conversions;
mod drain;
mod frameworks;
mod groups;
mod histories;
mod maintenance;
mod offers;
mod pictures;
mod recovery;
mod revocable;
mod shares;
mod tasks;
mod world;
