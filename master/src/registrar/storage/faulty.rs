//! Storage that fails on purpose, for tests: one that breaks off in the middle of a batch, and a disk that remembers every
//! write and can show what it would hold after losing power at any of them.

use super::memory::Memory;
use super::{Objects, Storage, StorageError};
use crate::registrar::change::Write;
use ::redb::StorageBackend;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps what it is told to in memory, until it breaks: after so many writes, in a batch or between two. What it has kept
/// by then stays. Clones are the same storage.
#[derive(Clone, Debug)]
pub struct Breaking {
    state: Arc<Mutex<(Memory, usize)>>,
}

impl Breaking {
    pub fn new(writes_max: usize) -> Self {
        Self { state: Arc::new(Mutex::new((Memory::default(), writes_max))) }
    }

    /// What it has kept.
    pub fn objects(&self) -> BTreeMap<Box<str>, Vec<u8>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.objects.clone()
    }
}

impl Storage for Breaking {
    fn load(&mut self) -> Result<Objects, StorageError> {
        Ok(self.objects().into_iter().collect())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let (memory, left) = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for write in writes {
            *left = left.checked_sub(1).ok_or(StorageError::Asked("broken"))?;
            memory.keep(write);
        }
        Ok(())
    }
}

/// One thing that was done to a [`Disk`].
#[derive(Clone, Debug)]
pub enum Step {
    Write { offset: usize, data: Vec<u8> },
    Resize { bytes: usize },
    Sync,
}

/// What becomes of writes that were not synced when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them are lost.
    All,
    /// None of them is.
    None,
    /// Every second one is.
    Alternate,
    /// The last is torn after half of its sectors; those before it are kept.
    Torn,
}

/// Sectors are written whole, or not at all.
const SECTOR_BYTES: usize = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    image: Vec<u8>,
    steps: Vec<Step>,
    /// Steps after which everything fails; none where nothing is set.
    steps_max: Option<usize>,
    /// Bytes it has room for.
    bytes_max: Option<usize>,
}

impl State {
    fn step(&mut self, step: Step) -> io::Result<()> {
        if self.steps_max.is_some_and(|max| self.steps.len() >= max) {
            return Err(io::Error::other("the disk is broken"));
        }
        let end = match &step {
            Step::Write { offset, data } => offset + data.len(),
            Step::Resize { bytes } => *bytes,
            Step::Sync => 0,
        };
        if self.bytes_max.is_some_and(|max| end > max) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        apply(&mut self.image, &step);
        self.steps.push(step);
        Ok(())
    }
}

fn apply(image: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write { offset, data } => {
            let end = offset + data.len();
            image.resize(image.len().max(end), 0);
            image[*offset..end].copy_from_slice(data);
        }
        Step::Resize { bytes } => image.resize(*bytes, 0),
        Step::Sync => {}
    }
}

impl Disk {
    /// A disk that holds this.
    pub fn holding(image: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.with(|state| state.image = image);
        disk
    }

    /// Breaks for good after so many steps.
    pub fn break_after(&self, steps_max: usize) {
        self.with(|state| state.steps_max = Some(steps_max));
    }

    /// Has room for so many bytes; for any number without one.
    pub fn limit(&self, bytes_max: Option<usize>) {
        self.with(|state| state.bytes_max = bytes_max);
    }

    /// Steps that were done so far.
    pub fn step_count(&self) -> usize {
        self.with(|state| state.steps.len())
    }

    /// What it holds now.
    pub fn image(&self) -> Vec<u8> {
        self.with(|state| state.image.clone())
    }

    /// What was done to it.
    pub fn steps(&self) -> Vec<Step> {
        self.with(|state| state.steps.clone())
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        // A test that panicked has said so.
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a disk that held `before` holds after it lost its power behind these steps.
pub fn after_power_loss(before: &[u8], steps: &[Step], loss: Loss) -> Vec<u8> {
    let synced = steps.iter().rposition(|step| matches!(step, Step::Sync)).map_or(0, |at| at + 1);
    let (safe, doubtful) = steps.split_at(synced);
    let mut image = before.to_vec();
    safe.iter().for_each(|step| apply(&mut image, step));
    for (at, step) in doubtful.iter().enumerate() {
        let is_last = at + 1 == doubtful.len();
        match (loss, step) {
            (Loss::All, _) => {}
            // How long a file is lies elsewhere, and is kept or lost for itself.
            (Loss::Alternate, Step::Write { .. }) if at % 2 == 0 => {}
            (Loss::Torn, Step::Write { offset, data }) if is_last => {
                let kept = data.len() / SECTOR_BYTES / 2 * SECTOR_BYTES;
                apply(&mut image, &Step::Write { offset: *offset, data: data[..kept].to_vec() });
            }
            _ => apply(&mut image, step),
        }
    }
    image
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|state| state.image.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|state| {
            let there = state.image.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(there);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let bytes = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|state| state.step(Step::Resize { bytes }))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| state.step(Step::Sync))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|state| state.step(Step::Write { offset, data: data.to_vec() }))
    }
}
