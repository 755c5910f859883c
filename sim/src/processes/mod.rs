//! A cluster of processes: one master and its agents, or several masters around a ZooKeeper; each with its log file, under
//! one folder.
//!
//! ```text
//!   DIR/master.log   DIR/master/…      what the master wrote, and its work_dir
//!   DIR/agent-0.log  DIR/agent-0/…     the same of each agent; sandboxes lie below
//! ```

mod cluster;
mod daemon;
mod several;
mod sweep;
pub mod zookeeper;

pub use cluster::{Cluster, Options, Ports, free_port};
pub use daemon::Daemon;
pub use several::{Several, SeveralOptions};
pub use sweep::agent_cgroup;
