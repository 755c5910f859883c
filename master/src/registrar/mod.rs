//! What must outlive a master: which agents it admitted, gave up and banned, what operators took out of use; quota,
//! weights, maintenance. `registry`, `change` and `batch` decide, `storage` keeps.
//!
//! The thread "registrar" owns both: it takes changes from the cluster's thread, writes all that wait in one batch, and
//! posts how many are durable. A storage that fails ends the master (see [`Failure`]): what was answered is
//! durable, and what was not is asked for again, of the next one.

pub mod batch;
pub mod change;
pub mod registry;
pub mod storage;

use batch::Batch;
use change::Change;
use registry::{ReadError, Registry};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use storage::{Storage, StorageError};

/// Why there is no registrar, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the registry cannot be opened")]
    Open(#[source] StorageError),
    #[error("the registry cannot be read")]
    Read(#[source] ReadError),
    #[error("the registry cannot be written; everything that was answered is in it, nothing else was done")]
    Write(#[source] StorageError),
    #[error("cannot start the thread 'registrar'")]
    Thread(#[source] std::io::Error),
}

/// Figures of the registrar for `/metrics`; written by its thread, read by anyone. Each stands for itself: no order
/// between them is promised, so all are relaxed.
#[derive(Debug, Default)]
pub struct Figures {
    queued_count: AtomicU64,
    size_bytes: AtomicU64,
    replica_count: AtomicU64,
    fetch_us: AtomicU64,
    store_count: AtomicU64,
    /// How long the newest batches took, oldest first. Locked for moments only, once a batch and once a reader.
    stores_us: Mutex<VecDeque<u64>>,
}

/// Batches whose time is remembered.
const STORES_MAX: usize = 1_000;

impl Figures {
    /// Changes that wait to be durable.
    pub fn queued_count(&self) -> u64 {
        self.queued_count.load(Ordering::Relaxed)
    }

    /// Keys and objects as they were when the registry was opened, and what was written since: an upper bound.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// Servers that keep the registry.
    pub fn replica_count(&self) -> u64 {
        self.replica_count.load(Ordering::Relaxed)
    }

    /// How long reading the registry took, milliseconds.
    pub fn fetch_ms(&self) -> f64 {
        self.fetch_us.load(Ordering::Relaxed) as f64 / 1e3
    }

    /// How long writing the newest batches took, milliseconds, oldest first.
    pub fn stores_ms(&self) -> Vec<f64> {
        let stores = self.stores_us.lock().unwrap_or_else(PoisonError::into_inner);
        stores.iter().map(|us| *us as f64 / 1e3).collect()
    }

    fn stored(&self, took: Duration) {
        self.store_count.fetch_add(1, Ordering::Relaxed);
        let mut stores = self.stores_us.lock().unwrap_or_else(PoisonError::into_inner);
        if stores.len() == STORES_MAX {
            stores.pop_front();
        }
        stores.push_back(micros(took));
    }

    /// Batches written so far.
    pub fn store_count(&self) -> u64 {
        self.store_count.load(Ordering::Relaxed)
    }
}

/// A registry that was read, and will be written from here on.
pub struct Registrar {
    storage: Box<dyn Storage>,
    batch: Batch,
    figures: Arc<Figures>,
}

impl Registrar {
    /// Reads everything there is.
    pub fn open(mut storage: Box<dyn Storage>) -> Result<Self, Failure> {
        let began = now();
        let objects = storage.load().map_err(Failure::Open)?;
        let registry =
            Registry::read(objects.iter().map(|(key, value)| (&**key, &**value))).map_err(Failure::Read)?;
        let figures = Figures::default();
        let bytes: usize = objects.iter().map(|(key, value)| key.len() + value.len()).sum();
        figures.size_bytes.store(bytes as u64, Ordering::Relaxed);
        figures.fetch_us.store(micros(began.elapsed()), Ordering::Relaxed);
        figures.replica_count.store(storage.replica_count() as u64, Ordering::Relaxed);
        Ok(Self { storage, batch: Batch::new(registry), figures: Arc::new(figures) })
    }

    pub fn registry(&self) -> &Registry {
        self.batch.registry()
    }

    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Whether what is written outlives the process.
    pub fn is_durable(&self) -> bool {
        self.storage.is_durable()
    }

    /// Takes a change without making it durable yet.
    pub fn push(&mut self, change: Change) {
        self.batch.push(change);
    }

    /// Writes one batch of what waits. Returns how many changes are durable by it; zero when nothing waits.
    pub fn write(&mut self) -> Result<usize, Failure> {
        let Some(writes) = self.batch.take() else { return Ok(0) };
        if !writes.is_empty() {
            let began = now();
            self.storage.commit(&writes).map_err(Failure::Write)?;
            let bytes: usize = writes.iter().map(change::Write::bytes).sum();
            let figures = &self.figures;
            figures.size_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            figures.stored(began.elapsed());
        }
        Ok(self.batch.committed())
    }

    /// Starts the thread. `durable` is told of each batch how many changes it held, `failed` at most once, at the end.
    pub fn start(
        self,
        durable: impl Fn(usize) + Send + 'static,
        failed: impl FnOnce(Failure) + Send + 'static,
    ) -> Result<Handle, Failure> {
        let (changes, inbox) = channel();
        let figures = self.figures();
        let run = move || {
            if let Err(failure) = self.run(&inbox, &durable) {
                failed(failure);
            }
        };
        let thread =
            std::thread::Builder::new().name("registrar".into()).spawn(run).map_err(Failure::Thread)?;
        Ok(Handle { changes: Some(changes), thread: Some(thread), figures })
    }

    /// Until nobody can send changes any more; those that were sent are written.
    fn run(mut self, inbox: &Receiver<Change>, durable: &impl Fn(usize)) -> Result<(), Failure> {
        while let Ok(change) = inbox.recv() {
            self.push(change);
            inbox.try_iter().for_each(|change| self.push(change));
            loop {
                self.figures.queued_count.store(self.batch.waiting_count() as u64, Ordering::Relaxed);
                match self.write()? {
                    0 => break,
                    count => durable(count),
                }
                inbox.try_iter().for_each(|change| self.push(change));
            }
        }
        Ok(())
    }
}

/// The way to the thread. Dropped, it waits until what was sent is durable.
pub struct Handle {
    changes: Option<Sender<Change>>,
    thread: Option<JoinHandle<()>>,
    figures: Arc<Figures>,
}

impl Handle {
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// What is sent after the storage has failed is lost, as the master is.
    pub fn send(&self, change: Change) {
        if let Some(changes) = &self.changes {
            drop(changes.send(change));
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            drop(thread.join());
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "how long the storage takes is measured where it is used")]
fn now() -> Instant {
    Instant::now()
}
