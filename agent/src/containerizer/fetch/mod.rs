//! Brings the files that a command asks for into its sandbox: `CommandInfo.uris`.
//!
//! ```text
//!   item      what a URI asks for                              beneath   writing in the sandbox and nowhere else
//!   work      one container's files, on a thread of its own    extract   archives
//!   http      from web servers                                 cache     files kept for the next
//! ```
//! All of it happens on a thread that acts on files as the executor's user, so nobody gets a file that he may not read
//! himself, and what arrives is his.

pub(crate) mod beneath;
pub mod cache;
pub(crate) mod extract;
pub(crate) mod http;
mod item;
mod work;

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::v1::command_info::Uri;
use tokio::sync::{Semaphore, oneshot, watch};

use self::cache::Cache;
pub use self::extract::ExtractError;
use self::http::Client;
pub use self::http::read_authorities;
pub use self::item::Algorithm;
use crate::sys::SysError;
use crate::sys::identity::Identity;

/// Why a file could not be fetched. The task fails with it; what was fetched before stays in the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("fetch '{uri}': {why}")]
    Refused { uri: String, why: String },
    #[error("fetch '{uri}': write {} in the sandbox", path.display())]
    Write { uri: String, path: PathBuf, source: io::Error },
    #[error("fetch '{uri}': read it")]
    Read { uri: String, source: io::Error },
    #[error("fetch '{uri}': {what}")]
    Http { uri: String, what: String },
    #[error("fetch '{uri}': its {algorithm} is {found}")]
    Checksum { uri: String, algorithm: Algorithm, found: String },
    #[error("fetch '{uri}': extract it")]
    Extract { uri: String, source: ExtractError },
    #[error("open the sandbox")]
    Sandbox(#[source] io::Error),
    #[error("act as the executor's user")]
    Identity(#[source] SysError),
    #[error("start the fetcher")]
    Thread(#[source] io::Error),
    #[error("the fetcher broke down")]
    Broken,
}

/// How all files are fetched.
#[derive(Clone, Debug)]
pub struct Settings {
    /// No byte for this long, and the fetch has failed (`--fetcher-stall-timeout`).
    pub stall_max: Duration,
    /// The most that may come out of one archive, bytes (`--fetcher-extract-max`).
    pub extract_bytes_max: u64,
    /// Certificates trusted beside those that the machine trusts (`--fetcher-ca-file`).
    pub authorities: Vec<rustls::pki_types::CertificateDer<'static>>,
}

impl Default for Settings {
    fn default() -> Self {
        let stall_max = Duration::from_secs(60);
        Self { stall_max, extract_bytes_max: 32 << 30, authorities: Vec::new() }
    }
}

/// Containers for whom files are fetched at the same time; others wait. Each has a thread while it lasts.
const FETCHES_MAX: usize = 8;

/// Fetches for all containers.
#[derive(Debug)]
pub struct Fetcher {
    common: Arc<Common>,
    fetches: Semaphore,
}

#[derive(Debug)]
struct Common {
    client: Client,
    cache: Option<Cache>,
    extract_bytes_max: u64,
}

/// What one container wants.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub uris: &'a [Uri],
    pub sandbox: &'a Path,
    /// Whose files the cache counts them as; `None` is the agent's own.
    pub user: Option<&'a str>,
    /// `None`: the agent's user fetches.
    pub identity: Option<&'a Identity>,
    /// Where people look when a task does not start.
    pub stderr: Option<File>,
}

impl Fetcher {
    pub fn new(settings: Settings, cache: Option<Cache>) -> Self {
        let client = Client::new(settings.stall_max, settings.authorities);
        let common = Common { client, cache, extract_bytes_max: settings.extract_bytes_max };
        Self { common: Arc::new(common), fetches: Semaphore::new(FETCHES_MAX) }
    }

    pub fn cache(&self) -> Option<&Cache> {
        self.common.cache.as_ref()
    }

    /// Fetches all, in order. Dropping the future stops the thread at its next block of data.
    pub(super) async fn fetch(&self, request: Request<'_>) -> Result<(), FetchError> {
        if request.uris.is_empty() {
            return Ok(());
        }
        let mut stderr = request.stderr.as_ref().and_then(|stderr| stderr.try_clone().ok());
        let fetched = self.fetch_all(request).await;
        if let (Err(error), Some(stderr)) = (&fetched, &mut stderr) {
            // A line into a file: it does not block longer than any other look at the disk does.
            let _ = writeln!(stderr, "Failed to {}", crate::containerizer::service::message(error));
        }
        fetched
    }

    async fn fetch_all(&self, request: Request<'_>) -> Result<(), FetchError> {
        // All are checked before the first is fetched.
        let items = request.uris.iter().map(item::item).collect::<Result<Vec<_>, _>>()?;
        let _permit = self.fetches.acquire().await.expect("the semaphore is never closed");
        let (waiting, stop) = watch::channel(());
        let (reply, answer) = oneshot::channel();
        let job = work::Job {
            items,
            sandbox: request.sandbox.to_owned(),
            user: request.user.map(str::to_owned),
            identity: request.identity.cloned(),
            common: self.common.clone(),
            stop: Stop(stop),
        };
        let thread = std::thread::Builder::new().name("fetcher".to_owned());
        thread.spawn(move || _ = reply.send(job.run())).map_err(FetchError::Thread)?;
        let fetched = answer.await.unwrap_or(Err(FetchError::Broken));
        drop(waiting);
        fetched
    }
}

/// Whether anybody still waits for what is being done.
#[derive(Clone, Debug)]
struct Stop(watch::Receiver<()>);

impl Stop {
    fn is_wanted(&self) -> bool {
        // An error is all that can come: nothing is ever sent.
        self.0.has_changed().is_err()
    }

    async fn wanted(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests;
