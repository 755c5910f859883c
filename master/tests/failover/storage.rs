//! The registry in a real ZooKeeper: what it keeps, how fast, and from whom.

use crate::agent::info;
use crate::zookeeper::Zookeeper as Server;
use leader::contender::Contender;
use leader::info::Info;
use master::registrar::change::Change;
use master::registrar::storage::StorageError;
use master::registrar::storage::zookeeper::Zookeeper;
use master::registrar::{Failure, Registrar};
use model::id::AgentId;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Sessions are driven by a thread of their own, as in a master.
struct Driven {
    runtime: Arc<Runtime>,
    _thread: tokio::sync::oneshot::Sender<()>,
}

fn driven() -> Driven {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let runtime = Arc::new(runtime);
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let drives = Arc::clone(&runtime);
    std::thread::spawn(move || drives.block_on(async { drop(receiver.await) }));
    Driven { runtime, _thread: sender }
}

impl Driven {
    /// A candidate's session and term, as a storage.
    fn storage(&self, url: &str) -> Zookeeper {
        let url: leader::url::ZookeeperUrl = url.parse().expect("a url");
        let address = "127.0.0.1:5050".parse().expect("an address");
        let info = Info { id: "m".into(), hostname: "h".into(), address, version: "1.11.0".into() };
        let (sender, answer) = std::sync::mpsc::channel();
        let at = url.clone();
        self.runtime.spawn(async move {
            let contender =
                Contender::join(&at, &info, Duration::from_secs(10)).await.expect("it takes part");
            drop(sender.send((contender.client(), contender.term())));
        });
        let (client, term) = answer.recv().expect("a candidate");
        Zookeeper::new(client, self.runtime.handle().clone(), &url, term)
    }
}

#[test]
fn a_deposed_leader_writes_nothing_and_the_next_one_reads_everything() {
    let Some(server) = Server::start("a_deposed_leader_writes_nothing_and_the_next_one_reads_everything")
    else {
        return;
    };
    let driven = driven();
    let url = server.url("a/deep/path");
    let admit = |n: u32| Change::Admit {
        agent_id: AgentId::new(format!("m-S{n}")),
        info: Arc::new(info(u16::try_from(n % 60_000).expect("small") + 1, "cpus:4;mem:4096;disk:10000")),
    };
    let older = driven.storage(&url);
    let mut first = Registrar::open(Box::new(driven.storage(&url))).expect("it can be read");
    let began = Instant::now();
    for n in 0..8_000 {
        first.push(admit(n));
    }
    while first.write().expect("it leads") > 0 {}
    let rate = 8_000.0 / began.elapsed().as_secs_f64();
    // Past the test runner's capture: the figure is wanted, but only a bench on a quiet machine holds it to a bar.
    eprintln!("{rate:.0} agents admitted a second");
    assert!(matches!(
        Registrar::open(Box::new(older)).map(drop),
        Err(Failure::Open(StorageError::Deposed { .. }))
    ));
    first.push(Change::Forget { agent_id: AgentId::new("m-S7") });
    first.push(admit(7_999));
    while first.write().expect("it leads") > 0 {}
    let mut second = Registrar::open(Box::new(driven.storage(&url))).expect("it can be read");
    assert_eq!(second.registry(), first.registry());
    first.push(admit(9_000));
    assert!(matches!(first.write(), Err(Failure::Write(StorageError::Deposed { .. }))));
    second.push(admit(9_001));
    assert_eq!(second.write().expect("it leads"), 1);
    let third = Registrar::open(Box::new(driven.storage(&url))).expect("it can be read");
    assert_eq!(third.registry(), second.registry());
    assert_eq!(third.registry().agents.len(), 8_000);
}
