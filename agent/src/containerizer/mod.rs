//! Runs executors in containers: decides what is to be run (`plan`) and held to what (`limits`), makes its folder (`sandbox`), brings its files
//! (`fetch`), starts it (`launch`), waits for its end (`reaper`), ends it (`destroy`). `service` is what the agent calls.

pub mod destroy;
pub mod fetch;
pub mod launch;
pub mod limits;
pub mod plan;
pub mod reaper;
pub mod sandbox;
pub mod service;
