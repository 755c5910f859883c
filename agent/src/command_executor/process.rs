//! The command: a child with a session of its own, its end, and signals to everything it has started.

use std::ffi::CString;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::sched::CloneFlags;
use nix::sys::signal::{Signal as Number, kill, killpg};
use nix::unistd::{Pid, getpgid};
use tokio::io::Interest;

use super::core::Signal;
use super::start::Start;
use crate::containerizer::init::{self, Init};
use crate::containerizer::steps::Exec;
use crate::containerizer::task::{self, TaskLaunch};
use crate::sys::clone::{Child, Command, spawn};
use crate::sys::processes::{self, Mark, Table};
use crate::sys::watch::Watch;
use crate::sys::{SysError, pidfd};

/// Names the container in the environment of everything in it.
const MARK_VARIABLE: &str = "MESOS_SANDBOX";

/// For a connection within one machine, while the executor stands still.
const CONNECT_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessError {
    #[error("Failed to execute '{program}'")]
    Execute { program: String, source: SysError },
    #[error("Failed to isolate the task")]
    Isolate(#[source] SysError),
    #[error("the task's own users")]
    Users(#[source] crate::containerizer::users::UsersError),
    #[error("enter the namespaces of the task")]
    Enter(#[source] nix::errno::Errno),
    #[error("what the agent left to start the task by cannot be used")]
    Launch(#[source] io::Error),
    #[error("the standard streams cannot be handed on")]
    Streams(#[source] io::Error),
    #[error("the command cannot be watched")]
    Watch(#[source] io::Error),
}

/// A command that runs, or has ended and was not reaped.
#[derive(Debug)]
pub(super) struct Process {
    /// Of the process, of its group and of its session.
    pid: i32,
    watch: Watch,
    start_ticks: u64,
}

impl Process {
    /// In this process's folder, with its streams, and with its variables under the task's own.
    pub(super) fn start(start: &Start, launch: Option<&TaskLaunch>) -> Result<Self, ProcessError> {
        let child = match launch {
            None => like_ourselves(start)?,
            Some(launch) => by_steps(start, launch)?,
        };
        let start_ticks = processes::stat(child.pid).map_or(0, |stat| stat.start_ticks);
        let watch = Watch::new(child.pidfd, Interest::READABLE).map_err(|source| {
            let _ = killpg(Pid::from_raw(child.pid), Number::SIGKILL);
            ProcessError::Watch(source)
        })?;
        Ok(Self { pid: child.pid, watch, start_ticks })
    }

    /// Means this very process, whatever its number means later.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        self.watch.as_fd().try_clone_to_owned()
    }

    /// Returns when the process has ended and was reaped: whether it succeeded, and how it ended as far as anybody knows.
    pub(super) async fn ended(&self) -> (bool, Option<String>) {
        loop {
            match pidfd::try_reap(&self.watch) {
                Ok(Some(ended)) if ended.exit == pidfd::Exit::Unknown => return (false, None),
                Ok(Some(ended)) => return (ended.exit == pidfd::Exit::Code(0), Some(ended.exit.to_string())),
                Ok(None) => {}
                Err(_) => return (false, None),
            }
            if self.watch.event().await.is_err() {
                return (false, None);
            }
        }
    }

    /// To its group, which no fork can slip out of, and to whatever has left the group and is still of this container.
    /// That a process has ended meanwhile is no error. Not to be called when the command was reaped.
    pub(super) fn signal(&self, signal: Signal) {
        let number = match signal {
            Signal::Terminate => Number::SIGTERM,
            Signal::Kill => Number::SIGKILL,
        };
        let group = Pid::from_raw(self.pid);
        let others = self.others(group);
        let _ = killpg(group, number);
        for pid in others {
            let _ = kill(pid, number);
        }
    }

    fn others(&self, group: Pid) -> Vec<Pid> {
        let Some(sandbox) = std::env::var_os(MARK_VARIABLE) else { return Vec::new() };
        let environment = format!("{MARK_VARIABLE}={}", sandbox.to_string_lossy());
        let mark = Mark { leader: self.pid, leader_start_ticks: self.start_ticks, environment };
        let members = Table::read().members(&mark);
        let pids = members.iter().map(|stat| Pid::from_raw(stat.pid));
        // The container's init process has the mark as well, and must live to tell of our end.
        let pids = pids.filter(|pid| *pid != Pid::this() && *pid != Pid::parent());
        pids.filter(|pid| getpgid(Some(*pid)).is_ok_and(|it| it != group)).collect()
    }
}

fn execute(start: &Start, source: SysError) -> ProcessError {
    let program = start.programs.first().map(|it| it.to_string_lossy().into_owned());
    ProcessError::Execute { program: program.unwrap_or_default(), source }
}

fn like_ourselves(start: &Start) -> Result<Child, ProcessError> {
    let command = command(start, [own(io::stdin())?, own(io::stdout())?, own(io::stderr())?]);
    spawn(&command, None).map_err(|source| execute(start, source))
}

/// In this process's folder, as its user, with its variables under those of `start`.
pub(super) fn command(start: &Start, stdio: [OwnedFd; 3]) -> Command {
    Command {
        programs: start.programs.clone(),
        args: start.args.clone(),
        env: environment(start),
        directory: c".".into(),
        stdio,
        identity: None,
    }
}

/// By an init that does what the agent has left for us, and becomes the command.
fn by_steps(start: &Start, launch: &TaskLaunch) -> Result<Child, ProcessError> {
    let stdio = [own(io::stdin())?, own(io::stdout())?, own(io::stderr())?];
    let init = Init::load(Path::new(".")).map_err(ProcessError::Launch)?;
    let users =
        launch.users().map(|users| users.namespace(&init)).transpose().map_err(ProcessError::Users)?;
    by_init(&init, "task", start, &stdio, users.as_ref().map(AsFd::as_fd), |exec| launch.spec(exec))
}

/// Beside a task that was started by steps, whose first process that is: in the namespaces that it has made, and with the steps
/// that do not make any. A thread of its own enters them, for there is no way back.
pub(super) fn beside(
    task: BorrowedFd<'_>,
    start: &Start,
    launch: &TaskLaunch,
    stdio: &[OwnedFd; 3],
) -> Result<Child, ProcessError> {
    let inside = || {
        let (namespaces, enter) = (CloneFlags::from_bits_retain(launch.namespaces()), ProcessError::Enter);
        if !namespaces.is_empty() {
            // Threads share root and working folder, which are about to be others.
            nix::sched::unshare(CloneFlags::CLONE_FS).map_err(enter)?;
            nix::sched::setns(task, namespaces).map_err(enter)?;
        }
        let init = Init::load(Path::new(".")).map_err(ProcessError::Launch)?;
        let users = launch.users().map(|_| task);
        by_init(&init, "probe", start, stdio, users, |exec| launch.spec_beside(exec))
    };
    let joined = std::thread::scope(|scope| scope.spawn(inside).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Whether the task has a network of its own.
pub(super) fn has_network(launch: &TaskLaunch) -> bool {
    CloneFlags::from_bits_retain(launch.namespaces()).contains(CloneFlags::CLONE_NEWNET)
}

/// Connects in the network of a task. A thread of its own enters it: a socket stays in the network that it was made in.
pub(super) fn connect_in(task: BorrowedFd<'_>, address: SocketAddr) -> io::Result<TcpStream> {
    let inside = || {
        nix::sched::setns(task, CloneFlags::CLONE_NEWNET)?;
        TcpStream::connect_timeout(&address, CONNECT_MAX)
    };
    let joined = std::thread::scope(|scope| scope.spawn(inside).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// `users`: a user namespace, or somebody in it, where the steps enter one.
fn by_init(
    init: &Init,
    name: &str,
    start: &Start,
    [stdin, stdout, stderr]: &[OwnedFd; 3],
    users: Option<BorrowedFd<'_>>,
    spec: impl FnOnce(&Exec) -> Option<Vec<u8>>,
) -> Result<Child, ProcessError> {
    let exec = Exec { programs: start.programs.clone(), args: start.args.clone(), env: environment(start) };
    let spec = spec(&exec).ok_or(ProcessError::Launch(io::ErrorKind::InvalidData.into()))?;
    let begin = init::Start {
        name,
        spec: &spec,
        // It becomes the command, which has an environment of its own.
        mark: c"INGOT=".into(),
        stdio: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        // Nobody writes down its end but this process.
        record: stdin.as_fd(),
        keep: None,
        enter: None,
        users,
        cgroup: None,
        namespaces: 0,
    };
    init.start(&begin).map_err(|not_run| match not_run.place {
        Some(_) if not_run.error.call != "execve" => ProcessError::Isolate(not_run.error),
        _ => execute(start, not_run.error),
    })
}

fn own(stream: impl AsFd) -> Result<OwnedFd, ProcessError> {
    stream.as_fd().try_clone_to_owned().map_err(ProcessError::Streams)
}

/// `NAME=value`, the inherited ones first replaced by the task's own.
fn environment(start: &Start) -> Vec<CString> {
    let is_ours = |name: &str| start.environment.contains_key(name) || name == task::VARIABLE;
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_str().is_none_or(|name| !is_ours(name)));
    let inherited = inherited.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let own = start.environment.iter().map(|(name, value)| format!("{name}={value}").into_bytes());
    let variables = inherited.chain(own);
    variables.map(|it| CString::new(it).expect("a NUL was refused, or never came through execve")).collect()
}
