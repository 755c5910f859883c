//! The Ingot master: knows the cluster, offers its resources to frameworks, carries out what they accept.
//! `cluster` and `allocator` decide, `net` and `http` do; `driver` is the thread where they meet.

pub mod allocator;
pub mod cluster;
pub mod config;
pub mod http;
pub mod net;
pub mod usage;

mod driver;
mod notes;

use allocator::event::Event;
use allocator::handle::Allocator;
use cluster::Cluster;
use config::Config;
use driver::{Command, Parts, Post};
use model::time::UnixTime;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a master cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Net(#[from] net::Error),
    #[error(transparent)]
    Allocator(#[from] allocator::handle::StartError),
    #[error("cannot start the thread '{name}'")]
    Thread { name: &'static str, source: std::io::Error },
}

/// A running master.
pub struct Master {
    address: SocketAddr,
    post: Post,
    threads: Vec<JoinHandle<()>>,
}

impl Master {
    /// Starts every thread; returns once connections are accepted.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let listener = net::listen(config.listen)?;
        let address = listener.local_addr().unwrap_or(config.listen);
        let info = config.master_info(address, unix_now());
        let (writer, table) = usage::table();
        let failed = |name| move |source| StartError::Thread { name, source };
        let (waiting, post) = driver::spawn().map_err(failed("cluster"))?;
        let waker = post.clone();
        let mut allocator = Allocator::start(config.allocation, Box::new(move || waker.wake()))?;
        for (role, weight) in &config.weights {
            allocator.send(Event::SetWeight { role: role.clone(), weight: *weight });
        }
        let (http, connections) = tokio::sync::mpsc::unbounded_channel();
        let http_thread =
            http::start(connections, post.clone(), Arc::new(info.clone())).map_err(failed("http"))?;
        let (outbox, net_thread) = net::start(listener, http, post.clone(), writer)?;
        let cluster = Cluster::new(config.settings, info, table);
        let cluster_thread = waiting.go(Parts { cluster, allocator, outbox });
        tracing::info!(%address, "listening");
        Ok(Self { address, post, threads: vec![cluster_thread, net_thread, http_thread] })
    }

    /// Where it listens; the port is the one it was given by the system when the configuration says 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every thread. Agents and frameworks see their connections close; what runs goes on running.
    pub fn stop(self) {
        self.post.send(Command::Stop);
        for thread in self.threads {
            // A thread that panicked has said so.
            drop(thread.join());
        }
    }
}

/// The wall clock in the model's form.
#[expect(clippy::disallowed_methods, reason = "the moment a master starts is read where it starts")]
fn unix_now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
