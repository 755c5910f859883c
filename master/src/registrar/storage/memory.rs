//! A registry that ends with its process: for tests, and for masters that nobody gave a folder.

use super::{Objects, Storage, StorageError};
use crate::registrar::change::Write;
use std::collections::BTreeMap;

/// Objects by key, in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub objects: BTreeMap<Box<str>, Vec<u8>>,
}

impl Memory {
    pub(super) fn keep(&mut self, write: &Write) {
        match &write.value {
            Some(value) => _ = self.objects.insert(write.key.clone(), value.clone()),
            None => _ = self.objects.remove(&write.key),
        }
    }
}

impl Storage for Memory {
    fn load(&mut self) -> Result<Objects, StorageError> {
        Ok(self.objects.clone().into_iter().collect())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        writes.iter().for_each(|write| self.keep(write));
        Ok(())
    }

    fn is_durable(&self) -> bool {
        false
    }
}
