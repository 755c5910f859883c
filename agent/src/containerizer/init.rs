//! The agent's side of init (`init/main.rs`, compiled by `build.rs`): its program in memory, how it is started and hears what
//! to do, and what it wrote down of an end.
//!
//! ```text
//!   agent                                   init                               the container's program
//!     |-- clone3 into the cgroup ------------>|
//!     |   fds: 0 1 2, spec, report, record    |-- steps before Fork
//!     |                                       |-- fork ----------------------------->|-- steps behind Fork
//!     |<------- report: end of file ----------+----------------- execve -------------|
//!     |                                       |   forwards signals, reaps            |
//!     |                                       |<-------------- ends -----------------|
//!     |          record (a file) <------------|-- exit
//!     |<-------- pidfd is readable -----------|
//! ```
//! The program is a sealed file in memory: nobody can change, delete or replace it while containers run on it, a new version
//! of the agent does not disturb the old one's, and all containers of one agent share its two pages.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::id::ContainerId;
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::nested::NESTED;
use super::record::{self, Record};
use super::spec::{FDS_COUNT, Report, Tag};
use super::steps::{Step, encode};
use crate::sys::clone::Child;
use crate::sys::pidfd::{self, Ended, Exit, Rusage};
use crate::sys::{SysError, vfork};

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ingot-init"));

/// From init's start to the program's execution; one that takes this long is stuck (a dead network file system) and is
/// killed, so that the launcher thread never hangs.
const EXEC_DEADLINE: Duration = Duration::from_secs(10);

/// Init's program, ready to be executed.
#[derive(Debug)]
pub struct Init {
    program: OwnedFd,
}

/// What a container's init is started with.
#[derive(Debug)]
pub struct Start<'a> {
    /// What it is called in a list of processes.
    pub name: &'a str,
    pub spec: &'a [u8],
    /// By what its processes are found where it has no cgroup: an entry of the environment.
    pub mark: CString,
    pub stdio: [BorrowedFd<'a>; 3],
    pub record: BorrowedFd<'a>,
    /// What init has open, so that it outlives the agent.
    pub keep: Option<BorrowedFd<'a>>,
    /// A process whose namespaces it enters: see [`super::order::Numbers`].
    pub enter: Option<BorrowedFd<'a>>,
    /// A user namespace, or a process in it, that the program enters.
    pub users: Option<BorrowedFd<'a>>,
    pub cgroup: Option<BorrowedFd<'a>>,
    /// `CLONE_NEW*` of those that it begins in.
    pub namespaces: u64,
}

/// A process that does nothing, in namespaces that are made meanwhile; it ends with this.
#[derive(Debug)]
pub(super) struct Still {
    child: Child,
    /// It ends with the agent, too.
    _writer: OwnedFd,
}

impl Still {
    pub(super) fn pid(&self) -> i32 {
        self.child.pid
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        end(&self.child);
    }
}

/// Why a program does not run.
#[derive(Clone, Copy, Debug)]
pub struct NotRun {
    /// Which of the steps failed, where it was one of them.
    pub place: Option<usize>,
    pub error: SysError,
}

impl From<SysError> for NotRun {
    fn from(error: SysError) -> Self {
        Self { place: None, error }
    }
}

impl Init {
    /// `folder`: where the program is put if the machine executes nothing from memory (`vm.memfd_noexec`); it has no name
    /// there.
    pub fn load(folder: &Path) -> io::Result<Self> {
        let program = match sealed("ingot-init", PROGRAM, true) {
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => unnamed(folder)?,
            other => other?,
        };
        Ok(Self { program })
    }

    /// Blocks until the container's program runs. On an error nothing runs.
    pub(crate) fn start(&self, start: &Start<'_>) -> Result<Child, NotRun> {
        let spec = sealed("ingot-spec", start.spec, false)
            .map_err(|error| SysError { call: "memfd_create", errno: errno(&error) })?;
        let (reader, writer) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(SysError::of("pipe2"))?;
        let [stdin, stdout, stderr] = start.stdio;
        let given = [stdin, stdout, stderr, spec.as_fd(), writer.as_fd(), start.record];
        let descriptors: Vec<BorrowedFd<'_>> =
            given.into_iter().chain(start.keep).chain(start.enter).chain(start.users).collect();
        debug_assert!(descriptors.len() <= FDS_COUNT, "more than init looks for: {descriptors:?}");
        let name =
            CString::new(format!("ingot-init {}", start.name)).unwrap_or_else(|_| c"ingot-init".into());
        let child = vfork::start(&vfork::Start {
            program: self.program.as_fd(),
            args: &[name],
            env: std::slice::from_ref(&start.mark),
            descriptors: &descriptors,
            cgroup: start.cgroup,
            namespaces: start.namespaces,
        })?;
        drop(writer);
        match read_report(reader) {
            None => Ok(child),
            Some(error) => {
                end(&child);
                Err(error)
            }
        }
    }
}

impl Init {
    /// Begins in those namespaces, and stays there.
    pub(super) fn stand_still(&self, namespaces: u64) -> Result<Still, SysError> {
        let failed = |call| move |error: io::Error| SysError { call, errno: errno(&error) };
        let spec = sealed("ingot-spec", &encode(&[Step::Await]), false).map_err(failed("memfd_create"))?;
        let (reader, writer) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(SysError::of("pipe2"))?;
        let null = File::open("/dev/null").map_err(failed("open /dev/null"))?;
        let (null, spec) = (null.as_fd(), spec.as_fd());
        let child = vfork::start(&vfork::Start {
            program: self.program.as_fd(),
            args: &[c"ingot-init".into()],
            env: &[],
            // The pipe is where it would report.
            descriptors: &[null, null, null, spec, reader.as_fd(), null],
            cgroup: None,
            namespaces,
        })?;
        Ok(Still { child, _writer: writer })
    }
}

/// Kills and reaps a child that just began; the program's process dies with it.
pub(super) fn end(child: &Child) {
    let _ = pidfd::send_signal(&child.pidfd, libc::SIGKILL);
    let _ = pidfd::wait_for_end(&[child.pidfd.as_fd()], None);
    let _ = pidfd::try_reap(&child.pidfd);
}

/// Waits until the program is executed (the pipe closes by itself) or a step failed.
fn read_report(reader: OwnedFd) -> Option<NotRun> {
    // `wait_for_end` is a poll for readable: a pipe becomes so by a report and by its end.
    match pidfd::wait_for_end(&[reader.as_fd()], Some(EXEC_DEADLINE)) {
        Ok(0) => return Some(SysError { call: "execve", errno: Errno::ETIMEDOUT }.into()),
        Ok(_) => {}
        Err(error) => return Some(error.into()),
    }
    let mut bytes = [0; Report::BYTES];
    match File::from(reader).read_exact(&mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
        Err(error) => return Some(SysError { call: "read", errno: errno(&error) }.into()),
    }
    let report = Report::decode(bytes);
    let call = Tag::of(report.tag).map_or("init", Tag::name);
    let place = (report.tag != 0).then_some(report.place as usize);
    Some(NotRun { place, error: SysError { call, errno: Errno::from_raw(report.errno) } })
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// A file in memory that nobody can change any more.
fn sealed(name: &str, content: &[u8], is_executable: bool) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = match memfd_create(name, flags | if is_executable { MFD_EXEC } else { MFD_NOEXEC_SEAL }) {
        // Linux before 6.3, where every such file can be executed.
        Err(Errno::EINVAL) => memfd_create(name, flags)?,
        other => other?,
    };
    let mut file = File::from(fd);
    file.write_all(content)?;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_ADD_SEALS(nix::fcntl::SealFlag::all()))?;
    Ok(file.into())
}

// linux/memfd.h, 6.3.
const MFD_NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(0x8);
const MFD_EXEC: MFdFlags = MFdFlags::from_bits_retain(0x10);

/// A file on disk without a name, open for reading: one that is open for writing cannot be executed.
fn unnamed(folder: &Path) -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).mode(0o500).custom_flags(libc::O_TMPFILE).open(folder)?;
    file.write_all(PROGRAM)?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    Ok(File::open(path)?.into())
}

/// A container's own folder, beside its sandbox: what the agent keeps of it, and no task can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    folder: PathBuf,
}

impl Runtime {
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn record(&self) -> PathBuf {
        self.folder.join("exit")
    }

    /// Makes the folder and the file for the program's end, as long as it will be: writing over it takes no space of a disk
    /// that may be full by then, and no permission of a user who may have changed.
    ///
    /// Nothing is forced to the disk. What the file says has to survive the agent, which the page cache does; it would also
    /// have to survive the machine, but then the container's tasks are gone anyway, and the agent knows by the boot.
    pub(super) fn create(&self) -> io::Result<File> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(self.record())?;
        file.write_all_at(&[0; record::BYTES], 0)?;
        Ok(file)
    }

    /// How the program ended, if init has written it down.
    pub(super) fn ended(&self) -> Option<Ended> {
        let record = Record::decode(&std::fs::read(self.record()).ok()?)?;
        let Record { wait_status, user_us, system_us, rss_peak_bytes, .. } = record;
        let exit = match wait_status & 0x7f {
            0 => Exit::Code(wait_status >> 8 & 0xff),
            number => Exit::Signal { number, core_dumped: wait_status & 0x80 != 0 },
        };
        Some(Ended { exit, usage: Some(Rusage { user_us, system_us, rss_peak_bytes }) })
    }

    /// Writes down what the container is made from. As with the end, it need not outlive the machine.
    pub(super) fn note(&self, call: &[u8]) -> io::Result<()> {
        let fresh = self.folder.join("call.new");
        std::fs::write(&fresh, call)?;
        std::fs::rename(fresh, self.folder.join("call"))
    }

    /// The names of what is nested in it, and what was noted of each.
    pub(super) fn noted(&self) -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(self.folder.join(NESTED)).into_iter().flatten().flatten();
        let read = |entry: std::fs::DirEntry| {
            let call = std::fs::read(entry.path().join("call")).ok()?;
            Some((entry.file_name().into_string().ok()?, call))
        };
        entries.filter_map(read).collect()
    }

    /// Writes down which limit ended it. As with the end, it need not outlive the machine.
    pub(super) fn tell_limitation(&self, told: &[u8]) -> io::Result<()> {
        let fresh = self.folder.join("limitation.new");
        std::fs::write(&fresh, told)?;
        std::fs::rename(fresh, self.folder.join("limitation"))
    }

    /// `None`: none did.
    pub(super) fn limitation(&self) -> Option<Vec<u8>> {
        std::fs::read(self.folder.join("limitation")).ok()
    }

    /// Writes the end down in init's stead, if init has not, and there is anything to say.
    pub(super) fn settle(&self, ended: Ended) {
        let wait_status = match ended.exit {
            Exit::Code(code) => (code & 0xff) << 8,
            Exit::Signal { number, core_dumped } => number & 0x7f | if core_dumped { 0x80 } else { 0 },
            Exit::Unknown => return,
        };
        if self.ended().is_some() {
            return;
        }
        let Rusage { user_us, system_us, rss_peak_bytes } = ended.usage.unwrap_or_default();
        let record = Record { wait_status, user_us, system_us, rss_peak_bytes, ended_unix_us: 0 };
        let write = || OpenOptions::new().write(true).open(self.record())?.write_all_at(&record.encode(), 0);
        if let Err(error) = write() {
            tracing::warn!(%error, folder = %self.folder.display(), "how a container ended is not written down");
        }
    }

    /// Forgets all containers in this folder but those.
    pub(super) fn remove_others(folder: &Path, known: &BTreeSet<ContainerId>) -> io::Result<()> {
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|name| known.contains(&ContainerId::new(name))) {
                Self::of(&entry.path()).remove()?;
            }
        }
        Ok(())
    }

    /// Forgets the container; that there is nothing to forget is no error.
    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
