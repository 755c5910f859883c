//! Makes records durable, through tokio-uring: a file is replaced by write, fsync, rename, fsync of its directory; a log
//! grows by append and fdatasync.
//!
//! Records that arrive while others are being written wait and are then written together, in three rounds: directories are
//! made, files are written and synced, directories that have changed are synced; within a round everything side by side, so
//! that the file system puts many fsyncs into one commit: a burst of a thousand updates costs a few of these, not a
//! thousand. Nobody is told that a record is durable before its whole batch is, and none of a batch counts before that: in
//! which order its parts reach the disk does not matter.
//!
//! A disk that refuses (full, read-only, broken) is asked again every second, with an ERROR each time; nothing of what
//! waits is lost, acknowledged or forwarded meanwhile, which is the promise.

use crate::checkpoint::layout::{self, Meta};
use crate::checkpoint::log;
use crate::node::drain::Drain;
use crate::node::effect::{Record, Ticket};
use crate::sys::processes;
use model::id::AgentId;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_uring::fs;
use wire::checkpoint::{
    AgentFile, DrainFile, ExecutorFile, ProcessFile, TaskFile, UpdateRecord, encode_framework,
};

/// Wait before a refused batch is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What went wrong on the disk.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("create directory {path}")]
    CreateDirectory { path: PathBuf, source: io::Error },
    #[error("write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("append to {path}")]
    Append { path: PathBuf, source: io::Error },
    #[error("rename to {path}")]
    Rename { path: PathBuf, source: io::Error },
    #[error("remove {path}")]
    Remove { path: PathBuf, source: io::Error },
    #[error("sync directory {path}")]
    SyncDirectory { path: PathBuf, source: io::Error },
    #[error("point {path} to the agent's own directory")]
    Link { path: PathBuf, source: io::Error },
}

/// Where records go in. Dropping it ends the writer once all is written.
#[derive(Clone, Debug)]
pub struct Store {
    queue: mpsc::UnboundedSender<(Option<Ticket>, Record)>,
}

impl Store {
    /// Starts the writer; it calls `durable` for each ticket, in order.
    ///
    /// # Panics
    /// Outside of a tokio-uring runtime.
    pub fn start(
        work_dir: &Path,
        agent_id: Option<AgentId>,
        boot_id: Arc<str>,
        durable: impl Fn(Ticket) + 'static,
    ) -> Self {
        let (queue, records) = mpsc::unbounded_channel();
        let writer = Writer { meta: Meta::of(work_dir), agent_id, boot_id };
        tokio_uring::spawn(writer.run(records, durable));
        Self { queue }
    }

    /// Without a ticket nobody is told.
    pub fn persist(&self, ticket: Option<Ticket>, record: Record) {
        // The writer ends only after its last sender.
        self.queue.send((ticket, record)).expect("the writer outlives its senders");
    }
}

/// What a batch of records comes to, by file; in each file in the order of the records.
#[derive(Debug, Default)]
struct Batch {
    replace: BTreeMap<PathBuf, Vec<u8>>,
    append: BTreeMap<PathBuf, Vec<u8>>,
    remove: BTreeSet<PathBuf>,
    /// Where each log ended before this batch: an attempt after a failed one writes over what that left.
    ends: RefCell<BTreeMap<PathBuf, u64>>,
    /// Directories in which something was made or renamed and that are not synced since, by a failed attempt too.
    changed: RefCell<BTreeSet<PathBuf>>,
    /// The agent's directory that `latest` is to name, or `None` inside for none.
    latest: Option<Option<AgentId>>,
}

struct Writer {
    meta: Meta,
    /// Whose directory everything goes to; known from the first record on.
    agent_id: Option<AgentId>,
    boot_id: Arc<str>,
}

impl Writer {
    async fn run(
        mut self,
        mut records: mpsc::UnboundedReceiver<(Option<Ticket>, Record)>,
        durable: impl Fn(Ticket),
    ) {
        let mut waiting = Vec::new();
        while records.recv_many(&mut waiting, usize::MAX).await > 0 {
            let mut batch = Batch::default();
            let mut tickets = Vec::with_capacity(waiting.len());
            for (ticket, record) in waiting.drain(..) {
                self.add(&mut batch, record);
                tickets.extend(ticket);
            }
            let batch = Rc::new(batch);
            while let Err(error) = self.write(&batch).await {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "checkpoint cannot be written; trying again");
                tokio::time::sleep(RETRY).await;
            }
            tickets.into_iter().for_each(&durable);
        }
    }

    fn add(&mut self, batch: &mut Batch, record: Record) {
        if let Record::Agent { agent_id, master_id, info } = record {
            let path = self.meta.agent(&agent_id).join(layout::AGENT_INFO);
            let boot_id = self.boot_id.clone();
            let file = AgentFile { agent_id: agent_id.clone(), master_id, boot_id, info };
            batch.replace.insert(path, file.encode());
            batch.latest = Some(Some(agent_id.clone()));
            self.agent_id = Some(agent_id);
            return;
        }
        let agent = self.agent_id.as_ref().expect("nothing is recorded before the agent itself");
        let run_file = |run, name| self.meta.run(agent, run).join(name);
        match record {
            Record::Agent { .. } => {}
            Record::AgentGone => batch.latest = Some(None),
            Record::Draining(Drain { max_grace_ns, marks_gone, started }) => {
                let path = self.meta.agent(agent).join(layout::DRAIN_INFO);
                batch.remove.remove(&path);
                batch.replace.insert(path, DrainFile { max_grace_ns, marks_gone, started }.encode());
            }
            Record::Drained => {
                let path = self.meta.agent(agent).join(layout::DRAIN_INFO);
                batch.replace.remove(&path);
                batch.remove.insert(path);
            }
            Record::Framework { framework } => {
                let id = framework.framework_id.as_ref().expect("frameworks on agents have ids");
                let path = self.meta.framework(agent, id).join(layout::FRAMEWORK_INFO);
                batch.replace.insert(path, encode_framework(&framework));
            }
            Record::Executor { run, executor, is_command } => {
                let path = run_file(&run, layout::EXECUTOR_INFO);
                let file = ExecutorFile { executor, is_command, container_id: run.container_id };
                batch.replace.insert(path, file.encode());
            }
            Record::Forked { run, pid } => {
                // For people: whether the number still means this process is seen by its cgroup or its environment.
                let start_ticks = processes::stat(pid.cast_signed()).map_or(0, |stat| stat.start_ticks);
                let file = ProcessFile { pid, start_ticks, cgroup: None };
                batch.replace.insert(run_file(&run, layout::PROCESS_INFO), file.encode());
            }
            Record::ExecutorDone { run } => {
                batch.replace.insert(run_file(&run, layout::EXECUTOR_DONE), Vec::new());
            }
            Record::Task { run, task, group } => {
                let path = self.meta.task(agent, &run, &task.task_id).join(layout::TASK_INFO);
                batch.replace.insert(path, TaskFile { task, group }.encode());
            }
            Record::Update { run, status } => {
                let path = self.meta.task(agent, &run, &status.task_id).join(layout::TASK_UPDATES);
                append(batch, path, &UpdateRecord::Update(Box::new(status)));
            }
            Record::Acknowledged { run, task_id, update_id } => {
                let path = self.meta.task(agent, &run, &task_id).join(layout::TASK_UPDATES);
                append(batch, path, &UpdateRecord::Acknowledged(update_id));
            }
        }
    }

    /// Everything of a batch; may be called again after an error.
    async fn write(&self, batch: &Rc<Batch>) -> Result<(), StoreError> {
        let files = batch.replace.keys().chain(batch.append.keys());
        let directories: BTreeSet<PathBuf> =
            files.filter_map(|path| path.parent()).map(Path::to_owned).collect();
        let mut makings = Vec::new();
        for directory in directories {
            let batch = batch.clone();
            makings.push(tokio_uring::spawn(async move {
                let error = |source| StoreError::CreateDirectory { path: directory.clone(), source };
                create_directory(&directory, &batch).await.map_err(error)
            }));
        }
        for making in makings {
            making.await.expect("a making does not panic")?;
        }
        let mut writes = Vec::new();
        for path in batch.replace.keys() {
            let (batch, path) = (batch.clone(), path.clone());
            writes.push(tokio_uring::spawn(async move { replace(&path, &batch.replace[&path]).await }));
        }
        for path in batch.append.keys() {
            let (batch, path) = (batch.clone(), path.clone());
            writes.push(tokio_uring::spawn(async move { append_to(&path, &batch).await }));
        }
        for write in writes {
            write.await.expect("a write does not panic")?;
        }
        for path in &batch.remove {
            match std::fs::remove_file(path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::Remove { path: path.clone(), source });
                }
                _ => batch.changed.borrow_mut().extend(path.parent().map(Path::to_owned)),
            }
        }
        batch
            .changed
            .borrow_mut()
            .extend(batch.replace.keys().filter_map(|path| Some(path.parent()?.to_owned())));
        let changed: Vec<PathBuf> = batch.changed.borrow().iter().cloned().collect();
        let syncs: Vec<_> = changed
            .into_iter()
            .map(|directory| tokio_uring::spawn(async move { sync_directory(&directory).await }))
            .collect();
        for sync in syncs {
            sync.await.expect("a sync does not panic")?;
        }
        match &batch.latest {
            Some(agent_id) => self.point_latest(agent_id.as_ref()).await,
            None => Ok(()),
        }
    }

    /// Links are made once in an agent's life: blocking calls will do.
    async fn point_latest(&self, agent_id: Option<&AgentId>) -> Result<(), StoreError> {
        let latest = self.meta.latest();
        let error = |source| StoreError::Link { path: latest.clone(), source };
        let Some(agent_id) = agent_id else {
            return match std::fs::remove_file(&latest) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => Err(error(source)),
                _ => sync_directory(latest.parent().expect("it is in meta")).await,
            };
        };
        let new = latest.with_added_extension("new");
        let linked = std::fs::remove_file(&new)
            .or_else(|source| if source.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(source) })
            .and_then(|()| std::os::unix::fs::symlink(agent_id.as_str(), &new))
            .and_then(|()| std::fs::rename(&new, &latest));
        linked.map_err(error)?;
        sync_directory(latest.parent().expect("it is in meta")).await
    }
}

fn append(batch: &mut Batch, path: PathBuf, record: &UpdateRecord) {
    batch.append.entry(path).or_default().extend(log::entry(record));
}

/// With its parents. The directories above them are to be synced.
async fn create_directory(path: &Path, batch: &Batch) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    for directory in missing.into_iter().rev() {
        batch.changed.borrow_mut().extend(directory.parent().map(Path::to_owned));
        match fs::create_dir(directory).await {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// One file of which nobody else writes, in a directory that is there: durable when this returns.
pub(crate) async fn replace_durably(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes).await?;
    sync_directory(path.parent().expect("a file has a directory")).await
}

async fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    // The whole name and more: files of one directory are written side by side.
    let new = path.with_added_extension("new");
    let error = |source| StoreError::Write { path: new.clone(), source };
    let file = fs::File::create(&new).await.map_err(error)?;
    let (written, _) = file.write_all_at(bytes.to_vec(), 0).await;
    written.map_err(error)?;
    file.sync_all().await.map_err(error)?;
    file.close().await.map_err(error)?;
    fs::rename(&new, path).await.map_err(|source| StoreError::Rename { path: path.to_owned(), source })
}

/// At the end of what was there before the batch.
async fn append_to(path: &Path, batch: &Batch) -> Result<(), StoreError> {
    let error = |source| StoreError::Append { path: path.to_owned(), source };
    if !path.exists() {
        batch.changed.borrow_mut().extend(path.parent().map(Path::to_owned));
    }
    let file = fs::OpenOptions::new().create(true).write(true).open(path).await.map_err(error)?;
    let known = batch.ends.borrow().get(path).copied();
    let end = match known {
        Some(end) => end,
        None => file.statx().await.map_err(error)?.stx_size,
    };
    batch.ends.borrow_mut().insert(path.to_owned(), end);
    let (written, _) = file.write_all_at(batch.append[path].clone(), end).await;
    written.map_err(error)?;
    file.sync_data().await.map_err(error)?;
    file.close().await.map_err(error)
}

async fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let error = |source| StoreError::SyncDirectory { path: path.to_owned(), source };
    let directory = fs::File::open(path).await.map_err(error)?;
    directory.sync_all().await.map_err(error)?;
    directory.close().await.map_err(error)
}
