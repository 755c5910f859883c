//! One container's files, fetched one after the other on a thread of their own.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest;

use super::beneath::Sandbox;
use super::cache::core::Key;
use super::cache::{Answer, Claim, Held};
use super::extract;
use super::item::{self, Item, Source};
use super::{Common, FetchError, Stop};
use crate::sys::identity::{Identity, assume_for_files};

pub(super) struct Job {
    pub items: Vec<Item>,
    pub sandbox: PathBuf,
    pub user: Option<String>,
    pub identity: Option<Identity>,
    pub common: Arc<Common>,
    pub stop: Stop,
}

/// How much is copied at a time, bytes: between two blocks a fetch that nobody waits for ends.
const BLOCK_BYTES: usize = 1 << 20;
/// The same where the kernel copies, or only notes that two files are the same.
const RANGE_BYTES: usize = 64 << 20;
/// By how much the cache is asked for more where nobody says how much will come, bytes.
const RESERVE_BYTES: u64 = 16 << 20;
const PLAIN_MODE: u32 = 0o644;
const EXECUTABLE_MODE: u32 = 0o755;

/// Why the cache could not be used for a file, if that is why.
enum Uncached {
    /// It has no room, or its disk fails: do it without.
    NoCache,
    Failed(FetchError),
}

impl From<FetchError> for Uncached {
    fn from(error: FetchError) -> Self {
        Self::Failed(error)
    }
}

impl Job {
    pub(super) fn run(self) -> Result<(), FetchError> {
        if let Some(identity) = &self.identity {
            assume_for_files(identity).map_err(FetchError::Identity)?;
        }
        let mut sandbox = Sandbox::open(&self.sandbox).map_err(FetchError::Sandbox)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut stop = self.stop.clone();
        runtime.map_err(FetchError::Thread)?.block_on(async {
            tokio::select! {
                result = self.fetch_all(&mut sandbox) => result,
                // The answer goes nowhere.
                () = stop.wanted() => Ok(()),
            }
        })
    }

    async fn fetch_all(&self, sandbox: &mut Sandbox) -> Result<(), FetchError> {
        for item in &self.items {
            match self.held(item).await? {
                Some(held) => self.take(item, &held, sandbox).await?,
                None => self.fetch(item, sandbox).await?,
            }
        }
        Ok(())
    }

    /// Straight into the sandbox, where an archive stays beside what comes out of it.
    async fn fetch(&self, item: &Item, sandbox: &mut Sandbox) -> Result<(), FetchError> {
        let write_error = |source| write_error(item, source);
        let target = sandbox.create(&item.target).map_err(write_error)?;
        let mut sink = Sink::new(item, &target, None);
        let mode = self.bring(item, &mut sink).await.map_err(|uncached| match uncached {
            Uncached::Failed(error) => error,
            Uncached::NoCache => unreachable!("it was not asked for"),
        })?;
        sink.check()?;
        set_mode(&target, item, mode).map_err(write_error)?;
        if item.archive.is_some() {
            self.extract(item, &target, sandbox)?;
        }
        Ok(())
    }

    /// Its content in the cache; `None` where it is to be fetched without.
    async fn held(&self, item: &Item) -> Result<Option<Held>, FetchError> {
        let Some(cache) = self.common.cache.as_ref().filter(|_| item.is_cached) else { return Ok(None) };
        let key = Key { user: self.user.clone(), uri: item.value.clone() };
        match cache.want(key).await {
            Answer::Have(held) => Ok(Some(held)),
            Answer::Bypass => Ok(None),
            Answer::Download(claim) => match self.fill(item, claim).await {
                Ok(held) => Ok(Some(held)),
                Err(Uncached::NoCache) => {
                    tracing::debug!(uri = item.uri, "fetched without the cache, which has no room");
                    Ok(None)
                }
                Err(Uncached::Failed(error)) => Err(error),
            },
        }
    }

    async fn fill(&self, item: &Item, claim: Claim) -> Result<Held, Uncached> {
        let file = claim.file.clone();
        let mut sink = Sink::new(item, &file, Some(&claim));
        self.bring(item, &mut sink).await?;
        sink.check()?;
        let bytes = sink.written;
        Ok(claim.complete(bytes))
    }

    /// From the cache into the sandbox; of an archive only what is in it.
    async fn take(&self, item: &Item, held: &Held, sandbox: &mut Sandbox) -> Result<(), FetchError> {
        if item.archive.is_some() {
            return self.extract(item, &held.file, sandbox);
        }
        let write_error = |source| write_error(item, source);
        let target = sandbox.create(&item.target).map_err(write_error)?;
        let mut done = 0;
        while done < held.bytes {
            done += copy_range(&held.file, done, &target).map_err(write_error)?;
            tokio::task::yield_now().await;
        }
        set_mode(&target, item, PLAIN_MODE).map_err(write_error)
    }

    fn extract(&self, item: &Item, archive: &File, sandbox: &mut Sandbox) -> Result<(), FetchError> {
        let kind = item.archive.expect("callers have looked");
        let name = item::unzipped_name(&item.target);
        let bytes_max = self.common.extract_bytes_max;
        extract::extract(kind, archive, sandbox, name.as_deref(), bytes_max, &self.stop)
            .map_err(|source| FetchError::Extract { uri: item.uri.clone(), source })
    }

    /// All of it into `sink`; returns the mode that the file gets.
    async fn bring(&self, item: &Item, sink: &mut Sink<'_>) -> Result<u32, Uncached> {
        match &item.source {
            Source::File(path) => copy(item, path, sink).await,
            Source::Http(uri) => {
                let failed = |what: String| FetchError::Http { uri: item.uri.clone(), what };
                let mut download = self.common.client.get(uri).await.map_err(failed)?;
                sink.expect(download.length).await?;
                while let Some(block) = download.next().await.map_err(failed)? {
                    sink.write(&block).await?;
                }
                Ok(PLAIN_MODE)
            }
        }
    }
}

/// A file's mode is the original's, less what umask 022 takes.
async fn copy(item: &Item, path: &Path, sink: &mut Sink<'_>) -> Result<u32, Uncached> {
    let read_error = |source| FetchError::Read { uri: item.uri.clone(), source };
    // Not to wait for somebody at the other end of a named pipe.
    let mut options = std::fs::OpenOptions::new();
    let source = std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), libc::O_NONBLOCK);
    let mut source = source.open(path).map_err(read_error)?;
    let metadata = source.metadata().map_err(read_error)?;
    if !metadata.is_file() {
        let why = "it is not a file".to_owned();
        return Err(FetchError::Refused { uri: item.uri.clone(), why }.into());
    }
    sink.expect(Some(metadata.len())).await?;
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match source.read(&mut block).map_err(read_error)? {
            0 => return Ok(metadata.mode() & 0o755 | 0o600),
            length => sink.write(&block[..length]).await?,
        }
        // Where a dropped future is noticed.
        tokio::task::yield_now().await;
    }
}

/// Where content goes, counted, and digested where a checksum wants it.
struct Sink<'a> {
    item: &'a Item,
    file: &'a File,
    digest: Option<digest::Context>,
    written: u64,
    claim: Option<(&'a Claim, u64)>,
}

impl<'a> Sink<'a> {
    fn new(item: &'a Item, file: &'a File, claim: Option<&'a Claim>) -> Self {
        let digest = item.checksum.as_ref().map(|it| digest::Context::new(it.algorithm.digest()));
        Self { item, file, digest, written: 0, claim: claim.map(|claim| (claim, 0)) }
    }

    /// So much will come, as far as anybody knows.
    async fn expect(&mut self, length: Option<u64>) -> Result<(), Uncached> {
        match length {
            Some(length) => self.reserve(length).await,
            None => Ok(()),
        }
    }

    async fn reserve(&mut self, bytes: u64) -> Result<(), Uncached> {
        let Some((claim, reserved)) = &mut self.claim else { return Ok(()) };
        if *reserved < bytes {
            if !claim.reserve(bytes).await {
                return Err(Uncached::NoCache);
            }
            *reserved = bytes;
        }
        Ok(())
    }

    async fn write(&mut self, block: &[u8]) -> Result<(), Uncached> {
        let end = self.written + block.len() as u64;
        let is_short = self.claim.is_some_and(|(_, reserved)| reserved < end);
        if is_short && self.reserve(end + RESERVE_BYTES).await.is_err() {
            self.reserve(end).await?;
        }
        self.file.write_all_at(block, self.written).map_err(|source| match self.claim {
            Some(_) => {
                tracing::warn!(error = %source, "the fetcher's cache cannot be written to");
                Uncached::NoCache
            }
            None => write_error(self.item, source).into(),
        })?;
        if let Some(digest) = &mut self.digest {
            digest.update(block);
        }
        self.written = end;
        Ok(())
    }

    /// Whether that is what the framework meant, where it said.
    fn check(&mut self) -> Result<(), FetchError> {
        let Some((checksum, digest)) = self.item.checksum.as_ref().zip(self.digest.take()) else {
            return Ok(());
        };
        let found = digest.finish();
        if found.as_ref() == checksum.expected {
            return Ok(());
        }
        let found = found.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Err(FetchError::Checksum { uri: self.item.uri.clone(), algorithm: checksum.algorithm, found })
    }
}

/// The next part of a file, by the kernel where it can: within one file system it may not have to copy at all.
fn copy_range(source: &File, offset: u64, target: &File) -> io::Result<u64> {
    use nix::errno::Errno;
    let mut from = i64::try_from(offset).expect("a file's offset");
    let mut to = from;
    match nix::fcntl::copy_file_range(source, Some(&mut from), target, Some(&mut to), RANGE_BYTES) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => Ok(count as u64),
        Err(Errno::EXDEV | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
            let mut block = vec![0; BLOCK_BYTES];
            let count = source.read_at(&mut block, offset)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            target.write_all_at(&block[..count], offset)?;
            Ok(count as u64)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn set_mode(file: &File, item: &Item, mode: u32) -> io::Result<()> {
    let mode = if item.is_executable { EXECUTABLE_MODE } else { mode };
    file.set_permissions(Permissions::from_mode(mode))
}

fn write_error(item: &Item, source: io::Error) -> FetchError {
    FetchError::Write { uri: item.uri.clone(), path: item.target.clone(), source }
}
