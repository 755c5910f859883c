//! The Ingot agent: runs executors in containers, enforces their limits, measures what they use. One folder a concern;
//! `node` and `accounting` decide, the others do.

pub mod accounting;
pub mod bpf;
pub mod cgroup;
pub mod checkpoint;
mod checks;
pub mod collector;
pub mod command_executor;
pub mod config;
pub mod containerizer;
pub mod default_executor;
pub mod doctor;
pub mod duration;
pub mod estimator;
mod executor_api;
pub mod http;
pub mod images;
pub mod link;
pub mod logger;
pub mod node;
pub mod runtime;
pub mod sampler;
mod size;
pub mod sys;
