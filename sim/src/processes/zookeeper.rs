//! A real ZooKeeper, as Debian's package `zookeeper` has it: one server, or an ensemble, on loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::cluster::free_port;
use super::daemon::Daemon;

/// What Debian's package installs.
const CLASSES: &str = "/usr/share/java/zookeeper.jar";
/// Comes with it. Without one of its loggers ZooKeeper does not say why it ends.
const LOGGER: &str = "/usr/share/java/slf4j-simple.jar";
const LOG_LEVEL: &str = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";
const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
/// Memory for one server's objects.
const HEAP: &str = "-Xmx512m";
/// For a server, or an ensemble, to answer. A JVM takes seconds on a busy machine.
const START_MAX: Duration = Duration::from_secs(120);
/// How long a server may take to join its leader, and may lag behind it, in ticks: a JVM on a busy machine stands still for
/// seconds. A server that is killed is noticed at once all the same.
const START_TICKS: u32 = 100;
const SYNC_TICKS: u32 = 50;
/// ZooKeeper's own choice would be 20 ticks.
const SESSION_MS_MAX: u32 = 60_000;
const ANSWER_MAX: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The servers. Dropped, they are killed.
#[derive(Debug)]
pub struct Zookeeper {
    servers: Vec<Server>,
    folder: TempDir,
}

#[derive(Debug)]
struct Server {
    port: u16,
    process: Option<Daemon>,
}

/// Why there can be none here; `None` where there can.
pub fn missing() -> Option<&'static str> {
    if !Path::new(CLASSES).exists() {
        return Some("no ZooKeeper (Debian: zookeeper)");
    }
    let java = Command::new("java").arg("-version").output();
    java.is_err().then_some("no java (Debian: default-jre-headless)")
}

impl Zookeeper {
    /// Starts so many servers and waits until they answer. `tick_ms` is ZooKeeper's `tickTime`: sessions last two of these
    /// at least, and end at a multiple of it.
    pub fn start(count: usize, tick_ms: u32) -> Result<Self> {
        if let Some(missing) = missing() {
            bail!("{missing}");
        }
        let folder = tempfile::Builder::new().prefix("ingot-zookeeper-").tempdir()?;
        let ports = std::iter::repeat_with(free_port).take(count * 3).collect::<Result<Vec<_>>>()?;
        let mut zookeeper = Self { servers: Vec::new(), folder };
        for (at, own) in ports.chunks(3).enumerate() {
            zookeeper.write_settings(at, own[0], &ports, tick_ms)?;
            zookeeper.servers.push(Server { port: own[0], process: None });
        }
        (0..count).try_for_each(|at| zookeeper.start_server(at))?;
        zookeeper.until_it_answers()?;
        Ok(zookeeper)
    }

    fn write_settings(&self, at: usize, client_port: u16, ports: &[u16], tick_ms: u32) -> Result<()> {
        let data = self.folder.path().join(format!("data-{at}"));
        std::fs::create_dir_all(&data)?;
        let mut settings = format!(
            "tickTime={tick_ms}\nmaxSessionTimeout={SESSION_MS_MAX}\ninitLimit={START_TICKS}\nsyncLimit={SYNC_TICKS}\ndataDir={}\nclientPort={client_port}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n",
            data.display()
        );
        if ports.len() > 3 {
            for (of, own) in ports.chunks(3).enumerate() {
                settings += &format!("server.{}=127.0.0.1:{}:{}\n", of + 1, own[1], own[2]);
            }
            std::fs::write(data.join("myid"), (at + 1).to_string())?;
        }
        std::fs::write(self.folder.path().join(format!("zoo-{at}.cfg")), settings)?;
        Ok(())
    }

    /// Starts a server, again if it was killed. It is not waited for.
    pub fn start_server(&mut self, at: usize) -> Result<()> {
        let mut command = Command::new("java");
        let classes = format!("{CLASSES}:{LOGGER}");
        command
            .args([HEAP, LOG_LEVEL, "-cp", &classes, MAIN])
            .arg(self.folder.path().join(format!("zoo-{at}.cfg")));
        let log = self.folder.path().join(format!("server-{at}.log"));
        self.servers[at].process = Some(Daemon::start("zookeeper", command, &log)?);
        Ok(())
    }

    /// Kills one as a crash would; its data stay.
    pub fn kill_server(&mut self, at: usize) {
        self.servers[at].process = None;
    }

    /// Which server leads the ensemble, as it says itself. One that is alone does.
    pub fn leader(&self) -> Option<usize> {
        self.servers
            .iter()
            .position(|it| it.mode().is_ok_and(|mode| mode == "leader" || mode == "standalone"))
    }

    /// Waits until one leads, and says which.
    pub fn until_led(&self) -> Result<usize> {
        let end = Instant::now() + START_MAX;
        loop {
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            ensure!(Instant::now() < end, "no ZooKeeper leads within {} s", START_MAX.as_secs());
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until all that run take part.
    pub fn until_it_answers(&mut self) -> Result<()> {
        let end = Instant::now() + START_MAX;
        while !self.servers.iter().all(|it| it.process.is_none() || it.mode().is_ok()) {
            for process in self.servers.iter_mut().filter_map(|it| it.process.as_mut()) {
                process.check()?;
            }
            ensure!(Instant::now() < end, "ZooKeeper does not answer within {} s", START_MAX.as_secs());
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// `zk://…/path`, with all servers.
    pub fn url(&self, path: &str) -> String {
        let servers: Vec<_> = self.servers.iter().map(|it| format!("127.0.0.1:{}", it.port)).collect();
        format!("zk://{}/{path}", servers.join(","))
    }
}

impl Server {
    /// `leader`, `follower` or `standalone`; an error while it takes no part.
    fn mode(&self) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
        Ok(mode.context("it takes no part")?.to_owned())
    }
}
