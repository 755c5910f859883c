//! Starting a cluster, waiting until it stands, stopping it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::Address;
use client::operator::Operator;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::daemon::Daemon;
use super::sweep;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where `ingot-master` and `ingot-agent` are.
    pub programs: PathBuf,
    /// Work folders and logs; a temporary one if `None`.
    pub folder: Option<PathBuf>,
    pub ports: Ports,
    pub agents: usize,
    /// Each agent's, as `--resources` takes them.
    pub resources: String,
    pub master_flags: Vec<String>,
    pub agent_flags: Vec<String>,
}

/// Where master and agents listen, on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub enum Ports {
    /// Wherever nobody else does.
    Free,
    /// The master there; the agents there and on the following ports.
    Fixed { master: u16, agents: u16 },
}

/// How long a daemon may take to come up, and an agent to register.
const START_MAX: Duration = Duration::from_secs(120);
/// How long a daemon may take to end after it was asked to.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How often a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A master and its agents. Dropped, all of it is killed, executors and tasks too.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    folder: PathBuf,
    master_address: Address,
    master: Option<Daemon>,
    agents: Vec<Agent>,
    /// Removed last.
    _temporary: Option<TempDir>,
}

#[derive(Debug)]
struct Agent {
    address: Address,
    daemon: Option<Daemon>,
}

impl Cluster {
    /// Starts a master and waits until it answers. The agents come with [`Self::start_agents`].
    pub async fn start_master(options: Options) -> Result<Self> {
        sweep::forgotten();
        let temporary = match &options.folder {
            Some(_) => None,
            None => {
                Some(tempfile::Builder::new().prefix("ingot-").tempdir().context("cannot make a folder")?)
            }
        };
        let folder = options.folder.clone().or_else(|| temporary.as_ref().map(|it| it.path().to_owned()));
        let folder = folder.expect("one of the two is there");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let port = match options.ports {
            Ports::Free => free_port()?,
            Ports::Fixed { master, .. } => check_free(master, "--master-port")?,
        };
        let mut cluster = Self {
            options,
            folder,
            master_address: local(port),
            master: None,
            agents: Vec::new(),
            _temporary: temporary,
        };
        cluster.restart_master().await?;
        Ok(cluster)
    }

    /// Starts a whole cluster and waits until all agents have registered.
    pub async fn start(options: Options) -> Result<Self> {
        let mut cluster = Self::start_master(options).await?;
        cluster.start_agents().await?;
        Ok(cluster)
    }

    /// Starts the master, again if it was there before, and waits until it answers.
    pub async fn restart_master(&mut self) -> Result<()> {
        if let Some(mut old) = self.master.take() {
            old.stop(Signal::SIGTERM, STOP_MAX);
        }
        let mut command =
            self.daemon_command("ingot-master", &self.master_address, &self.folder.join("master"));
        command.args(&self.options.master_flags);
        self.master = Some(Daemon::start("ingot-master", command, &self.folder.join("master.log"))?);
        self.until("the master answers", START_MAX, async |cluster| Ok(cluster.get("/version").await.is_ok()))
            .await
    }

    /// Starts the agents and waits until they have registered.
    pub async fn start_agents(&mut self) -> Result<()> {
        for index in 0..self.options.agents {
            let port = match self.options.ports {
                Ports::Free => free_port()?,
                Ports::Fixed { agents, .. } => check_free(agents + index as u16, "--agent-port")?,
            };
            self.agents.push(Agent { address: local(port), daemon: None });
            self.restart_agent(index)?;
        }
        self.until_registered().await
    }

    /// Starts an agent, again if it was there before, with the same address and work folder.
    pub fn restart_agent(&mut self, index: usize) -> Result<()> {
        self.kill_agent(index);
        let name = format!("agent-{index}");
        let mut command =
            self.daemon_command("ingot-agent", &self.agents[index].address, &self.folder.join(&name));
        command.arg("--master").arg(self.master_address.to_string());
        command.args(["--resources", &self.options.resources]);
        command.args(["--hostname", if self.options.agents == 1 { "localhost" } else { &name }]);
        command.args(&self.options.agent_flags);
        let log = self.folder.join(format!("{name}.log"));
        self.agents[index].daemon = Some(Daemon::start("ingot-agent", command, &log)?);
        Ok(())
    }

    /// Kills an agent as a crash would; its executors live on.
    pub fn kill_agent(&mut self, index: usize) {
        if let Some(mut daemon) = self.agents[index].daemon.take() {
            daemon.stop(Signal::SIGKILL, STOP_MAX);
        }
    }

    /// To an agent that runs: SIGSTOP makes it silent, SIGCONT lets it speak again.
    pub fn signal_agent(&self, index: usize, signal: Signal) -> Result<()> {
        self.agents[index].daemon.as_ref().context("the agent does not run")?.signal(signal)
    }

    /// Waits until as many agents are active as were started.
    pub async fn until_registered(&mut self) -> Result<()> {
        let count = self.agents.len();
        self.until("all agents are registered", START_MAX, async |cluster| {
            let answer = cluster.get("/slaves").await?;
            let slaves = answer["slaves"].as_array().context("/slaves holds no list")?;
            Ok(slaves.iter().filter(|it| it["active"] == true).count() >= count)
        })
        .await
    }

    /// Waits until a condition holds; an error if it does not within `patience`, fails, or a daemon ends.
    pub async fn until(
        &mut self,
        what: &str,
        patience: Duration,
        condition: impl AsyncFn(&Self) -> Result<bool>,
    ) -> Result<()> {
        let end = Instant::now() + patience;
        loop {
            self.check()?;
            if condition(self).await? {
                return Ok(());
            }
            if Instant::now() >= end {
                bail!("waited {} s until {what}, in vain\n{}", patience.as_secs(), self.logs());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// An error, with its log, if a daemon has ended.
    pub fn check(&mut self) -> Result<()> {
        let agents = self.agents.iter_mut().filter_map(|it| it.daemon.as_mut());
        self.master.iter_mut().chain(agents).try_for_each(Daemon::check)
    }

    /// The last lines of all logs.
    pub fn logs(&self) -> String {
        let agents = self.agents.iter().filter_map(|it| it.daemon.as_ref());
        self.master.iter().chain(agents).map(Daemon::tail).collect::<Vec<_>>().join("\n")
    }

    pub fn master(&self) -> &Address {
        &self.master_address
    }

    pub fn agent(&self, index: usize) -> &Address {
        &self.agents[index].address
    }

    /// The master's process, while it runs.
    pub fn master_process(&self) -> Option<u32> {
        self.master.as_ref().map(Daemon::id)
    }

    /// The agent's process, while it runs.
    pub fn agent_process(&self, index: usize) -> Option<u32> {
        self.agents[index].daemon.as_ref().map(Daemon::id)
    }

    /// The folder that holds the logs and everything the daemons write.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Asks the master.
    pub async fn get(&self, path: &str) -> Result<Value> {
        Ok(Operator::new(self.master_address.clone()).get_json(path).await?)
    }

    /// Stops everything in the order in which nothing has to wait for another's time-out: the agents first, told to end
    /// their executors, then the master. Says which daemon had to be killed.
    pub fn stop(mut self) -> Result<()> {
        let mut killed = Vec::new();
        for (index, agent) in self.agents.iter_mut().enumerate() {
            // As in Mesos: an agent that gets SIGUSR1 leaves for good, and takes its executors with it.
            if agent.daemon.take().is_some_and(|mut it| !it.stop(Signal::SIGUSR1, STOP_MAX)) {
                killed.push(format!("agent-{index}"));
            }
        }
        if self.master.take().is_some_and(|mut it| !it.stop(Signal::SIGTERM, STOP_MAX)) {
            killed.push("master".to_owned());
        }
        if !killed.is_empty() {
            bail!("did not end within {} s and was killed: {}", STOP_MAX.as_secs(), killed.join(", "));
        }
        Ok(())
    }

    fn daemon_command(&self, program: &str, address: &Address, work_dir: &Path) -> Command {
        let mut command = Command::new(self.options.programs.join(program));
        command
            .args(["--ip", &address.host, "--port", &address.port.to_string(), "--work-dir"])
            .arg(work_dir);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            agent.daemon = None;
        }
        self.master = None;
        sweep::below(&self.folder);
        for agent in &self.agents {
            sweep::agent_cgroup(agent.address.port).iter().for_each(|it| sweep::cgroup(it));
        }
    }
}

pub(super) fn local(port: u16) -> Address {
    Address { host: Ipv4Addr::LOCALHOST.to_string(), port }
}

/// The ports that [`free_port`] has given.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on which nobody listens, and which this process was not given before: who asks for several at once binds none
/// of them meanwhile. One that was given is not even tried: its daemon may be about to listen. Below the range from which the kernel takes the ports of outgoing connections, so that none of
/// these takes it before the daemon does.
pub fn free_port() -> Result<u16> {
    const TRIES_MAX: usize = 1_000;
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut candidates = std::iter::repeat_with(|| fastrand::u16(20_000..32_000)).take(TRIES_MAX);
    candidates.find(|port| given.insert(*port) && free(port)).context("no free port on 127.0.0.1")
}

/// Whether a port is one of this process's own clusters.
pub(super) fn is_given(port: u16) -> bool {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner).contains(&port)
}

fn check_free(port: u16, flag: &str) -> Result<u16> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(port),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "port {port} is taken: is another cluster running? End it, or choose another port with {flag}"
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on 127.0.0.1:{port} ({flag})")),
    }
}

#[cfg(test)]
mod tests {
    use super::free_port;

    /// An ensemble's ports are all taken before a server binds one of them: ZooKeeper ended when two were the same.
    #[test]
    fn no_port_is_given_twice() {
        let mut ports: Vec<_> = std::iter::repeat_with(|| free_port().unwrap()).take(2_000).collect();
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
