//! Probes what the core wants to have probed, each probe a task of the runtime, and hands its result on. A probe that is
//! cancelled, or has had its time, is dropped where it stands, and takes along what it holds: its connection, its command.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::v1;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::core::{Input, Outcome, Which};
use super::http;
use super::probe::{Probe, Target};

/// What becomes of a command. Dropped before its end, the command is killed with all that it has started.
pub(crate) type Command = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// How a command is run where the task is: in its container, as its user, with its environment.
pub(crate) type Commands = Arc<dyn Fn(&v1::CommandInfo) -> Command + Send + Sync>;

/// A connection that is being made.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// How a task's network is reached.
pub(crate) type Connect = Arc<dyn Fn(SocketAddr) -> Connecting + Send + Sync>;

/// Where the task has the network that we have.
pub(crate) fn connect_here() -> Connect {
    Arc::new(|address| Box::pin(TcpStream::connect(address)))
}

/// Runs the probes of one task. Dropped, it cancels them.
pub(crate) struct Runner {
    commands: Commands,
    connect: Connect,
    results: mpsc::UnboundedSender<Input>,
    running: [Option<AbortHandle>; 2],
}

impl Runner {
    /// What comes out of the receiver is the core's next input. It never ends before the runner.
    pub(crate) fn new(commands: Commands, connect: Connect) -> (Self, mpsc::UnboundedReceiver<Input>) {
        let (results, receiver) = mpsc::unbounded_channel();
        (Self { commands, connect, results, running: [None, None] }, receiver)
    }

    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn probe(&mut self, which: Which, number: u64, probe: Probe) {
        let (commands, connect) = (self.commands.clone(), self.connect.clone());
        let results = self.results.clone();
        let task = tokio::spawn(async move {
            let outcome = run(probe, &commands, &connect).await;
            // Nobody hears it any more if the executor ends.
            let _ = results.send(Input::Probed { which, number, outcome });
        });
        self.running[which as usize] = Some(task.abort_handle());
    }

    pub(crate) fn cancel(&mut self, which: Which) {
        if let Some(running) = self.running[which as usize].take() {
            running.abort();
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.running.iter().flatten().for_each(AbortHandle::abort);
    }
}

async fn run(probe: Probe, commands: &Commands, connect: &Connect) -> Outcome {
    let Probe { target, timeout_ns } = probe;
    let looked = look(target, commands, connect);
    let Some(timeout_ns) = timeout_ns else { return looked.await };
    let timeout = Duration::from_nanos(timeout_ns);
    let late = |_| Outcome::Failed { why: format!("no result within {} seconds", timeout.as_secs_f64()) };
    tokio::time::timeout(timeout, looked).await.unwrap_or_else(late)
}

async fn look(target: Target, commands: &Commands, connect: &Connect) -> Outcome {
    match target {
        Target::Command(command) => commands(&command).await,
        Target::Http { is_tls, address, port, path } => match port_of(port) {
            Ok(port) => match http::get(connect, is_tls, SocketAddr::new(address, port), &path).await {
                Ok(status) => Outcome::Status(status),
                Err(why) => Outcome::Failed { why },
            },
            Err(why) => Outcome::Failed { why },
        },
        Target::Tcp { address, port } => match port_of(port) {
            Ok(port) => Outcome::Connected(connect(SocketAddr::new(address, port)).await.is_ok()),
            Err(why) => Outcome::Failed { why },
        },
    }
}

/// The v1 API has 32 bits for it, and Mesos does not look.
fn port_of(port: u32) -> Result<u16, String> {
    u16::try_from(port).map_err(|_| format!("there is no port {port}"))
}
