//! A registry in one file, for one master: the embedded database redb, one row an object.
//!
//! A batch is one transaction: redb writes its pages beside those in use, syncs, and makes them the current ones by one
//! sector with a checksum, synced again (`docs/registrar.md` says what that asks of the disk). A file that was
//! not closed is checked when it is opened, which is where the time goes with a large one after a crash.

use super::{Objects, Storage, StorageError};
use crate::registrar::change::Write;
use ::redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableError,
};
use std::path::{Path, PathBuf};

/// The file's name below `--work_dir`.
pub const FILE: &str = "registry.redb";

const OBJECTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("objects");

/// Memory for pages of the file, bytes. The registry itself is in memory already; this only has to hold a batch.
const CACHE_BYTES: usize = 32 << 20;

/// The file, open. Nobody else can open it meanwhile.
pub struct Redb {
    database: Database,
    path: PathBuf,
}

impl Redb {
    /// Opens the registry in `work_dir`, and makes both where they are not there.
    pub fn open(work_dir: &Path) -> Result<Self, StorageError> {
        std::fs::create_dir_all(work_dir)
            .map_err(|source| StorageError::Folder { path: work_dir.to_owned(), source })?;
        let path = work_dir.join(FILE);
        if !path.exists() {
            make(work_dir, &path)?;
        }
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create(&path);
        Self::opened(opened, path)
    }

    /// The same over something that is like a file.
    pub fn over(backend: impl StorageBackend) -> Result<Self, StorageError> {
        let opened = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        Self::opened(opened, PathBuf::from(FILE))
    }

    fn opened(opened: Result<Database, DatabaseError>, path: PathBuf) -> Result<Self, StorageError> {
        match opened {
            Ok(database) => Ok(Self { database, path }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(StorageError::InUse { path }),
            Err(source) => Err(StorageError::OpenFile { path, source }),
        }
    }

    /// Makes what is written find the table, and everything that opening a new file leaves to do later be done.
    fn settle(&self) -> Result<(), StorageError> {
        self.write_all(&[])
            .map_err(|source| StorageError::WriteFile { path: self.path.clone(), source: Box::new(source) })
    }

    fn read_all(&self) -> Result<Objects, ::redb::Error> {
        let reading = self.database.begin_read()?;
        let table = match reading.open_table(OBJECTS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let row = |row: Result<(_, _), ::redb::StorageError>| {
            let (key, value): (::redb::AccessGuard<'_, &str>, ::redb::AccessGuard<'_, &[u8]>) = row?;
            Ok((Box::from(key.value()), value.value().to_vec()))
        };
        table.iter()?.map(row).collect()
    }

    fn write_all(&self, writes: &[Write]) -> Result<(), ::redb::Error> {
        let writing = self.database.begin_write()?;
        {
            let mut table = writing.open_table(OBJECTS)?;
            for write in writes {
                match &write.value {
                    Some(value) => drop(table.insert(&*write.key, value.as_slice())?),
                    None => drop(table.remove(&*write.key)?),
                }
            }
        }
        writing.commit()?;
        Ok(())
    }
}

/// Makes an empty registry under another name, and gives it its own when it is whole: a file that is not, as a crash in
/// the middle of making it would leave, is one that redb refuses to open ever after.
fn make(work_dir: &Path, path: &Path) -> Result<(), StorageError> {
    let new = work_dir.join(format!("{FILE}.new"));
    let failed = |source| StorageError::Make { path: path.to_owned(), source };
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let made = Redb::opened(Database::builder().set_cache_size(CACHE_BYTES).create(&new), new.clone())?;
    made.settle()?;
    drop(made);
    std::fs::File::open(&new).and_then(|file| file.sync_all()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)?;
    std::fs::File::open(work_dir).and_then(|folder| folder.sync_all()).map_err(failed)
}

impl Storage for Redb {
    fn load(&mut self) -> Result<Objects, StorageError> {
        let failed = |source| StorageError::ReadFile { path: self.path.clone(), source: Box::new(source) };
        self.read_all().map_err(failed)
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        let failed = |source| StorageError::WriteFile { path: self.path.clone(), source: Box::new(source) };
        self.write_all(writes).map_err(failed)
    }
}
