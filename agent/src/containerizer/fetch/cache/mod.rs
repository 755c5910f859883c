//! Fetched files that are kept for the next who wants them: one folder for the agent, its own and nobody else's to read.
//!
//! A thread of its own makes and deletes the files, as the agent; fetchers, which act as other users, are handed open
//! files and read and write only these. What was there when the agent started is deleted: nobody knows any more what is
//! whole.

pub mod core;

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use tokio::sync::oneshot;

use self::core::{Core, Effect, Input, Key, Number, Ticket};

/// The way to the cache. Its thread ends with the last of these.
#[derive(Clone, Debug)]
pub struct Cache {
    requests: mpsc::Sender<Request>,
    /// Written by the cache's thread, read for metrics: nothing hangs on when.
    used_bytes: Arc<AtomicU64>,
    bytes_max: u64,
}

#[derive(Debug)]
enum Request {
    /// `requests`: for whom the answer is to say when it is done with. The cache's thread keeps none itself, or it would
    /// wait for itself.
    Want {
        key: Key,
        requests: mpsc::Sender<Request>,
        reply: oneshot::Sender<Answer>,
    },
    Reserve {
        number: Number,
        bytes: u64,
        reply: oneshot::Sender<bool>,
    },
    Tell(Input),
}

/// What becomes of the wish for a file.
#[derive(Debug)]
pub(super) enum Answer {
    Have(Held),
    Download(Claim),
    /// Do it without the cache.
    Bypass,
}

/// A file of the cache, which stays as long as this does.
#[derive(Debug)]
pub(super) struct Held {
    pub file: Arc<File>,
    pub bytes: u64,
    number: Number,
    requests: mpsc::Sender<Request>,
}

/// An empty file of the cache, to be filled; others may wait for it. Dropped, it has failed.
#[derive(Debug)]
pub(super) struct Claim {
    pub file: Arc<File>,
    number: Number,
    /// `None` once it is complete.
    requests: Option<mpsc::Sender<Request>>,
}

impl Cache {
    /// Starts the thread, which first deletes what an earlier agent left in the folder: files named as this one names
    /// them, nothing else.
    pub fn start(folder: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let (requests, queue) = mpsc::channel();
        let used_bytes = Arc::new(AtomicU64::new(0));
        let keeper = Keeper {
            folder,
            core: Core::new(bytes_max),
            files: BTreeMap::new(),
            wants: BTreeMap::new(),
            reserves: BTreeMap::new(),
            next_ticket: 0,
            used_bytes: used_bytes.clone(),
        };
        std::thread::Builder::new().name("fetcher-cache".to_owned()).spawn(move || keeper.keep(queue))?;
        Ok(Self { requests, used_bytes, bytes_max })
    }

    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub(super) async fn want(&self, key: Key) -> Answer {
        let (reply, answer) = oneshot::channel();
        let _ = self.requests.send(Request::Want { key, requests: self.requests.clone(), reply });
        // A cache whose thread is gone is no reason not to fetch.
        answer.await.unwrap_or(Answer::Bypass)
    }
}

impl Claim {
    /// Whether the cache has room for so many bytes in all; it makes some if it can.
    pub(super) async fn reserve(&self, bytes: u64) -> bool {
        let (reply, answer) = oneshot::channel();
        let Some(requests) = &self.requests else { return false };
        let _ = requests.send(Request::Reserve { number: self.number, bytes, reply });
        answer.await.unwrap_or(false)
    }

    /// It is all there: others get it from now on.
    pub(super) fn complete(mut self, bytes: u64) -> Held {
        let requests = self.requests.take().expect("it is complete once");
        let _ = requests.send(Request::Tell(Input::Complete { number: self.number, bytes }));
        Held { file: self.file.clone(), bytes, number: self.number, requests }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(requests) = self.requests.take() {
            let _ = requests.send(Request::Tell(Input::Failed { number: self.number }));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.requests.send(Request::Tell(Input::Release { number: self.number }));
    }
}

/// What the thread has.
struct Keeper {
    folder: PathBuf,
    core: Core,
    files: BTreeMap<Number, (PathBuf, Arc<File>)>,
    wants: BTreeMap<Ticket, Waiting>,
    reserves: BTreeMap<Ticket, oneshot::Sender<bool>>,
    next_ticket: u64,
    used_bytes: Arc<AtomicU64>,
}

struct Waiting {
    uri: String,
    requests: mpsc::Sender<Request>,
    reply: oneshot::Sender<Answer>,
}

impl Keeper {
    fn keep(mut self, queue: mpsc::Receiver<Request>) {
        if let Err(error) = clear(&self.folder) {
            let folder = self.folder.display();
            tracing::warn!(%error, %folder, "the fetcher's cache is not empty");
        }
        for request in queue {
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            let input = match request {
                Request::Want { key, requests, reply } => {
                    self.wants.insert(ticket, Waiting { uri: key.uri.clone(), requests, reply });
                    Input::Want { ticket, key }
                }
                Request::Reserve { number, bytes, reply } => {
                    self.reserves.insert(ticket, reply);
                    Input::Reserve { ticket, number, bytes }
                }
                Request::Tell(input) => input,
            };
            self.feed(input);
        }
    }

    fn feed(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.handle(input, &mut effects);
        self.used_bytes.store(self.core.bytes(), Ordering::Relaxed);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Create { ticket, number } => self.create(ticket, number),
            Effect::Give { ticket, number, bytes } => {
                let Waiting { requests, reply, .. } = self.waiting(ticket);
                let (_, file) = &self.files[&number];
                let _ = reply.send(Answer::Have(Held { file: file.clone(), bytes, number, requests }));
            }
            Effect::Bypass { ticket } => _ = self.waiting(ticket).reply.send(Answer::Bypass),
            Effect::Reserved { ticket, is_granted } => {
                let reply = self.reserves.remove(&ticket).expect("each question is answered once");
                let _ = reply.send(is_granted);
            }
            Effect::Delete { number } => {
                let Some((path, _)) = self.files.remove(&number) else { return };
                if let Err(error) = std::fs::remove_file(&path) {
                    tracing::warn!(%error, path = %path.display(), "a file of the fetcher's cache stays");
                }
            }
        }
    }

    fn waiting(&mut self, ticket: Ticket) -> Waiting {
        self.wants.remove(&ticket).expect("each question is answered once")
    }

    fn create(&mut self, ticket: Ticket, number: Number) {
        let Waiting { uri, requests, reply } = self.waiting(ticket);
        let path = self.folder.join(file_name(number, &uri));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        match file {
            Ok(file) => {
                let file = Arc::new(file);
                self.files.insert(number, (path, file.clone()));
                // If nobody waits any more this is dropped, and has failed.
                let _ = reply.send(Answer::Download(Claim { file, number, requests: Some(requests) }));
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the fetcher's cache cannot be written to");
                let _ = reply.send(Answer::Bypass);
                self.feed(Input::Failed { number });
            }
        }
    }
}

/// `c17-name`: the number for us, the name for people who look.
fn file_name(number: Number, uri: &str) -> String {
    let name = uri.rsplit('/').next().unwrap_or_default();
    let is_tame = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let name: String = name.chars().filter(is_tame).take(100).collect();
    format!("c{}-{name}", number.0)
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix('c')
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Makes the folder, or empties it of files of ours.
fn clear(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name().to_str().is_some_and(is_ours) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uri: &str) -> Key {
        Key { user: None, uri: uri.to_owned() }
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("readable").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_complete_is_given_to_the_next() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::start(folder.path().to_owned(), 100).expect("a thread");
        block_on(async {
            let Answer::Download(claim) = cache.want(key("http://host/x/a.tgz")).await else { panic!("new") };
            assert!(claim.reserve(4).await);
            std::os::unix::fs::FileExt::write_all_at(&*claim.file, b"text", 0).expect("write");
            let held = claim.complete(4);
            let Answer::Have(again) = cache.want(key("http://host/x/a.tgz")).await else { panic!("kept") };
            let mut text = [0; 4];
            std::os::unix::fs::FileExt::read_exact_at(&*again.file, &mut text, 0).expect("read");
            assert_eq!((&text, again.bytes, held.bytes), (b"text", 4, 4));
        });
        assert_eq!(names(folder.path()), ["c1-a.tgz"]);
        assert_eq!((cache.used_bytes(), cache.bytes_max()), (4, 100));
    }

    #[test]
    fn a_dropped_download_has_failed_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::start(folder.path().to_owned(), 100).expect("a thread");
        block_on(async {
            let Answer::Download(claim) = cache.want(key("/a")).await else { panic!("new") };
            assert!(!claim.reserve(101).await);
            let (_, waiting) = tokio::join!(async move { drop(claim) }, async {
                // Whichever comes first: it waits and is sent away, or is the next to download.
                match cache.want(key("/a")).await {
                    Answer::Have(_) => panic!("nobody downloaded it"),
                    Answer::Bypass | Answer::Download(_) => cache.want(key("/b")).await,
                }
            });
            assert!(matches!(waiting, Answer::Download(_)));
            drop(waiting);
            // Answered after everything before it was done.
            drop(cache.want(key("/c")).await);
            let Answer::Download(_last) = cache.want(key("/d")).await else { panic!("new") };
            assert!(
                names(folder.path()).iter().all(|name| name.ends_with("-d")),
                "{:?}",
                names(folder.path())
            );
        });
    }

    #[test]
    fn only_its_own_files_of_earlier_are_cleared() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["c1-a", "c12-", "c-x", "cellar", "x"] {
            std::fs::write(folder.path().join(name), "").expect("write");
        }
        clear(folder.path()).expect("it can be");
        assert_eq!(names(folder.path()), ["c-x", "cellar", "x"]);
    }
}
