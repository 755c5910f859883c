//! Runs executors in containers: decides what is to be run (`plan`) and held to what (`limits`), makes its folder (`sandbox`), brings its files
//! (`fetch`), starts it (`launch`) under an init process (`init`, told what to do by `steps`) apart from others (`isolation`), waits for its end (`reaper`), ends
//! it (`destroy`). `service` is what the agent calls.

pub mod built_in;
pub mod destroy;
pub mod devices;
pub mod fetch;
mod held;
pub mod image;
pub mod init;
pub mod io;
pub mod isolation;
pub mod kept;
pub mod launch;
pub mod limits;
pub mod nested;
pub mod order;
pub mod overrides;
pub mod persistent;
pub mod plan;
pub mod reaper;
pub mod sandbox;
pub mod seccomp;
pub mod service;
pub mod steps;
pub mod streams;
pub mod task;
pub mod used;
pub mod users;
mod within;

#[path = "../../init/record.rs"]
pub mod record;
#[path = "../../init/spec.rs"]
pub mod spec;
