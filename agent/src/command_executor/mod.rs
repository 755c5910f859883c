//! The command executor: the small process under which a command task runs, `ingot-agent command-executor`, so that the
//! task can outlive the agent. It speaks the public executor API to the agent that its environment names. `core` and
//! `start` decide, `process` is the command, and this is the shell: it hears, tells and keeps time.
#![expect(clippy::disallowed_methods, reason = "a shell: it reads the clocks for its core")]

mod core;
mod probe;
mod process;
#[cfg(test)]
mod scenarios;
mod start;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::v1::executor::event;
use api::v1::framework_info::capability;
use client::Encoding;
use client::executor::{Calls, Environment, Events, Incoming, connect};
use model::time::{Now, Time, UnixTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;

use self::core::{Core, Effect, Input, Settings};
use self::process::Process;
use crate::checks::core as checks;
use crate::checks::runner::Runner;
use crate::containerizer::plan::PATH;
use crate::containerizer::task::{self, TaskLaunch};
use crate::duration::parse_ns;

const GRACE: &str = "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD";
/// Where the agent does not say.
const GRACE_NS: u64 = 5_000_000_000;

/// Why there is no executor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartupError {
    #[error(transparent)]
    Environment(#[from] client::Error),
    #[error("{GRACE}: {why}")]
    Grace { why: String },
    #[error("what the agent left to start the task by")]
    Launch(#[source] std::io::Error),
    #[error("the event loop cannot be made")]
    Runtime(#[source] std::io::Error),
}

/// Runs one task, as the `MESOS_*` variables of this process say. Success: the agent has acknowledged the task's end,
/// whatever that was, or there was none to run.
pub fn run() -> ExitCode {
    exit_code(try_run())
}

/// What became of an executor: done, not done, or never begun.
pub(crate) fn exit_code(done: Result<bool, StartupError>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            print(&chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// How long what runs may take to end when the executor is told to, nanoseconds; the agent says it.
pub(crate) fn shutdown_grace_ns() -> Result<u64, StartupError> {
    match std::env::var(GRACE) {
        Ok(text) => parse_ns(&text).map_err(|why| StartupError::Grace { why }),
        Err(_) => Ok(GRACE_NS),
    }
}

fn try_run() -> Result<bool, StartupError> {
    let environment = Environment::read()?;
    let launch = std::env::var_os(task::VARIABLE).map(|path| TaskLaunch::read(path.as_ref()));
    let launch = launch.transpose().map_err(StartupError::Launch)?.map(Arc::new);
    let settings = Settings {
        executor_id: environment.executor_id.clone(),
        shutdown_grace_ns: shutdown_grace_ns()?,
        path: std::env::var("PATH").unwrap_or_else(|_| PATH.to_owned()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(StartupError::Runtime)?.block_on(async {
        // Whoever ends this process by a signal wants the task ended, not orphaned.
        let mut terminate = signal(SignalKind::terminate()).map_err(StartupError::Runtime)?;
        let (calls, events) = connect(environment, Encoding::Protobuf);
        let path = settings.path.clone();
        let core = Core::new(settings, fastrand::u64(..));
        let origin = Instant::now();
        let mut shell = Shell {
            core,
            calls,
            events,
            launch,
            path,
            is_abandoned: false,
            process: None,
            probes: None,
            origin,
        };
        loop {
            let input = tokio::select! {
                input = hear(&mut shell.events), if !shell.is_abandoned => input,
                (is_success, how) = ended(shell.process.as_ref()) => {
                    shell.process = None;
                    Some(Input::Ended { is_success, how })
                }
                input = probed(shell.probes.as_mut()) => Some(Input::Checks(input)),
                _ = terminate.recv() => Some(Input::Shutdown),
                () = until(shell.origin, shell.core.deadline()) => None,
            };
            if let Some(is_success) = shell.step(input) {
                return Ok(is_success);
            }
        }
    })
}

/// What one executor holds.
struct Shell {
    core: Core,
    calls: Calls,
    events: Events,
    /// How the task is to be started, if not as a child like ourselves.
    launch: Option<Arc<TaskLaunch>>,
    /// Nothing is heard any more.
    is_abandoned: bool,
    /// From its start until it was reaped.
    process: Option<Process>,
    /// Probes of the task, and their results.
    probes: Option<(Runner, UnboundedReceiver<checks::Input>)>,
    /// Where commands are searched for.
    path: String,
    origin: Instant,
}

impl Shell {
    /// Hands an input to the core, or word that time has passed, and does what it wants. `Some`: the executor is done.
    fn step(&mut self, mut input: Option<Input>) -> Option<bool> {
        if let (Some(Input::Launch(task)), Some(launch)) = (&mut input, &self.launch) {
            launch.adapt(task);
        }
        self.is_abandoned |= matches!(input, Some(Input::Abandoned));
        let mut effects = Vec::new();
        let now = self.now();
        match input {
            Some(input) => self.core.handle(now, input, &mut effects),
            None => self.core.expire(now, &mut effects),
        }
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Update(status) => self.calls.update(*status),
                    Effect::Start(start) => {
                        let input = match Process::start(&start, self.launch.as_deref()) {
                            Ok(process) => {
                                let place = probe::Place {
                                    start: *start,
                                    path: self.path.clone(),
                                    launch: self.launch.clone().zip(process.handle().ok()),
                                };
                                let place = Arc::new(place);
                                let connect = probe::connect(&place);
                                self.probes = Some(Runner::new(probe::commands(place), connect));
                                self.process = Some(process);
                                Input::Started
                            }
                            Err(error) => Input::NotStarted { why: chain(&error) },
                        };
                        let now = self.now();
                        self.core.handle(now, input, &mut effects);
                    }
                    Effect::Signal(signal) => {
                        if let Some(process) = &self.process {
                            process.signal(signal);
                        }
                    }
                    Effect::Probe { which, number, probe } => {
                        if let Some((runner, _)) = &mut self.probes {
                            runner.probe(which, number, *probe);
                        }
                    }
                    Effect::CancelProbe { which } => {
                        if let Some((runner, _)) = &mut self.probes {
                            runner.cancel(which);
                        }
                    }
                    Effect::Note(text) => print(&text),
                    Effect::Exit { is_success } => return Some(is_success),
                }
            }
        }
        None
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            time: Time(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            unix: UnixTime(u64::try_from(unix.as_micros()).unwrap_or(u64::MAX)),
        }
    }
}

/// The next thing from the agent that concerns the core.
async fn hear(events: &mut Events) -> Option<Input> {
    let event = match events.next().await {
        Ok(Incoming::Subscribed(subscribed)) => {
            let capabilities = &subscribed.framework_info.capabilities;
            let reports_killing =
                capabilities.iter().any(|it| it.r#type() == capability::Type::TaskKillingState);
            return Some(Input::Subscribed { reports_killing });
        }
        Ok(Incoming::Event(event)) => *event,
        Ok(Incoming::Lost(error)) => {
            print(&chain(&error));
            return Some(Input::Lost);
        }
        Err(error) => {
            print(&chain(&error));
            return Some(Input::Abandoned);
        }
    };
    match event.r#type() {
        event::Type::Launch => event.launch.map(|it| Input::Launch(Box::new(it.task))),
        event::Type::LaunchGroup => Some(Input::LaunchGroup),
        event::Type::Kill => event.kill.map(|it| Input::Kill {
            grace_ns: it.kill_policy.as_ref().and_then(core::grace_ns),
            task_id: it.task_id,
        }),
        event::Type::Acknowledged => event.acknowledged.map(|it| Input::Acknowledged { uuid: it.uuid }),
        event::Type::Shutdown => Some(Input::Shutdown),
        event::Type::Error => {
            let message = event.error.map(|it| it.message).unwrap_or_default();
            print(&format!("the agent said: {message}"));
            None
        }
        // A command has no ear for a framework's messages.
        event::Type::Message | event::Type::Heartbeat | event::Type::Subscribed | event::Type::Unknown => {
            None
        }
    }
}

async fn probed(probes: Option<&mut (Runner, UnboundedReceiver<checks::Input>)>) -> checks::Input {
    match probes {
        Some((_, results)) => results.recv().await.expect("its runner holds the other end"),
        None => std::future::pending().await,
    }
}

async fn ended(process: Option<&Process>) -> (bool, Option<String>) {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

pub(crate) async fn until(origin: Instant, deadline: Option<Time>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until((origin + Duration::from_nanos(deadline.0)).into()).await,
        None => std::future::pending().await,
    }
}

/// A line in the sandbox's stderr. A full disk must not end the executor.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stderr(), "ingot: {text}");
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    use fmt::Write;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
