//! A registry in ZooKeeper, for masters that follow each other: objects lie together on pages, a page a znode, because a
//! registry is larger than one znode may be and there are too many objects for a znode each.
//!
//! ```text
//! PATH/log_replicas/registry            data: the term of the leader that owns it; its version is the fence
//! PATH/log_replicas/registry/p0000000000   a page: objects, each as (key length, value length, key, value)
//! ```
//! A new leader writes its term into the fence, which gives it another version; every write of a leader checks the version
//! that it made. So nothing that a deposed leader sends is kept, however late it comes. (`log_replicas` is the one name
//! beside the candidates' that Mesos' clients know to leave alone.)

use super::{Objects, Storage, StorageError};
use crate::registrar::change::Write;
use leader::session::{acls, options};
use leader::url::ZookeeperUrl;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use tokio::runtime::Handle;
use zookeeper_client::{Acl, Client, CreateMode, Error, MultiWriteError};

/// A page is closed when it is this full, bytes. A change of one object writes its page; 100,000 agents fill some 500.
const PAGE_BYTES: usize = 96 << 10;
/// Pages written in one transaction, bytes: a request may be 1 MiB by ZooKeeper's default (`jute.maxbuffer`).
const REQUEST_BYTES: usize = 768 << 10;
/// The largest object that fits into a request of its own.
const OBJECT_BYTES_MAX: usize = 900 << 10;
/// Pages read at the same time.
const READS_MAX: usize = 64;

/// Objects that are kept together.
#[derive(Debug, Default)]
struct Page {
    objects: BTreeMap<Box<str>, Vec<u8>>,
    bytes: usize,
    /// As ZooKeeper counts; `None`: it has none there yet.
    version: Option<i32>,
}

/// The pages, with an index.
#[derive(Debug, Default)]
struct Pages {
    pages: BTreeMap<u32, Page>,
    places: BTreeMap<Box<str>, u32>,
    /// Where new objects go.
    open: u32,
}

fn size(key: &str, value: &[u8]) -> usize {
    8 + key.len() + value.len()
}

impl Page {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes);
        for (key, value) in &self.objects {
            for length in [key.len(), value.len()] {
                bytes.extend(u32::try_from(length).expect("objects are small").to_le_bytes());
            }
            bytes.extend(key.as_bytes());
            bytes.extend(value);
        }
        bytes
    }

    fn decode(mut bytes: &[u8], version: i32) -> Option<Self> {
        let mut page = Self { version: Some(version), bytes: bytes.len(), ..Self::default() };
        while !bytes.is_empty() {
            let (lengths, rest) = bytes.split_at_checked(8)?;
            let length = |at: usize| Some(u32::from_le_bytes(lengths[at..at + 4].try_into().ok()?) as usize);
            let (key, rest) = rest.split_at_checked(length(0)?)?;
            let (value, rest) = rest.split_at_checked(length(4)?)?;
            page.objects.insert(std::str::from_utf8(key).ok()?.into(), value.to_vec());
            bytes = rest;
        }
        Some(page)
    }
}

impl Pages {
    fn add(&mut self, number: u32, page: Page) {
        self.places.extend(page.objects.keys().map(|key| (key.clone(), number)));
        self.open = self.open.max(number);
        self.pages.insert(number, page);
    }

    /// Puts the write on its page, and says which that is; `None` where nothing was there to be deleted.
    fn put(&mut self, write: &Write) -> Option<u32> {
        let known = self.places.get(&write.key).copied();
        let Some(value) = &write.value else {
            let number = known?;
            self.places.remove(&write.key);
            let page = self.pages.get_mut(&number).expect("indexed");
            let old = page.objects.remove(&write.key).expect("indexed");
            page.bytes -= size(&write.key, &old);
            return Some(number);
        };
        let number = known.unwrap_or_else(|| self.room(size(&write.key, value)));
        let page = self.pages.entry(number).or_default();
        page.bytes += size(&write.key, value);
        if let Some(old) = page.objects.insert(write.key.clone(), value.clone()) {
            page.bytes -= size(&write.key, &old);
        }
        self.places.insert(write.key.clone(), number);
        Some(number)
    }

    /// A page with that much room: the open one, one that has been emptied, or a new one.
    fn room(&mut self, bytes: usize) -> u32 {
        let fits = |page: &Page| page.bytes + bytes <= PAGE_BYTES || page.objects.is_empty();
        if !self.pages.get(&self.open).is_none_or(fits) {
            let emptied =
                self.pages.iter().find(|(_, page)| page.objects.is_empty()).map(|(number, _)| *number);
            let next = self.pages.last_key_value().map_or(0, |(number, _)| number + 1);
            self.open = emptied.unwrap_or(next);
        }
        self.open
    }
}

/// The leader's way to the registry.
pub struct Zookeeper {
    client: Client,
    runtime: Handle,
    base: String,
    acls: Vec<Acl>,
    server_count: usize,
    term: i64,
    fence: i32,
    pages: Pages,
}

impl Zookeeper {
    /// For the leader of that term, whose session is driven by `runtime` on another thread than this is used on.
    pub fn new(client: Client, runtime: Handle, url: &ZookeeperUrl, term: i64) -> Self {
        let base = format!("{}/log_replicas/registry", url.path);
        let server_count = url.servers.len();
        Self { client, runtime, base, acls: acls(url), server_count, term, fence: 0, pages: Pages::default() }
    }

    /// Waits for something that only the session's own thread can do.
    fn wait<T: Send + 'static>(
        &self,
        what: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (sender, answer) = std::sync::mpsc::channel();
        self.runtime.spawn(async move { sender.send(what.await) });
        let failed = |source| StorageError::Zookeeper { path: self.base.clone(), source };
        // Without an answer the thread is gone, and with it the session.
        answer.recv().unwrap_or(Err(Error::ClientClosed)).map_err(failed)
    }

    fn page_path(&self, number: u32) -> String {
        format!("{}/p{number:010}", self.base)
    }

    /// Writes these pages in one transaction.
    fn write(&mut self, numbers: &[u32]) -> Result<(), StorageError> {
        let changes: Vec<_> = numbers
            .iter()
            .map(|number| {
                let page = &self.pages.pages[number];
                (self.page_path(*number), page.encode(), page.version)
            })
            .collect();
        let (client, base, fence, acls) =
            (self.client.clone(), self.base.clone(), self.fence, self.acls.clone());
        let written =
            self.wait(async move { Ok(write_pages(&client, &base, fence, &acls, &changes).await) })?;
        match written {
            Ok(()) => {}
            // The first operation is the look at the fence.
            Err(MultiWriteError::OperationFailed { index: 0, .. }) => {
                return Err(StorageError::Deposed { path: self.base.clone() });
            }
            Err(error) => {
                return Err(StorageError::Zookeeper { path: self.base.clone(), source: error.into() });
            }
        }
        for number in numbers {
            let page = self.pages.pages.get_mut(number).expect("written above");
            page.version = Some(page.version.map_or(0, |version| version + 1));
        }
        Ok(())
    }
}

type PageWrite = (String, Vec<u8>, Option<i32>);

/// All of it or nothing. Where the connection breaks it is found out which, and tried again: a session's requests are
/// handled in order, and what was on its way through another server when a session moved is refused.
async fn write_pages(
    client: &Client,
    base: &str,
    fence: i32,
    acls: &[Acl],
    changes: &[PageWrite],
) -> Result<(), MultiWriteError> {
    loop {
        let mut writer = client.new_multi_writer();
        writer.add_check_version(base, fence)?;
        for (path, data, version) in changes {
            match version {
                Some(version) => writer.add_set_data(path, data, Some(*version))?,
                None => writer.add_create(path, data, &options(CreateMode::Persistent, acls))?,
            }
        }
        match writer.commit().await {
            Ok(_) => return Ok(()),
            Err(MultiWriteError::RequestFailed { source: Error::ConnectionLoss }) => {
                if was_written(client, base, &changes[0]).await? {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the transaction with that page in it came through.
async fn was_written(client: &Client, base: &str, change: &PageWrite) -> Result<bool, Error> {
    let (path, data, before) = change;
    loop {
        let looked = async {
            client.sync(base).await?;
            match client.get_data(path).await {
                Ok((found, stat)) => Ok(Some(stat.version) != *before && found == *data),
                Err(Error::NoNode) => Ok(false),
                Err(error) => Err(error),
            }
        };
        match looked.await {
            Err(Error::ConnectionLoss) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            other => return other,
        }
    }
}

/// Makes the registry ours; the version of its fence, or `None` when a later leader has it.
async fn fence(client: &Client, base: &str, acls: &[Acl], term: i64) -> Result<Option<i32>, Error> {
    client.mkdir(base, &options(CreateMode::Persistent, acls)).await?;
    loop {
        client.sync(base).await?;
        let (owner, stat) = client.get_data(base).await?;
        let owner = std::str::from_utf8(&owner).ok().and_then(|term| term.parse::<i64>().ok());
        if owner.is_some_and(|owner| owner > term) {
            return Ok(None);
        }
        match client.set_data(base, term.to_string().as_bytes(), Some(stat.version)).await {
            Ok(stat) => return Ok(Some(stat.version)),
            Err(Error::BadVersion) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Every page by its number, some at the same time.
async fn read_pages(client: &Client, base: &str) -> Result<Vec<(u32, Vec<u8>, i32)>, Error> {
    let names = client.list_children(base).await?;
    let numbers: Vec<u32> = names.iter().filter_map(|name| name.strip_prefix('p')?.parse().ok()).collect();
    let mut pages = Vec::with_capacity(numbers.len());
    for some in numbers.chunks(READS_MAX) {
        let mut reads = tokio::task::JoinSet::new();
        for number in some.iter().copied() {
            let (client, path) = (client.clone(), format!("{base}/p{number:010}"));
            reads.spawn(async move {
                let (data, stat) = client.get_data(&path).await?;
                Ok::<_, Error>((number, data, stat.version))
            });
        }
        while let Some(read) = reads.join_next().await {
            pages.push(read.unwrap_or(Err(Error::ClientClosed))?);
        }
    }
    Ok(pages)
}

impl Storage for Zookeeper {
    fn load(&mut self) -> Result<Objects, StorageError> {
        let (client, base, acls, term) =
            (self.client.clone(), self.base.clone(), self.acls.clone(), self.term);
        let fenced = self.wait(async move { fence(&client, &base, &acls, term).await })?;
        self.fence = fenced.ok_or_else(|| StorageError::Deposed { path: self.base.clone() })?;
        let (client, base) = (self.client.clone(), self.base.clone());
        for (number, data, version) in self.wait(async move { read_pages(&client, &base).await })? {
            let damaged = || StorageError::Page { path: self.page_path(number) };
            let page = Page::decode(&data, version).ok_or_else(damaged)?;
            self.pages.add(number, page);
        }
        let pages = self.pages.pages.values();
        Ok(pages.flat_map(|page| page.objects.clone()).collect())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        // What operators say of several roles at once stays together: their pages are in the first transaction.
        let (mut first, mut rest) = (BTreeSet::new(), BTreeSet::new());
        for write in writes {
            if write.value.as_ref().is_some_and(|value| size(&write.key, value) > OBJECT_BYTES_MAX) {
                return Err(StorageError::TooLarge {
                    key: write.key.to_string(),
                    bytes_max: OBJECT_BYTES_MAX,
                });
            }
            let changed = if write.key.starts_with("agent/") { &mut rest } else { &mut first };
            changed.extend(self.pages.put(write));
        }
        let (mut together, mut bytes) = (Vec::new(), 0);
        rest.retain(|number| !first.contains(number));
        for number in first.into_iter().chain(rest) {
            let more = self.pages.pages[&number].bytes;
            if bytes + more > REQUEST_BYTES && !together.is_empty() {
                self.write(&std::mem::take(&mut together))?;
                bytes = 0;
            }
            together.push(number);
            bytes += more;
        }
        if together.is_empty() { Ok(()) } else { self.write(&together) }
    }

    fn replica_count(&self) -> usize {
        self.server_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: &str, bytes: usize) -> Write {
        Write { key: key.into(), value: Some(vec![7; bytes]) }
    }

    #[test]
    fn pages_are_filled_one_after_the_other_and_emptied_ones_again() {
        let mut pages = Pages::default();
        let put = |pages: &mut Pages, key: &str, bytes| pages.put(&write(key, bytes));
        let half = PAGE_BYTES / 2 - 16;
        let places: Vec<_> = ["a", "b", "c", "d", "e"].map(|key| put(&mut pages, key, half)).into();
        assert_eq!(places, [0, 0, 1, 1, 2].map(Some));
        // An object stays where it is, however it grows.
        assert_eq!(put(&mut pages, "a", PAGE_BYTES), Some(0));
        for key in ["c", "d"] {
            assert_eq!(pages.put(&Write { key: key.into(), value: None }), Some(1));
        }
        assert_eq!(pages.put(&Write { key: "c".into(), value: None }), None);
        assert_eq!(pages.pages[&1].bytes, 0);
        assert_eq!(put(&mut pages, "f", half), Some(2));
        assert_eq!(put(&mut pages, "g", half), Some(1), "it was emptied");
        for (number, page) in &pages.pages {
            let bytes = page.encode();
            assert_eq!(bytes.len(), page.bytes, "page {number}");
            assert_eq!(Page::decode(&bytes, 3).expect("whole").objects, page.objects);
            for cut in [1, 7, bytes.len() - 1] {
                assert!(Page::decode(&bytes[..cut], 3).is_none());
            }
        }
    }
}
