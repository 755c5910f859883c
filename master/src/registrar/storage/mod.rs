//! Where the registry lies. One small trait; each kind of storage is one file.

pub mod faulty;
pub mod memory;
pub mod redb;
pub mod zookeeper;

use super::change::Write;
use std::path::PathBuf;

/// Keeps objects by key.
pub trait Storage: Send {
    /// Everything that is kept, in no order. Called once, first.
    fn load(&mut self) -> Result<Objects, StorageError>;

    /// Keeps all of the writes. When it returns they are durable, as far as the storage can make them so; when it fails,
    /// any part of them may be kept, each object whole, and nothing may be written any more.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StorageError>;

    /// Whether what is kept outlives the process.
    fn is_durable(&self) -> bool {
        true
    }

    /// Servers that keep it.
    fn replica_count(&self) -> usize {
        1
    }
}

/// Keys and what is kept under them.
pub type Objects = Vec<(Box<str>, Vec<u8>)>;

/// Why something could not be kept, or read.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot make {path}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot make {path}")]
    Make { path: PathBuf, source: std::io::Error },
    #[error("cannot open {path}")]
    OpenFile { path: PathBuf, source: ::redb::DatabaseError },
    #[error("another master uses {path}")]
    InUse { path: PathBuf },
    #[error("cannot read {path}")]
    ReadFile { path: PathBuf, source: Box<::redb::Error> },
    #[error("cannot write {path}")]
    WriteFile { path: PathBuf, source: Box<::redb::Error> },
    #[error("ZooKeeper does not keep the registry at {path}")]
    Zookeeper { path: String, source: zookeeper_client::Error },
    #[error("another master leads: it has taken over the registry at {path}")]
    Deposed { path: String },
    #[error("the page {path} of the registry cannot be read")]
    Page { path: String },
    #[error("the object '{key}' is larger than {bytes_max} bytes")]
    TooLarge { key: String, bytes_max: usize },
    #[error("a fault that was asked for: {0}")]
    Asked(&'static str),
}
