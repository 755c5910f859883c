//! A master that wants to lead: it puts a numbered, ephemeral znode beside those of the others and waits until its number
//! is the lowest; then it proves again and again that its session lives.
//!
//! The znode goes with the session. Whoever contends again does so with a new one, behind all others.

#![expect(clippy::disallowed_methods, reason = "a lease counts from when ZooKeeper was asked")]

use crate::info::{Info, PREFIX, first};
use crate::lease::Lease;
use crate::session;
use crate::url::ZookeeperUrl;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use zookeeper_client::{Client, CreateMode, Error, EventType};

/// How often a session's life is proved: so many times in its time-out.
const PROOFS: u32 = 10;
/// Before ZooKeeper is asked again that has just refused.
const AGAIN: Duration = Duration::from_millis(100);

/// Why a master contends no more, or leads no more.
#[derive(Debug, thiserror::Error)]
pub enum ContendError {
    #[error("ZooKeeper at {url} does not take part")]
    Zookeeper { url: String, source: Error },
    #[error("the znode {znode} is gone: the session has expired, or somebody has deleted it")]
    Gone { znode: String },
    #[error("ZooKeeper has not been heard of for too long")]
    Silent,
}

/// A place in the queue.
pub struct Contender {
    client: Client,
    url: ZookeeperUrl,
    /// Its whole path.
    znode: String,
    name: String,
    term: i64,
    lease: Lease,
}

impl Contender {
    /// Joins the queue, at its end.
    pub async fn join(
        url: &ZookeeperUrl,
        info: &Info,
        session_timeout: Duration,
    ) -> Result<Self, ContendError> {
        let failed = |source| ContendError::Zookeeper { url: url.to_string(), source };
        let client = session::open(url, session_timeout).await.map_err(failed)?;
        let acls = session::acls(url);
        let options = session::options(CreateMode::EphemeralSequential, &acls);
        let prefix = format!("{}/{PREFIX}", url.path);
        let asked = Instant::now();
        let (stat, sequence) = client.create(&prefix, &info.encode(), &options).await.map_err(failed)?;
        let lease = Lease::none();
        lease.prove(asked, client.session_timeout());
        let name = format!("{PREFIX}{sequence}");
        let znode = format!("{}/{name}", url.path);
        Ok(Self { client, url: url.clone(), znode, name, term: stat.czxid, lease })
    }

    /// When its znode was made, in ZooKeeper's own count of everything that ever happened in it: a later leader's is
    /// greater.
    pub fn term(&self) -> i64 {
        self.term
    }

    /// The session, for whoever writes on behalf of the leader.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// How long it may act. Extended by [`Self::keep`].
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// Until it leads. `leading` is told of each other master that does meanwhile, and of `None` while it is not known.
    pub async fn until_elected(&self, mut leading: impl FnMut(Option<Info>)) -> Result<(), ContendError> {
        loop {
            let asked = Instant::now();
            let (names, _, changed) =
                self.client.get_and_watch_children(&self.url.path).await.map_err(|it| self.failed(it))?;
            if !names.contains(&self.name) {
                return Err(ContendError::Gone { znode: self.znode.clone() });
            }
            let leader = first(&names).expect("our own is among them");
            if *leader == self.name {
                self.lease.prove(asked, self.client.session_timeout());
                return Ok(());
            }
            match self.client.get_data(&format!("{}/{leader}", self.url.path)).await {
                Ok((data, _)) => leading(Info::decode(&data)),
                // It went in between; the children say who follows.
                Err(Error::NoNode) => continue,
                Err(error) => return Err(self.failed(error)),
            }
            let event = changed.changed().await;
            if event.event_type == EventType::Session && event.session_state.is_terminated() {
                return Err(ContendError::Gone { znode: self.znode.clone() });
            }
        }
    }

    /// Proves that the session lives, until it does not any more: to be run as long as the master leads, and it leads no
    /// longer than this runs.
    pub async fn keep(&self) -> ContendError {
        let session_timeout = self.client.session_timeout();
        loop {
            let asked = Instant::now();
            let left = self.lease.end().saturating_duration_since(asked);
            match timeout(left, self.prove()).await {
                Ok(Ok(())) => self.lease.prove(asked, session_timeout),
                Ok(Err(Error::ConnectionLoss | Error::Timeout)) => {
                    // Another server may know us. The lease says how long that may take.
                    sleep(AGAIN).await;
                    continue;
                }
                Ok(Err(Error::NoNode)) => return ContendError::Gone { znode: self.znode.clone() },
                Ok(Err(error)) => return self.failed(error),
                Err(_) => return ContendError::Silent,
            }
            sleep(session_timeout / PROOFS).await;
        }
    }

    /// Leaves the queue, so that the next one need not wait for the session to end. To be called when it acts no more.
    pub async fn resign(&self) {
        // Where this fails the session's end does it.
        if let Err(error) = self.client.delete(&self.znode, None).await {
            tracing::warn!(znode = self.znode, %error, "not_resigned");
        }
    }

    /// Asks the leader of the ensemble, not only the server we are connected to, whether our znode is there.
    async fn prove(&self) -> Result<(), Error> {
        self.client.sync(&self.znode).await?;
        self.client.check_stat(&self.znode).await?.map(drop).ok_or(Error::NoNode)
    }

    fn failed(&self, source: Error) -> ContendError {
        ContendError::Zookeeper { url: self.url.to_string(), source }
    }
}
