//! The thread "leader", of a master with others beside it: it contends, lets the master begin when it is elected, and proves
//! from then on that it may go on. Whatever ends its leadership ends the process: a deposed leader knows nothing that the
//! next one needs.

use crate::config::{Config, RegistryKind};
use crate::registrar::storage::Storage;
use crate::registrar::storage::zookeeper::Zookeeper;
use crate::standing::Standing;
use crate::{Beginning, End};
use leader::contender::{ContendError, Contender};
use leader::info::Info;
use leader::url::ZookeeperUrl;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

/// Before a standby contends again that has lost its place.
const AGAIN: Duration = Duration::from_secs(1);

/// Starts the thread. What comes back makes it leave the queue, and end.
pub(crate) fn start(
    url: ZookeeperUrl,
    config: &Config,
    begin: Beginning,
    standing: watch::Sender<Standing>,
) -> std::io::Result<(JoinHandle<()>, oneshot::Sender<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (resign, resigned) = oneshot::channel();
    let config = config.clone();
    let run = move || {
        runtime.block_on(async {
            let tell = begin.tell.clone();
            if let Some(end) = lead(&url, &config, begin, &standing, resigned).await {
                // Nobody hears it only where the master is being stopped.
                drop(tell.send(end));
            }
        });
    };
    Ok((std::thread::Builder::new().name("leader".into()).spawn(run)?, resign))
}

/// Contends, leads, and says why it does so no longer; `None` when it was asked to resign.
async fn lead(
    url: &ZookeeperUrl,
    config: &Config,
    begin: Beginning,
    standing: &watch::Sender<Standing>,
    mut resigned: oneshot::Receiver<()>,
) -> Option<End> {
    let info = Info {
        id: begin.info.id.to_string(),
        hostname: begin.info.hostname.to_string(),
        address: begin.info.address,
        version: begin.info.version.to_owned(),
    };
    let timeout = Duration::from_millis(config.zk_session_timeout_ms);
    let contender = tokio::select! {
        contender = elected(url, &info, timeout, standing) => contender,
        _ = &mut resigned => return None,
    };
    tracing::info!(term = contender.term(), "elected");
    // Who led before does not any more, and this one not yet.
    standing.send_replace(Standing::Standby(None));
    let (kind, work_dir) = (config.registry, config.work_dir.clone());
    let (client, runtime, url, term) = (contender.client(), Handle::current(), url.clone(), contender.term());
    let lease = contender.lease();
    // Reading the registry waits for this very thread, so it is done on another.
    let began = tokio::task::spawn_blocking(move || {
        let storage: Box<dyn Storage> = match kind {
            RegistryKind::Zookeeper => Box::new(Zookeeper::new(client, runtime, &url, term)),
            kind => crate::storage_of(kind, work_dir.as_deref())?,
        };
        begin.lead(storage, lease)
    });
    let keep = contender.keep();
    tokio::pin!(keep);
    let cluster = tokio::select! {
        began = began => match began.expect("it does not panic, or all ends") {
            Ok(thread) => thread,
            Err(failure) => return Some(End::Registrar(failure)),
        },
        why = &mut keep => return Some(End::Leadership(why)),
    };
    standing.send_replace(Standing::Leading);
    tokio::select! {
        why = keep => Some(End::Leadership(why)),
        _ = resigned => {
            // The registrar, which ends with that thread, needs this one for what it writes last.
            drop(tokio::task::spawn_blocking(move || cluster.join()).await);
            contender.resign().await;
            None
        }
    }
}

/// Until this master leads. A standby that has lost its place goes to the end of the queue.
async fn elected(
    url: &ZookeeperUrl,
    info: &Info,
    timeout: Duration,
    standing: &watch::Sender<Standing>,
) -> Contender {
    loop {
        match contend(url, info, timeout, standing).await {
            Ok(contender) => return contender,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(%error, cause, "not_contending");
            }
        }
        sleep(AGAIN).await;
    }
}

async fn contend(
    url: &ZookeeperUrl,
    info: &Info,
    timeout: Duration,
    standing: &watch::Sender<Standing>,
) -> Result<Contender, ContendError> {
    let contender = Contender::join(url, info, timeout).await?;
    tracing::info!(term = contender.term(), "contending");
    let leading = |leader: Option<Info>| {
        tracing::info!(leader = leader.as_ref().map(|it| it.place().to_string()), "another_leads");
        standing.send_replace(Standing::Standby(leader));
    };
    contender.until_elected(leading).await?;
    Ok(contender)
}
