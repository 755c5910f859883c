//! Where the registry lies: in ZooKeeper, behind a fence, or on the disk of the only master. Both keep objects by key; a
//! write that is cut off keeps any part of its objects, each whole, which is what the trait allows.

use ingot_master::registrar::change::Write;
use ingot_master::registrar::storage::{Objects, Storage, StorageError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// What is kept, and whose it is.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) objects: BTreeMap<Box<str>, Vec<u8>>,
    /// The term of the last leader that took it over.
    pub(super) owner: i64,
    pub(super) commits: u64,
    /// The next write stops somewhere in the middle, as many objects in.
    pub(super) cut: Option<usize>,
}

/// One leader's way to it.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) shelf: Arc<Mutex<Shelf>>,
    pub(super) term: i64,
}

pub(super) fn look(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().expect("there is one thread")
}

impl Way {
    fn deposed() -> StorageError {
        StorageError::Deposed { path: "/mesos/log_replicas/registry".into() }
    }
}

impl Storage for Way {
    fn load(&mut self) -> Result<Objects, StorageError> {
        let mut shelf = look(&self.shelf);
        if shelf.owner > self.term {
            return Err(Self::deposed());
        }
        shelf.owner = self.term;
        Ok(shelf.objects.clone().into_iter().collect())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let mut shelf = look(&self.shelf);
        if shelf.owner != self.term {
            return Err(Self::deposed());
        }
        let cut = shelf.cut.take();
        for write in writes.iter().take(cut.unwrap_or(usize::MAX)) {
            match &write.value {
                Some(value) => _ = shelf.objects.insert(write.key.clone(), value.clone()),
                None => _ = shelf.objects.remove(&write.key),
            }
        }
        shelf.commits += 1;
        match cut {
            Some(_) => Err(StorageError::Asked("cut off")),
            None => Ok(()),
        }
    }
}
