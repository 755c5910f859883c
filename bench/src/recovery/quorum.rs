//! A registry in a real ZooKeeper, through the sessions of two leaders that follow each other.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use ingot_master::registrar::storage::zookeeper::Zookeeper as Storage;
use leader::contender::Contender;
use leader::info::Info;
use leader::url::ZookeeperUrl;
use sim::processes::zookeeper::Zookeeper;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::registry::{self, Figures};

const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn registry(count: usize, tick_ms: u32) -> anyhow::Result<Figures> {
    let server = Zookeeper::start(1, tick_ms)?;
    let url: ZookeeperUrl = server.url("bench").parse()?;
    let driven = Driven::start()?;
    registry::measure(count, || Ok(Box::new(driven.storage(&url)?)))
}

/// Sessions are driven by a thread of their own, as in a master.
struct Driven {
    handle: Handle,
    /// Dropped, the thread ends.
    _end: oneshot::Sender<()>,
}

impl Driven {
    fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let run = move || drop(runtime.block_on(ended));
        std::thread::Builder::new().name("leader".into()).spawn(run)?;
        Ok(Self { handle, _end: end })
    }

    /// A new leader's way to the registry: its session is opened first, as a standby's is long before it leads.
    fn storage(&self, url: &ZookeeperUrl) -> anyhow::Result<Storage> {
        let address = "127.0.0.1:5050".parse()?;
        let info =
            Info { id: "bench".into(), hostname: "localhost".into(), address, version: "1.11.0".into() };
        let (sender, answer) = mpsc::channel();
        let at = url.clone();
        self.handle.spawn(async move {
            let joined = Contender::join(&at, &info, SESSION_TIMEOUT).await;
            drop(sender.send(joined.map(|it| (it.client(), it.term()))));
        });
        let (client, term) = answer.recv().context("the thread 'leader' has died")??;
        Ok(Storage::new(client, self.handle.clone(), url, term))
    }
}
