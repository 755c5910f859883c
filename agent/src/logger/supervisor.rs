//! The agent's side of the logger's process: started with the agent, started again whenever it ends.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;

use super::SUBCOMMAND;
use crate::sys::clone::{Command, spawn};
use crate::sys::pidfd;
use crate::sys::watch::Watch;

/// Before a logger that has ended is started again: containers wait meanwhile, once their pipes are full.
const PAUSE: Duration = Duration::from_millis(100);

/// A logger. It hears of our end by its standard input, whose other end is here.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
    _alive: OwnedFd,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }
}

/// Starts a logger, which takes over from the one that there may be. `program` is the agent's own. Blocks for a moment.
pub fn start(program: &Path, work_dir: &Path) -> io::Result<Process> {
    let (theirs, ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
    let command = Command {
        programs: vec![text(program.as_os_str().as_bytes())?],
        args: vec![
            c"ingot-agent".into(),
            text(SUBCOMMAND.as_bytes())?,
            text(work_dir.as_os_str().as_bytes())?,
        ],
        env: Vec::new(),
        directory: c"/".into(),
        stdio: [
            theirs,
            File::options().write(true).open("/dev/null")?.into(),
            io::stderr().as_fd().try_clone_to_owned()?,
        ],
        identity: None,
    };
    let child = spawn(&command, None).map_err(io::Error::other)?;
    Ok(Process { pid: child.pid, pidfd: child.pidfd, _alive: ours })
}

/// Sees to it that there is a logger, for ever.
pub async fn keep(program: &Path, work_dir: &Path) {
    loop {
        match start(program, work_dir) {
            Ok(process) => {
                let ended = wait(process).await;
                tracing::error!(ended, "the container logger has ended; starting another");
            }
            Err(error) => {
                tracing::error!(%error, "no container logger can be started; containers that print wait")
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn wait(process: Process) -> String {
    let watch = match Watch::new(process.pidfd, Interest::READABLE) {
        Ok(watch) => watch,
        Err(error) => return error.to_string(),
    };
    loop {
        match pidfd::try_reap(&watch) {
            Ok(Some(ended)) => return ended.exit.to_string(),
            Ok(None) => {}
            Err(error) => return error.to_string(),
        }
        if let Err(error) = watch.event().await {
            return error.to_string();
        }
    }
}
