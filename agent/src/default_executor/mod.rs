//! The default executor: the small process under which task groups run, `ingot-agent default-executor`, one for any number
//! of groups. Each task is a container nested in this process's own, which the agent makes and watches, so that a task is
//! limited, measured and looked into as any other. It speaks the public executor API, and the agent's API about containers,
//! to the agent that its environment names. `core`, `task` and `launch` decide, and this is the shell: it hears, tells, asks
//! and keeps time.
#![expect(clippy::disallowed_methods, reason = "a shell: it reads the clocks for its core")]

mod core;
mod launch;
#[cfg(test)]
mod laws;
mod probe;
#[cfg(test)]
mod scenarios;
mod task;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use api::v1::agent::call::LaunchContainer;
use api::v1::executor::event;
use api::v1::framework_info::capability;
use client::containers::Containers;
use client::executor::{Calls, Environment, Events, Incoming, connect};
use client::{Encoding, Error};
use model::time::{Now, Time, UnixTime};
use nix::sys::signal::Signal as Number;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::core::{Core, Effect, Input, Settings, Signal, Told};
use crate::checks::runner::{Runner, connect_here};
use crate::command_executor::{StartupError, chain, exit_code, print, shutdown_grace_ns, until};
use crate::sys::pidfd::Exit;

/// The address of the network that this process shares with its containers, as the agent tells executors.
const IP: &str = "LIBPROCESS_IP";
/// In the sandbox: a link for each task, by its id, to its own sandbox.
const TASKS: &str = "tasks";
/// In the sandbox: where the agent makes those of nested containers.
const CONTAINERS: &str = "containers";

/// Runs groups of tasks, as the `MESOS_*` variables of this process say. Success: the agent has acknowledged the ends of
/// all, whatever they were, or there were none to run.
pub fn run() -> ExitCode {
    exit_code(try_run())
}

fn try_run() -> Result<bool, StartupError> {
    let environment = Environment::read()?;
    let settings = Settings {
        executor_id: environment.executor_id.clone(),
        shutdown_grace_ns: shutdown_grace_ns()?,
        container_ip: std::env::var(IP).unwrap_or_default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(StartupError::Runtime)?.block_on(async {
        // Whoever ends this process by a signal wants its tasks ended, not orphaned.
        let mut terminate = signal(SignalKind::terminate()).map_err(StartupError::Runtime)?;
        let (is_subscribed, is_there) = watch::channel(false);
        let containers = Containers::new(environment.agent.clone(), is_there);
        let (calls, events) = connect(environment, Encoding::Protobuf);
        let (answers, mut answered) = mpsc::unbounded_channel();
        let core = Core::new(settings, fastrand::u64(..));
        let (origin, watched) = (Instant::now(), BTreeMap::new());
        let mut shell = Shell { core, calls, events, is_subscribed, containers, answers, watched, origin };
        loop {
            let input = tokio::select! {
                input = hear(&mut shell.events) => input,
                answer = answered.recv() => answer,
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
    /// For those who ask the agent about containers.
    is_subscribed: watch::Sender<bool>,
    containers: Containers,
    /// Where what they learn goes.
    answers: mpsc::UnboundedSender<Input>,
    /// Who probes each task that is watched, by its container.
    watched: BTreeMap<String, Runner>,
    origin: Instant,
}

impl Shell {
    /// Hands an input to the core, or word that time has passed, and does what it wants. `Some`: the executor is done.
    fn step(&mut self, input: Option<Input>) -> Option<bool> {
        match &input {
            Some(Input::Subscribed { .. }) => _ = self.is_subscribed.send_replace(true),
            Some(Input::Lost) => _ = self.is_subscribed.send_replace(false),
            Some(Input::Ended { container_id, .. } | Input::NotLaunched { container_id, .. }) => {
                self.watched.remove(container_id);
            }
            _ => {}
        }
        let mut effects = Vec::new();
        let now = self.now();
        match input {
            Some(input) => self.core.handle(now, input, &mut effects),
            None => self.core.expire(now, &mut effects),
        }
        for effect in effects {
            match effect {
                Effect::Update(status) => self.calls.update(*status),
                Effect::Link { task_id, container_id } => link(&task_id.value, &container_id),
                Effect::Note(text) => print(&text),
                Effect::Exit { is_success } => return Some(is_success),
                Effect::Probe { container_id, which, number, probe } => {
                    if let Some(runner) = self.watched.get_mut(&container_id) {
                        runner.probe(which, number, *probe);
                    }
                }
                Effect::CancelProbe { container_id, which } => {
                    if let Some(runner) = self.watched.get_mut(&container_id) {
                        runner.cancel(which);
                    }
                }
                Effect::Launch(launch) => {
                    self.watch(&launch);
                    self.ask(Effect::Launch(launch));
                }
                Effect::Wait(_) | Effect::Signal { .. } => self.ask(effect),
            }
        }
        None
    }

    /// Makes ready to probe the task of this container. What it finds is an input.
    fn watch(&mut self, launch: &LaunchContainer) {
        let commands = probe::commands(self.containers.clone(), launch);
        let (runner, mut results) = Runner::new(commands, connect_here());
        let (answers, container_id) = (self.answers.clone(), launch.container_id.value.clone());
        self.watched.insert(container_id.clone(), runner);
        // Ends with its runner.
        tokio::spawn(async move {
            while let Some(input) = results.recv().await {
                _ = answers.send(Input::Checks { container_id: container_id.clone(), input });
            }
        });
    }

    /// Asks the agent, for as long as it takes; its answer is an input.
    fn ask(&self, effect: Effect) {
        let (containers, answers) = (self.containers.clone(), self.answers.clone());
        tokio::spawn(async move {
            let answer = match effect {
                Effect::Launch(launch) => {
                    let container_id = launch.container_id.value.clone();
                    match containers.launch(*launch).await {
                        Ok(()) => Input::Launched { container_id },
                        Err(error) => Input::NotLaunched { container_id, why: refusal(error) },
                    }
                }
                Effect::Wait(id) => {
                    let container_id = id.value.clone();
                    let told = containers.wait(id).await.unwrap_or_else(|error| {
                        print(&chain(&error));
                        None
                    });
                    let told = told.map(|wait| Told {
                        how: wait.exit_status.map(|it| Exit::from_wait_status(it).to_string()),
                        wait,
                    });
                    Input::Ended { container_id, told }
                }
                Effect::Signal { container_id, signal } => {
                    let number = match signal {
                        Signal::Terminate => Number::SIGTERM,
                        Signal::Kill => Number::SIGKILL,
                    };
                    // The end of the container is what tells that it arrived.
                    return if let Err(error) = containers.signal(container_id, number as i32).await {
                        print(&chain(&error));
                    };
                }
                _ => return,
            };
            // Nobody hears it when the executor is done.
            _ = answers.send(answer);
        });
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            time: Time(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)),
            unix: UnixTime(u64::try_from(unix.as_micros()).unwrap_or(u64::MAX)),
        }
    }
}

/// The agent's own words, where it is the agent that said no.
fn refusal(error: Error) -> String {
    match error {
        Error::Refused { text, .. } if !text.is_empty() => text,
        error => chain(&error),
    }
}

/// The next thing from the agent that concerns the core.
async fn hear(events: &mut Events) -> Option<Input> {
    let event = match events.next().await {
        Ok(Incoming::Subscribed(subscribed)) => {
            let capabilities = &subscribed.framework_info.capabilities;
            let reports_killing =
                capabilities.iter().any(|it| it.r#type() == capability::Type::TaskKillingState);
            let container_id = subscribed.container_id.clone().unwrap_or_default();
            return Some(Input::Subscribed { container_id, reports_killing });
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
        event::Type::Launch => Some(Input::Launch),
        event::Type::LaunchGroup => event.launch_group.map(|it| Input::LaunchGroup(it.task_group.tasks)),
        event::Type::Kill => event.kill.map(|it| Input::Kill {
            grace_ns: it.kill_policy.as_ref().and_then(task::grace_ns),
            task_id: it.task_id,
        }),
        event::Type::Acknowledged => event.acknowledged.map(|it| Input::Acknowledged { uuid: it.uuid }),
        event::Type::Shutdown => Some(Input::Shutdown),
        event::Type::Error => {
            let message = event.error.map(|it| it.message).unwrap_or_default();
            print(&format!("the agent said: {message}"));
            None
        }
        // Tasks have no ear for a framework's messages.
        event::Type::Message | event::Type::Heartbeat | event::Type::Subscribed | event::Type::Unknown => {
            None
        }
    }
}

/// For people and for `/files`: the agent names sandboxes by containers, and people know tasks. A task id that was used
/// before gets the new one.
fn link(task_id: &str, container_id: &str) {
    let path = Path::new(TASKS).join(task_id);
    let target = Path::new("..").join(CONTAINERS).join(container_id);
    let made = std::fs::create_dir_all(TASKS).and_then(|()| match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => symlink(&target, &path),
    });
    if let Err(error) = made {
        print(&format!("{} cannot be made: {error}", path.display()));
    }
}
