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
mod leading;
mod notes;
mod standing;

use allocator::event::Event;
use allocator::handle::Allocator;
use cluster::Cluster;
use cluster::input::Input;
use cluster::snapshot::MasterInfo;
use config::{Config, RegistryKind};
use driver::{Command, Parts, Post};
use leader::lease::Lease;
use model::time::UnixTime;
use registrar::Registrar;
use registrar::storage::Storage;
use registrar::storage::memory::Memory;
use registrar::storage::redb::Redb;
use standing::Standing;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

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
    #[error("this master leads no longer")]
    Leadership(#[from] leader::contender::ContendError),
}

/// Everything that a master needs to lead but the leadership.
struct Beginning {
    waiting: driver::Waiting,
    post: Post,
    allocator: Allocator,
    outbox: net::Outbox,
    http: http::Outbox,
    settings: cluster::Settings,
    info: MasterInfo,
    table: Arc<usage::Table>,
    tell: UnboundedSender<End>,
}

impl Beginning {
    /// Reads the registry and begins to act, as long as the lease lasts.
    fn lead(self, storage: Box<dyn Storage>, lease: Lease) -> Result<JoinHandle<()>, registrar::Failure> {
        let registrar = recover(storage, &self.post)?;
        self.act(registrar, lease)
    }

    fn act(self, registrar: Registrar, lease: Lease) -> Result<JoinHandle<()>, registrar::Failure> {
        let Self { waiting, post, allocator, outbox, http, settings, info, table, tell } = self;
        let broken = tell.clone();
        let registrar = registrar.start(
            move |count| post.input(Input::Durable { count }),
            move |failure| drop(broken.send(End::Registrar(failure))),
        )?;
        let cluster = Cluster::new(settings, MasterInfo { elected: unix_now(), ..info }, table);
        let aborted = Box::new(move |why| drop(tell.send(End::Aborted(why))));
        Ok(waiting.go(Parts { cluster, allocator, outbox, http, registrar, lease, aborted }))
    }
}

/// Reads the registry and tells what is in it: first of all, before anybody can be heard.
fn recover(storage: Box<dyn Storage>, post: &Post) -> Result<Registrar, registrar::Failure> {
    let registrar = Registrar::open(storage)?;
    post.input(Input::Recovered(Box::new(registrar.registry().clone())));
    Ok(registrar)
}

/// A running master.
pub struct Master {
    address: SocketAddr,
    post: Post,
    ended: UnboundedReceiver<End>,
    resign: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    /// Of these, those that a standby has before that of its leader.
    standby_count: usize,
}

impl Master {
    /// Starts every thread; returns once connections are accepted. A master that is alone has read its registry by then,
    /// and leads; one with others beside it does so when it is elected.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let listener = net::listen(config.listen)?;
        let address = listener.local_addr().unwrap_or(config.listen);
        let info = config.master_info(address, unix_now());
        let (writer, table) = usage::table();
        let failed = |name| move |source| StartError::Thread { name, source };
        let (waiting, post) = driver::spawn().map_err(failed("cluster"))?;
        let waker = post.clone();
        let mut allocator = Allocator::start(config.allocation.clone(), Box::new(move || waker.wake()))?;
        for (role, weight) in &config.weights {
            allocator.send(Event::SetWeight { role: role.clone(), weight: *weight });
        }
        let (tell, ended) = unbounded_channel();
        // Who is alone leads from the first request on: what is asked before everything runs waits for it.
        let alone = match &config.zk {
            None => Some(recover(storage_of(config.registry, config.work_dir.as_deref())?, &post)?),
            Some(_) => None,
        };
        let first = if alone.is_some() { Standing::Leading } else { Standing::Standby(None) };
        let (standing, stands) = standing::standing(first);
        let master = Arc::new(info.clone());
        let (door, http, mut threads) =
            http::start(config.http_threads, &post, &master, &stands, &table, config.pattern_limits)
                .map_err(failed("http"))?;
        let (outbox, net_thread) = net::start(listener, door, post.clone(), writer, stands)?;
        threads.push(net_thread);
        let standby_count = threads.len();
        let settings = config.settings.clone();
        let begin =
            Beginning { waiting, post: post.clone(), allocator, outbox, http, settings, info, table, tell };
        let resign = match alone {
            Some(registrar) => {
                threads.push(begin.act(registrar, Lease::forever())?);
                None
            }
            None => {
                let url = config.zk.as_ref().expect("who is not alone meets the others there");
                let (thread, resign) =
                    leading::start(url.clone(), &config, begin, standing).map_err(failed("leader"))?;
                threads.push(thread);
                Some(resign)
            }
        };
        tracing::info!(%address, "listening");
        Ok(Self { address, post, ended, resign, threads, standby_count })
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

    /// Ends every thread. Agents and frameworks see their connections close; what runs goes on running. With others beside
    /// it, the next one leads at once.
    pub fn stop(self) {
        self.post.send(Command::Stop);
        if let Some(resign) = self.resign {
            // Stops acting, then leaves. A standby's other threads end with the process.
            _ = resign.send(());
            for thread in self.threads.into_iter().skip(self.standby_count) {
                drop(thread.join());
            }
            return;
        }
        for thread in self.threads {
            // A thread that panicked has said so.
            drop(thread.join());
        }
    }
}

/// Where the registry is of a master that keeps its own.
fn storage_of(kind: RegistryKind, work_dir: Option<&Path>) -> Result<Box<dyn Storage>, registrar::Failure> {
    Ok(match (kind, work_dir) {
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
pub(crate) fn unix_now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
