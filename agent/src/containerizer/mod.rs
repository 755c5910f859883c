//! Runs executors in containers: decides what is to be run (`plan`), runs it, waits for it, destroys it.

pub mod plan;
