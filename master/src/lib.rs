//! The Ingot master: knows the cluster, offers its resources to frameworks, carries out what they accept.
//! `cluster` and `allocator` decide, `net` and `http` do; `driver` is the thread where they meet.

pub mod allocator;
pub mod cluster;
pub mod config;
pub mod http;
pub mod net;
pub mod registrar;
pub mod usage;

mod driver;
mod notes;

use allocator::event::Event;
use allocator::handle::Allocator;
use cluster::Cluster;
use cluster::input::Input;
use config::{Config, RegistryKind};
use driver::{Command, Parts, Post};
use model::time::UnixTime;
use registrar::Registrar;
use registrar::storage::Storage;
use registrar::storage::memory::Memory;
use registrar::storage::redb::Redb;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Why a master cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Net(#[from] net::Error),
    #[error(transparent)]
    Allocator(#[from] allocator::handle::StartError),
    #[error(transparent)]
    Registrar(#[from] registrar::Failure),
    #[error("cannot start the thread '{name}'")]
    Thread { name: &'static str, source: std::io::Error },
}

/// Why a running master must not go on. What it answered is durable, and the next one goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum End {
    #[error(transparent)]
    Registrar(#[from] registrar::Failure),
    #[error("{0}")]
    Aborted(Arc<str>),
}

/// A running master.
pub struct Master {
    address: SocketAddr,
    post: Post,
    ended: UnboundedReceiver<End>,
    threads: Vec<JoinHandle<()>>,
}

impl Master {
    /// Reads the registry and starts every thread; returns once connections are accepted.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let listener = net::listen(config.listen)?;
        let registrar = Registrar::open(storage(&config)?)?;
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
        let (tell, ended) = unbounded_channel();
        // First of all, before anybody can be heard.
        post.input(Input::Recovered(Box::new(registrar.registry().clone())));
        let (durable, broken) = (post.clone(), tell.clone());
        let registrar = registrar.start(
            move |count| durable.input(Input::Durable { count }),
            move |failure| drop(broken.send(End::Registrar(failure))),
        )?;
        let aborted = move |why| drop(tell.send(End::Aborted(why)));
        let (http, connections) = tokio::sync::mpsc::unbounded_channel();
        let http_thread =
            http::start(connections, post.clone(), Arc::new(info.clone())).map_err(failed("http"))?;
        let (outbox, net_thread) = net::start(listener, http, post.clone(), writer)?;
        let cluster = Cluster::new(config.settings, info, table);
        let cluster_thread =
            waiting.go(Parts { cluster, allocator, outbox, registrar, aborted: Box::new(aborted) });
        tracing::info!(%address, "listening");
        Ok(Self { address, post, ended, threads: vec![cluster_thread, net_thread, http_thread] })
    }

    /// Where it listens; the port is the one it was given by the system when the configuration says 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until this master must not go on, and says why. As a rule that is never.
    pub async fn ended(&mut self) -> End {
        match self.ended.recv().await {
            Some(end) => end,
            // Everybody who could tell is gone, which happens while it stops.
            None => std::future::pending().await,
        }
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

/// Where the registry is, by the flags.
fn storage(config: &Config) -> Result<Box<dyn Storage>, registrar::Failure> {
    Ok(match (config.registry, &config.work_dir) {
        (RegistryKind::Redb, Some(work_dir)) => {
            Box::new(Redb::open(work_dir).map_err(registrar::Failure::Open)?)
        }
        _ => {
            tracing::warn!("registry_in_memory");
            Box::new(Memory::default())
        }
    })
}

/// The wall clock in the model's form.
#[expect(clippy::disallowed_methods, reason = "the moment a master starts is read where it starts")]
fn unix_now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
