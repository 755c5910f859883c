//! Masters beside each other, which agree by ZooKeeper on who leads, and agents that find the leader there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::Address;
use client::operator::Operator;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::cluster::{free_port, local};
use super::daemon::Daemon;
use super::sweep;

/// What they are made of.
#[derive(Clone, Debug)]
pub struct SeveralOptions {
    /// Where `ingot-master` and `ingot-agent` are.
    pub programs: PathBuf,
    /// Of ZooKeeper, with a path.
    pub url: String,
    pub masters: usize,
    pub agents: usize,
    /// So many of them are not told of ZooKeeper: they have a list of the masters, and ask these.
    pub asking_agents: usize,
    /// Each agent's, as `--resources` takes them.
    pub resources: String,
    pub master_flags: Vec<String>,
    pub agent_flags: Vec<String>,
}

/// For one step: a daemon's start, an election, agents' return.
const STEP_MAX: Duration = Duration::from_secs(120);
const STOP_MAX: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The cluster. Dropped, all of it is killed, executors and tasks too.
#[derive(Debug)]
pub struct Several {
    options: SeveralOptions,
    masters: Vec<Member>,
    agents: Vec<Member>,
    /// Daemons so far: each has a log of its own.
    started_count: usize,
    folder: TempDir,
}

#[derive(Debug)]
struct Member {
    address: Address,
    daemon: Option<Daemon>,
}

impl Several {
    /// Starts the masters, and waits until one leads. The agents come with [`Self::start_agents`].
    pub async fn start(options: SeveralOptions) -> Result<Self> {
        sweep::forgotten();
        let folder = tempfile::Builder::new().prefix("ingot-").tempdir().context("cannot make a folder")?;
        let member = || Ok(Member { address: local(free_port()?), daemon: None });
        let masters = (0..options.masters).map(|_| member()).collect::<Result<_>>()?;
        let agents = (0..options.agents).map(|_| member()).collect::<Result<_>>()?;
        let mut several = Self { options, masters, agents, started_count: 0, folder };
        (0..several.masters.len()).try_for_each(|at| several.start_master(at))?;
        several.until_led().await?;
        Ok(several)
    }

    /// Starts a master, again if it was killed. It is not waited for.
    pub fn start_master(&mut self, at: usize) -> Result<()> {
        let mut command = self.command("ingot-master", &self.masters[at].address);
        command.arg(format!("--zk={}", self.options.url)).args(&self.options.master_flags);
        let log = self.next_log("master", at);
        self.masters[at].daemon = Some(Daemon::start("ingot-master", command, &log)?);
        Ok(())
    }

    /// Kills a master as a crash would.
    pub fn kill_master(&mut self, at: usize) {
        if let Some(mut daemon) = self.masters[at].daemon.take() {
            daemon.stop(Signal::SIGKILL, STOP_MAX);
        }
    }

    /// SIGSTOP, SIGCONT.
    pub fn signal_master(&self, at: usize, signal: Signal) -> Result<()> {
        self.masters[at].daemon.as_ref().context("the master does not run")?.signal(signal)
    }

    /// Whether the master has ended by itself.
    pub fn has_ended(&mut self, at: usize) -> Result<bool> {
        let daemon = self.masters[at].daemon.as_mut().context("the master was killed")?;
        Ok(daemon.ended()?.is_some())
    }

    /// Starts the agents, and waits until all have registered.
    pub async fn start_agents(&mut self) -> Result<()> {
        for at in 0..self.agents.len() {
            let mut command = self.command("ingot-agent", &self.agents[at].address);
            let asks = at < self.options.asking_agents;
            let masters = if asks { self.list() } else { self.options.url.clone() };
            command.arg(format!("--master={masters}"));
            command.arg("--work-dir").arg(self.folder.path().join(format!("agent-{at}")));
            command.args(["--resources", &self.options.resources, "--hostname", &format!("agent-{at}")]);
            command.args(&self.options.agent_flags);
            let log = self.next_log("agent", at);
            self.agents[at].daemon = Some(Daemon::start("ingot-agent", command, &log)?);
        }
        self.until_registered().await.map(drop)
    }

    /// Waits until the leader has all agents, and says who it is.
    pub async fn until_registered(&mut self) -> Result<usize> {
        let end = Instant::now() + STEP_MAX;
        loop {
            let leader = self.until_led().await?;
            let answer = self.get(leader, "/slaves").await;
            let slaves = answer.as_ref().ok().and_then(|it| it["slaves"].as_array());
            let active = slaves.map_or(0, |all| all.iter().filter(|it| it["active"] == true).count());
            if active == self.agents.len() {
                return Ok(leader);
            }
            self.check_agents()?;
            if Instant::now() > end {
                bail!("{active} of {} agents are there\n{}", self.agents.len(), self.logs());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until a master leads, and says which.
    pub async fn until_led(&mut self) -> Result<usize> {
        let end = Instant::now() + STEP_MAX;
        loop {
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            if Instant::now() > end {
                bail!("no master leads within {} s\n{}", STEP_MAX.as_secs(), self.logs());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Which one says of itself that it leads. One that is stopped says nothing for some seconds.
    pub fn leader(&self) -> Option<usize> {
        let leads = |it: &Member| it.daemon.is_some() && redirects_to_itself(&it.address).unwrap_or(false);
        self.masters.iter().position(leads)
    }

    /// An error, with its log, if an agent has ended.
    pub fn check_agents(&mut self) -> Result<()> {
        self.agents.iter_mut().filter_map(|it| it.daemon.as_mut()).try_for_each(Daemon::check)
    }

    pub fn master(&self, at: usize) -> &Address {
        &self.masters[at].address
    }

    /// All masters, as `--master` takes them.
    pub fn list(&self) -> String {
        self.masters.iter().map(|it| it.address.to_string()).collect::<Vec<_>>().join(",")
    }

    pub fn master_count(&self) -> usize {
        self.masters.len()
    }

    /// The folder that holds logs, work folders and sandboxes.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks a master.
    pub async fn get(&self, at: usize, path: &str) -> Result<Value> {
        Ok(Operator::new(self.masters[at].address.clone()).get_json(path).await?)
    }

    /// The last lines of the logs of those that run.
    pub fn logs(&self) -> String {
        let all = self.masters.iter().chain(&self.agents);
        all.filter_map(|it| it.daemon.as_ref()).map(Daemon::tail).collect::<Vec<_>>().join("\n")
    }

    fn command(&self, program: &str, address: &Address) -> Command {
        let mut command = Command::new(self.options.programs.join(program));
        command.args(["--ip", &address.host, "--port", &address.port.to_string()]);
        command
    }

    fn next_log(&mut self, name: &str, at: usize) -> PathBuf {
        self.started_count += 1;
        self.folder.path().join(format!("{name}-{at}.{}.log", self.started_count))
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        self.agents.iter_mut().chain(&mut self.masters).for_each(|it| it.daemon = None);
        sweep::below(self.folder.path());
        for agent in &self.agents {
            sweep::agent_cgroup(agent.address.port).iter().for_each(|it| sweep::cgroup(it));
        }
    }
}

/// The leader's `/redirect` names the leader.
fn redirects_to_itself(address: &Address) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((address.host.as_str(), address.port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(stream, "GET /redirect HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let port = format!(":{}", address.port);
    let mut locations = answer.lines().filter_map(|line| line.split_once(": "));
    Ok(locations.any(|(name, to)| name.eq_ignore_ascii_case("location") && to.trim().ends_with(&port)))
}
