//! Reads back what an earlier life of the agent wrote down. Blocking: it runs before anything else does.
//!
//! What was being written when that life ended may be missing, half there or there twice. A run without its
//! `executor.info` was never launched; a task without its `task.info` was never delivered; a log's torn end was never
//! acknowledged to anybody. None of these is an error. A file that is whole but cannot be understood is: the agent does
//! not start, rather than start without the tasks it promised to keep.

use crate::checkpoint::layout::{self, Meta};
use crate::checkpoint::log::{self, LogError};
use crate::node::drain::Drain;
use crate::node::effect::Run;
use crate::node::recovery::{Recovered, RecoveredExecutor, RecoveredFramework, RecoveredTask};
use model::agent_info::AgentInfo;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::task::TaskStatus;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use wire::WireError;
use wire::checkpoint::{
    AgentFile, DrainFile, ExecutorFile, ProcessFile, TaskFile, UpdateRecord, decode_framework,
};

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("understand {path}; to start as a new agent, without its tasks, remove {latest}")]
    Understand { path: PathBuf, latest: PathBuf, source: WireError },
    #[error("understand {path}; to start as a new agent, without its tasks, remove {latest}")]
    Log { path: PathBuf, latest: PathBuf, source: LogError },
    #[error("cut the torn end off {path}")]
    Cut { path: PathBuf, source: io::Error },
}

/// A checkpoint that was found.
#[derive(Debug)]
pub struct Loaded {
    pub recovered: Recovered,
    /// As it described itself then.
    pub info: AgentInfo,
}

/// `None`: there is no earlier life, or it was told to go.
pub fn load(work_dir: &Path, boot_id: &str) -> Result<Option<Loaded>, LoadError> {
    let meta = Meta::of(work_dir);
    let latest = meta.latest();
    let agent_id = match std::fs::read_link(&latest) {
        Ok(target) => AgentId::new(target.to_string_lossy()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LoadError::Read { path: latest, source }),
    };
    let loader = Loader { meta, agent_id, latest };
    let Some(file) =
        loader.read(&loader.meta.agent(&loader.agent_id).join(layout::AGENT_INFO), AgentFile::decode)?
    else {
        return Ok(None);
    };
    let rebooted = *file.boot_id != *boot_id;
    let mut frameworks = Vec::new();
    for name in names(&loader.meta.agent(&loader.agent_id).join("frameworks"))? {
        frameworks.extend(loader.framework(&FrameworkId::new(&name), rebooted)?);
    }
    let drain =
        loader.read(&loader.meta.agent(&loader.agent_id).join(layout::DRAIN_INFO), DrainFile::decode)?;
    let draining = drain.map(|DrainFile { max_grace_ns, marks_gone, started }| Drain {
        max_grace_ns,
        marks_gone,
        started,
    });
    let (agent_id, master_id, total) = (file.agent_id, file.master_id, file.info.total.clone());
    let recovered = Recovered { agent_id, master_id, total, rebooted, draining, frameworks };
    Ok(Some(Loaded { recovered, info: file.info }))
}

struct Loader {
    meta: Meta,
    agent_id: AgentId,
    latest: PathBuf,
}

impl Loader {
    /// `None` when the file is not there.
    fn read<T>(
        &self,
        path: &Path,
        decode: impl Fn(&[u8]) -> Result<T, WireError>,
    ) -> Result<Option<T>, LoadError> {
        match std::fs::read(path) {
            Ok(bytes) => decode(&bytes).map(Some).map_err(|source| LoadError::Understand {
                path: path.to_owned(),
                latest: self.latest.clone(),
                source,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LoadError::Read { path: path.to_owned(), source }),
        }
    }

    fn framework(
        &self,
        framework_id: &FrameworkId,
        rebooted: bool,
    ) -> Result<Option<RecoveredFramework>, LoadError> {
        let path = self.meta.framework(&self.agent_id, framework_id);
        let Some(info) = self.read(&path.join(layout::FRAMEWORK_INFO), decode_framework)? else {
            return Ok(None);
        };
        // The directory's name is what all paths are made from; the id in the file must be the same.
        let info = FrameworkInfo { framework_id: Some(framework_id.clone()), ..info };
        let mut executors = Vec::new();
        for executor in names(&path.join("executors"))? {
            for container in names(&path.join("executors").join(&executor).join("runs"))? {
                let run = Run {
                    framework_id: framework_id.clone(),
                    executor_id: ExecutorId::new(&executor),
                    container_id: ContainerId::new(&container),
                };
                executors.extend(self.executor(&run, rebooted)?);
            }
        }
        Ok(Some(RecoveredFramework { info, executors }))
    }

    fn executor(&self, run: &Run, rebooted: bool) -> Result<Option<RecoveredExecutor>, LoadError> {
        let path = self.meta.run(&self.agent_id, run);
        let Some(file) = self.read(&path.join(layout::EXECUTOR_INFO), ExecutorFile::decode)? else {
            return Ok(None);
        };
        let process = self.read(&path.join(layout::PROCESS_INFO), ProcessFile::decode)?;
        let mut tasks = Vec::new();
        for name in names(&path.join("tasks"))? {
            tasks.extend(self.task(run, &TaskId::new(&name))?);
        }
        Ok(Some(RecoveredExecutor {
            info: file.executor,
            container_id: run.container_id.clone(),
            is_command: file.is_command,
            pid: process.map(|file| file.pid).filter(|_| !rebooted),
            is_done: path.join(layout::EXECUTOR_DONE).exists(),
            tasks,
        }))
    }

    fn task(&self, run: &Run, task_id: &TaskId) -> Result<Option<RecoveredTask>, LoadError> {
        let path = self.meta.task(&self.agent_id, run, task_id);
        let Some(file) = self.read(&path.join(layout::TASK_INFO), TaskFile::decode)? else { return Ok(None) };
        let (updates, acknowledged) = self.log(&path.join(layout::TASK_UPDATES))?;
        Ok(Some(RecoveredTask { info: file.task, group: file.group, updates, acknowledged }))
    }

    fn log(&self, path: &Path) -> Result<(Vec<TaskStatus>, BTreeSet<UpdateId>), LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let mut file = match std::fs::OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(source) => return Err(read(source)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(read)?;
        let (records, whole) = log::records(&bytes).map_err(|source| LoadError::Log {
            path: path.to_owned(),
            latest: self.latest.clone(),
            source,
        })?;
        if whole < bytes.len() {
            // Or what is appended from now on would stand behind it and never be read.
            let cut = |source| LoadError::Cut { path: path.to_owned(), source };
            file.set_len(u64::try_from(whole).expect("a file's length")).map_err(cut)?;
            file.sync_all().map_err(cut)?;
        }
        let (mut updates, mut acknowledged) = (Vec::new(), BTreeSet::new());
        for record in records {
            match record {
                UpdateRecord::Update(status) => updates.push(*status),
                UpdateRecord::Acknowledged(id) => _ = acknowledged.insert(id),
            }
        }
        Ok((updates, acknowledged))
    }
}

/// Names of the directories in one; none if it is not there.
fn names(path: &Path) -> Result<Vec<String>, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(read(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(read)?;
        if entry.file_type().map_err(read)?.is_dir() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort();
    Ok(names)
}
