//! Who leads, for those who do not want to: a thread "detector" that watches ZooKeeper, or a question to each of a list.

use crate::ask;
use crate::info::{Info, first};
use crate::session;
use crate::url::{Masters, Place, ZookeeperUrl};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use zookeeper_client::{Error, EventType};

/// The time-out of a detector's session: it has nothing in ZooKeeper that would have to go with it.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Before an ensemble that cannot be reached is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Why nobody could be found.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error("ZooKeeper at {url} cannot be asked")]
    Zookeeper { url: String, source: Error },
    #[error("no master leads, says ZooKeeper at {url}")]
    Nobody { url: String },
    #[error("ZooKeeper at {url} does not answer")]
    Slow { url: String },
    #[error("none of the masters {masters} knows who leads")]
    Unknown { masters: String },
    #[error("cannot start the thread 'detector'")]
    Thread(#[source] std::io::Error),
}

/// Finds the leading master once.
pub async fn find(masters: &Masters, patience: Duration) -> Result<Place, DetectError> {
    match masters {
        // Who answers there either leads, or says who does when it is spoken to.
        Masters::Addresses(places) if places.len() == 1 => Ok(places[0].clone()),
        Masters::Addresses(places) => {
            let unknown = || DetectError::Unknown { masters: masters.to_string() };
            ask::each(places).await.ok_or_else(unknown)
        }
        Masters::Zookeeper(url) => {
            let slow = |_| DetectError::Slow { url: url.to_string() };
            tokio::time::timeout(patience, look(url)).await.map_err(slow)?
        }
    }
}

async fn look(url: &ZookeeperUrl) -> Result<Place, DetectError> {
    let failed = |source| DetectError::Zookeeper { url: url.to_string(), source };
    let client = session::open(url, SESSION_TIMEOUT).await.map_err(failed)?;
    let names = client.list_children(&url.path).await.map_err(failed)?;
    let leader = first(&names).ok_or_else(|| DetectError::Nobody { url: url.to_string() })?;
    let (data, _) = client.get_data(&format!("{}/{leader}", url.path)).await.map_err(failed)?;
    let info = Info::decode(&data).ok_or_else(|| DetectError::Nobody { url: url.to_string() })?;
    Ok(info.place())
}

/// Watches who leads, on a thread of its own, as long as anybody looks. While ZooKeeper cannot be asked the last answer
/// stands: whoever leads without it will know, and the rest has nobody better.
pub fn watch(url: ZookeeperUrl) -> Result<watch::Receiver<Option<Info>>, DetectError> {
    let (sender, receiver) = watch::channel(None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(DetectError::Thread)?;
    let run = move || {
        runtime.block_on(async {
            tokio::select! {
                () = sender.closed() => {}
                () = follow(&url, &sender) => {}
            }
        });
    };
    std::thread::Builder::new().name("detector".into()).spawn(run).map_err(DetectError::Thread)?;
    Ok(receiver)
}

async fn follow(url: &ZookeeperUrl, sender: &watch::Sender<Option<Info>>) {
    loop {
        if let Err(error) = follow_session(url, sender).await {
            tracing::warn!(%url, %error, "zookeeper_session_lost");
        }
        sleep(AGAIN).await;
    }
}

async fn follow_session(url: &ZookeeperUrl, sender: &watch::Sender<Option<Info>>) -> Result<(), Error> {
    let client = session::open(url, SESSION_TIMEOUT).await?;
    loop {
        let (names, _, changed) = client.get_and_watch_children(&url.path).await?;
        let leader = match first(&names) {
            None => None,
            Some(leader) => match client.get_data(&format!("{}/{leader}", url.path)).await {
                Ok((data, _)) => Info::decode(&data),
                Err(Error::NoNode) => continue,
                Err(error) => return Err(error),
            },
        };
        sender.send_if_modified(|known| {
            let is_new = *known != leader;
            known.clone_from(&leader);
            is_new
        });
        let event = changed.changed().await;
        if event.event_type == EventType::Session && event.session_state.is_terminated() {
            return Ok(());
        }
    }
}
