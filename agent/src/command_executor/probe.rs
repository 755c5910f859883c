//! Commands of checks: children of the executor, as the task's command is, and so in its cgroup and namespaces, as its user,
//! in its folder. What they print goes to the sandbox's stderr.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use api::v1;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::process;
use super::start::{self, Start};
use crate::checks::core::Outcome;
use crate::checks::runner::{Commands, Connect, connect_here};
use crate::containerizer::destroy::kill_marked_now;
use crate::containerizer::service::message;
use crate::containerizer::task::TaskLaunch;
use crate::sys::clone::spawn;
use crate::sys::pidfd::{self, Exit};
use crate::sys::processes::{self, Mark};
use crate::sys::watch::Watch;

/// Names the probe in the environment of everything that it starts.
const MARK_VARIABLE: &str = "INGOT_PROBE";

/// Where commands are run: beside a task.
pub(super) struct Place {
    /// As what the task was started.
    pub(super) start: Start,
    /// Where programs are searched for if neither the task nor the check says.
    pub(super) path: String,
    /// By what the task was started, and its process, if it is not a child like ourselves.
    pub(super) launch: Option<(Arc<TaskLaunch>, OwnedFd)>,
}

/// To the task's network, which may be one of its own.
pub(super) fn connect(place: &Arc<Place>) -> Connect {
    let launch = place.launch.as_ref();
    if !launch.is_some_and(|(launch, _)| process::has_network(launch)) {
        return connect_here();
    }
    let place = place.clone();
    Arc::new(move |address| {
        let connected = || {
            let (_, task) = place.launch.as_ref().expect("it was just there");
            // To a loopback address, so that it does not take long.
            let stream = process::connect_in(task.as_fd(), address)?;
            stream.set_nonblocking(true)?;
            TcpStream::from_std(stream)
        };
        Box::pin(std::future::ready(connected()))
    })
}

pub(super) fn commands(place: Arc<Place>) -> Commands {
    Arc::new(move |asked| {
        let (place, asked) = (place.clone(), asked.clone());
        Box::pin(async move {
            match Running::start(&place, &asked) {
                Ok(running) => running.ended().await,
                Err(why) => Outcome::Failed { why },
            }
        })
    })
}

/// A probe's command. Dropped, it and all that it has started is killed, unless it has ended by itself: then what it left
/// behind is the task's.
struct Running {
    watch: Watch,
    mark: Mark,
    is_over: bool,
}

impl Running {
    fn start(place: &Place, asked: &v1::CommandInfo) -> Result<Self, String> {
        let mut start = start::beside(&place.start, asked, &place.path).map_err(|error| error.to_string())?;
        let name = format!("{}-{:x}", std::process::id(), fastrand::u64(..));
        let environment = format!("{MARK_VARIABLE}={name}");
        start.environment.insert(MARK_VARIABLE.to_owned(), name);
        let streams = || -> io::Result<_> {
            let stderr = || io::stderr().as_fd().try_clone_to_owned();
            Ok([File::open("/dev/null")?.into(), stderr()?, stderr()?])
        };
        let streams = streams().map_err(|error| format!("its streams cannot be made: {error}"))?;
        let child = match &place.launch {
            None => spawn(&process::command(&start, streams), None)
                .map_err(|error| format!("execute: {error}"))?,
            Some((launch, task)) => {
                process::beside(task.as_fd(), &start, launch, &streams).map_err(|error| message(&error))?
            }
        };
        let leader_start_ticks = processes::stat(child.pid).map_or(0, |stat| stat.start_ticks);
        let mark = Mark { leader: child.pid, leader_start_ticks, environment };
        match Watch::new(child.pidfd, Interest::READABLE) {
            Ok(watch) => Ok(Self { watch, mark, is_over: false }),
            Err(error) => {
                let _ = kill_marked_now(&mark);
                Err(format!("it cannot be watched: {error}"))
            }
        }
    }

    async fn ended(mut self) -> Outcome {
        loop {
            match pidfd::try_reap(&self.watch) {
                Ok(Some(ended)) => {
                    self.is_over = true;
                    return match ended.exit {
                        Exit::Code(code) => Outcome::Exit(code),
                        other => Outcome::Failed { why: format!("the command {other}") },
                    };
                }
                Ok(None) => {}
                Err(error) => return Outcome::Failed { why: error.to_string() },
            }
            if let Err(error) = self.watch.event().await {
                return Outcome::Failed { why: error.to_string() };
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_over {
            // What escapes this (a session of its own, no parent, no environment) ends with the container.
            let _ = kill_marked_now(&self.mark);
            let _ = pidfd::try_reap(&self.watch);
        }
    }
}
