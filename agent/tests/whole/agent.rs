//! The agent's process, in a work directory of its own.

use crate::groups::Group;
use crate::http::Answer;
use crate::master::{Master, Session};
use crate::needs;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take that is waited for.
pub fn patience() -> Duration {
    Duration::from_secs(60) * needs::slowdown()
}

/// Between two looks at what is waited for: who looks without end takes the CPU from those who are to bring it about.
pub fn pause() {
    std::thread::park_timeout(Duration::from_millis(2));
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience();
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        pause();
    }
}

pub struct Agent {
    process: Child,
    work_dir: PathBuf,
    log: Rc<tempfile::NamedTempFile>,
    _group: Rc<Group>,
    /// Of its HTTP server; known from its introduction.
    pub address: SocketAddr,
}

/// What is given to every agent of one test.
pub struct Place {
    /// Cleared before the directory goes, in which its processes stand.
    group: Rc<Group>,
    directory: Rc<tempfile::TempDir>,
    /// Not in the directory, whose disk may be full.
    log: Rc<tempfile::NamedTempFile>,
    flags: Vec<String>,
    port: u16,
}

/// Unless a test says otherwise.
const FLAGS: [&str; 6] = [
    "--ip=127.0.0.1",
    "--hostname=localhost",
    "--resources=cpus:4;mem:1024;disk:1024",
    "--registration-backoff-factor=20ms",
    "--usage-interval=200ms",
    "--switch-user=false",
];

impl Place {
    pub fn new(flags: &[&str]) -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), flags)
    }

    /// With its work directory in this one.
    pub fn on(folder: &Path, flags: &[&str]) -> Self {
        Self::in_directory(tempfile::tempdir_in(folder).unwrap(), flags)
    }

    /// The same work directory and port, with other flags.
    pub fn again_with(&self, flags: &[&str]) -> Self {
        let (group, directory, log) = (self.group.clone(), self.directory.clone(), self.log.clone());
        Self {
            group,
            directory,
            log,
            flags: flags.iter().map(ToString::to_string).collect(),
            port: self.port,
        }
    }

    fn in_directory(directory: tempfile::TempDir, flags: &[&str]) -> Self {
        Self {
            group: Rc::new(Group::new()),
            directory: Rc::new(directory),
            log: Rc::new(tempfile::NamedTempFile::new().unwrap()),
            flags: flags.iter().map(ToString::to_string).collect(),
            port: free_port(),
        }
    }

    /// Where the process of a container is written down.
    pub fn process_info(&self, container_id: &str) -> PathBuf {
        let run = find(&self.work_dir().join("meta/slaves"), container_id).expect("it was checkpointed");
        find(&run, "process.info").expect("its process was written down")
    }

    pub fn work_dir(&self) -> &Path {
        self.directory.path()
    }

    /// Starts an agent and waits until it has introduced itself to `master`.
    pub fn start(&self, master: &Master) -> (Agent, Session) {
        self.start_by(master, &[], &[])
    }

    /// The same by a command that becomes the one it is given, and with flags of this one agent.
    pub fn start_by(&self, master: &Master, by: &[&str], flags: &[&str]) -> (Agent, Session) {
        let log = std::fs::File::options().append(true).open(self.log.path()).unwrap();
        let process = self.command(master, by, flags).stderr(log).spawn().unwrap();
        let agent = Agent {
            process,
            work_dir: self.work_dir().canonicalize().unwrap(),
            log: self.log.clone(),
            _group: self.group.clone(),
            address: ([127, 0, 0, 1], self.port).into(),
        };
        (agent, master.accept())
    }

    /// For an agent that does not get as far as to introduce itself.
    pub fn run_to_its_end(&self, master: &Master) -> Output {
        self.command(master, &[], &[]).output().unwrap()
    }

    fn command(&self, master: &Master, by: &[&str], flags: &[&str]) -> Command {
        let words: Vec<&str> = by.iter().copied().chain([env!("CARGO_BIN_EXE_ingot-agent")]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        let name = |flag: &str| flag.split_once('=').map_or(flag.to_owned(), |(name, _)| name.to_owned());
        command.args(FLAGS.iter().filter(|flag| self.flags.iter().all(|own| name(own) != name(flag))));
        command
            .arg(format!("--port={}", self.port))
            .arg(format!("--cgroups-root={}", self.group.name))
            .args(self.patient())
            .arg(format!("--master={}", master.address()))
            .arg(format!("--work-dir={}", self.work_dir().display()))
            .args(&self.flags)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }
}

/// A port that nobody has, and that no other test here was given. Below those that the kernel gives to connections: while an
/// agent is away, its executors look for it, and one of them that was given that port itself would find itself there.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = fastrand::u16(20_000..32_000);
        if given.insert(port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Seconds: more than the default of two, in which executors on a busy machine may not get as far as to subscribe again, nor
/// the agent as far as to see that one has died; and the most there is.
const REREGISTRATION_S: [u32; 2] = [6, 15];

impl Place {
    fn patient(&self) -> Option<String> {
        let name = "--executor-reregistration-timeout";
        let is_set = self.flags.iter().any(|flag| flag.starts_with(name));
        let [usual, most] = REREGISTRATION_S;
        (!is_set).then(|| format!("{name}={}secs", (usual * needs::slowdown()).min(most)))
    }
}

impl Agent {
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }

    /// Waits until it has ended, and says how.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the agent does not end");
            pause();
        }
    }

    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.wait();
    }

    /// Everything that it and the agents before it in this place have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        crate::http::call(self.address, "GET", path, &[], "")
    }

    /// The directory of a container's cgroup, by what the agent says of itself.
    pub fn cgroup(&self, container_id: &str) -> PathBuf {
        let state = self.get("/state").json();
        Path::new(state["ingot"]["cgroup"].as_str().expect("it has cgroups")).join(container_id)
    }

    pub fn sandbox(&self, container_id: &str) -> PathBuf {
        find(&self.work_dir.join("slaves"), container_id).expect("a sandbox")
    }
}

/// CPU time of a cgroup by the kernel's own file, nanoseconds.
pub fn cpu_stat_ns(cgroup: &Path) -> u64 {
    let text = std::fs::read_to_string(cgroup.join("cpu.stat")).unwrap();
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    usage.unwrap().parse::<u64>().unwrap() * 1_000
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(directory).ok()? {
        let entry = entry.ok()?;
        if entry.file_name() == name {
            return Some(entry.path());
        }
        if entry.file_type().ok()?.is_dir()
            && let Some(found) = find(&entry.path(), name)
        {
            return Some(found);
        }
    }
    None
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        if self.process.try_wait().ok().flatten().is_some() {
            return;
        }
        // Its executors go with it: a failed test must not leave any behind.
        _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), nix::sys::signal::Signal::SIGUSR1);
        let deadline = Instant::now() + Duration::from_secs(10) * needs::slowdown();
        while Instant::now() < deadline {
            if self.process.try_wait().ok().flatten().is_some() {
                return;
            }
            pause();
        }
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
