//! Masters that die, as processes: one with its registry in a file, and several that follow each other by a real ZooKeeper.
//! What was answered before is known after.

#![expect(clippy::disallowed_methods, reason = "tests wait for processes, against the clock")]

#[path = "../loopback/agent.rs"]
#[expect(dead_code, reason = "shared with `loopback`, which needs more of it")]
mod agent;
mod full_disk;
mod storage;
mod zookeeper;

use agent::{Agent, info};
use master::registrar::Registrar;
use master::registrar::registry::Registry;
use master::registrar::storage::redb::Redb;
use model::agent_info::AgentInfo;
use model::id::AgentId;
use model::resources::Resources;
use model::role::Role;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wire::message::{Reregister, ToAgent, ToMaster};
use zookeeper::Zookeeper;

/// No single step takes longer on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// For an answer to a request. One that is stopped gives none.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Of the masters with ZooKeeper: short, so that the tests are; and long enough that none is lost while a busy machine, or
/// ZooKeeper's JVM on it, stands still for a moment.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited until {what}, in vain");
        std::thread::sleep(Duration::from_millis(10)); // Other processes ring no bell.
    }
}

struct Master {
    child: Child,
    address: SocketAddr,
    /// What it has written to stderr since it listens.
    log: Arc<Mutex<String>>,
}

impl Master {
    fn start(flags: &[String]) -> Self {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_ingot-master")), flags)
    }

    /// By a command that becomes the program.
    fn start_as(mut command: Command, flags: &[String]) -> Self {
        let mut child = command
            .args(["--port=0", "--recovery_offer_hold=1secs"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program is there");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut address = None;
        while address.is_none() {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).expect("a log"), 0, "it ended before it listened");
            address = line.split_once("address=").and_then(|(_, rest)| rest.trim().parse().ok());
        }
        let kept = Arc::new(Mutex::new(String::new()));
        let keeps = Arc::clone(&kept);
        // To its end: nobody must be held up by a full pipe.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let mut kept = keeps.lock().expect("no holder panics");
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Self { child, address: address.expect("found above"), log: kept }
    }

    /// The whole of what a GET is answered with; nothing where nobody answers.
    fn text(&self, path: &str) -> String {
        let ask = || {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            std::io::Result::Ok(answer)
        };
        ask().unwrap_or_default()
    }

    /// Status and `Location` of what a GET is answered with.
    fn get(&self, path: &str) -> Option<(u16, Option<String>)> {
        let answer = self.text(path);
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: "));
        Some((status, location.map(|it| it.trim().to_owned())))
    }

    fn leads(&self) -> bool {
        self.get("/state-summary").is_some_and(|(status, _)| status == 200)
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill(1)");
        assert!(done.success());
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Comes back under an id that a master before gave out, and is registered.
fn back(master: SocketAddr, id: &AgentId, port: u16) -> Agent {
    let mut agent = Agent::connect(master);
    agent.say(&ToMaster::Reregister(Reregister {
        agent_id: id.clone(),
        info: info(port, "cpus:1"),
        frameworks: vec![],
        executors: vec![],
        tasks: vec![],
        oversubscribed: Resources::default(),
    }));
    match agent.hear() {
        ToAgent::Registered { agent_id, .. } => assert_eq!(agent_id, *id),
        other => panic!("not registered: {other:?}"),
    }
    agent
}

/// Registers agents from some threads until the master dies under them; the ids they were told.
fn load(master: SocketAddr, first: u32) -> Vec<std::thread::JoinHandle<Vec<AgentId>>> {
    let run = move |first: u32| {
        let mut ids = Vec::new();
        for number in first..first + 2_000 {
            let [_, high, mid, low] = number.to_be_bytes();
            // An agent where another was takes its place.
            let address = SocketAddr::from(([127, 1 + high, mid, low], 5051));
            let info = AgentInfo { address, ..info(5051, "cpus:1") };
            let Ok(mut stream) = TcpStream::connect(master) else { break };
            let hello = wire::encode_to_master(&ToMaster::Register { info });
            let said = [wire::PREAMBLE.as_slice(), &hello.expect("it fits")].concat();
            if stream.write_all(&said).is_err() {
                break;
            }
            let mut reader = wire::frame::Reader::default();
            let told = loop {
                match reader.next().expect("frames") {
                    Some(payload) => break Some(wire::decode_to_agent(payload).expect("a message")),
                    None => match stream.read(reader.space()) {
                        Ok(count @ 1..) => reader.filled(count),
                        _ => break None,
                    },
                }
            };
            match told {
                Some(ToAgent::Registered { agent_id, .. }) => ids.push(agent_id),
                _ => break,
            }
        }
        ids
    };
    (0..4).map(|n| std::thread::spawn(move || run(first + n * 2_000))).collect()
}

/// What the registry in that folder says. That it opens is part of the test.
fn registry(work_dir: &Path) -> Registry {
    let opened = Registrar::open(Box::new(Redb::open(work_dir).expect("it opens"))).expect("it can be read");
    opened.registry().clone()
}

/// An operator who sets a role's weight to ever greater numbers until the master dies; the last that was answered.
fn weights(master: SocketAddr, from: u64) -> std::thread::JoinHandle<u64> {
    let set = move |weight: u64| {
        let infos = serde_json::json!([{ "role": "load", "weight": weight }]);
        let call =
            serde_json::json!({ "type": "UPDATE_WEIGHTS", "update_weights": { "weight_infos": infos } });
        let body = call.to_string();
        let mut stream = TcpStream::connect(master)?;
        write!(
            stream,
            "POST /api/v1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    let run = move || (from..).take_while(|weight| set(*weight).unwrap_or(false)).last().unwrap_or(from - 1);
    std::thread::spawn(run)
}

/// `cargo xtask failover` wants more of them.
fn crash_count() -> u32 {
    std::env::var("INGOT_FAILOVER_CRASHES").map_or(10, |text| text.parse().expect("a number"))
}

#[test]
fn a_master_killed_under_load_has_everything_that_it_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = [format!("--work_dir={}", folder.path().display())];
    let (mut answered, mut weight) = (BTreeSet::new(), 0);
    let mut rng = fastrand::Rng::with_seed(6);
    let role = Role::parse("load").expect("a role");
    for round in 0..crash_count() {
        let mut master = Master::start(&flags);
        let clients = load(master.address, 1 + round * 8_000);
        let operator = weights(master.address, weight + 1);
        std::thread::sleep(Duration::from_millis(rng.u64(5..150))); // The moment is what is tried.
        master.kill();
        clients.into_iter().for_each(|it| answered.extend(it.join().expect("it stops when the master does")));
        weight = operator.join().expect("it stops when the master does");
        let kept = registry(folder.path());
        let lost: Vec<_> = answered.iter().filter(|id| !kept.agents.contains_key(*id)).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        let kept = kept.weights.get(&role).map_or(0, |weight| weight.milli() / 1_000);
        assert!(kept == weight || kept == weight + 1, "round {round}: {weight} was answered, {kept} is kept");
        // What was on its way when it died may have come through.
        weight = kept;
    }
    assert!(answered.len() > 100, "{} agents are no load", answered.len());
    eprintln!("{} agents and {weight} weights answered and kept, {} crashes", answered.len(), crash_count());
}

fn three(zookeeper: &Zookeeper, path: &str) -> Vec<Master> {
    let flags = [
        format!("--zk={}", zookeeper.url(path)),
        format!("--zk_session_timeout={}ms", SESSION_TIMEOUT.as_millis()),
    ];
    (0..3).map(|_| Master::start(&flags)).collect()
}

fn leader(masters: &[Master]) -> Option<usize> {
    masters.iter().position(Master::leads)
}

#[test]
fn the_next_master_leads_when_the_leader_dies_and_knows_its_agents() {
    let Some(zookeeper) = Zookeeper::start("the_next_master_leads_when_the_leader_dies_and_knows_its_agents")
    else {
        return;
    };
    let mut masters = three(&zookeeper, "die");
    until("one leads", || leader(&masters).is_some());
    let id = Agent::register(masters[leader(&masters).expect("one leads")].address, 7001, "cpus:1").id;
    while masters.len() > 1 {
        let at = leader(&masters).expect("one leads");
        let address = masters[at].address;
        for standby in masters.iter().filter(|it| it.address != address) {
            until("it knows who leads", || standby.get("/redirect").is_some_and(|(status, _)| status == 307));
            let to = format!("//localhost:{}", address.port());
            assert_eq!(standby.get("/redirect"), Some((307, Some(to.clone()))));
            for own in ["/health", "/version", "/flags", "/metrics", "/metrics/snapshot"] {
                assert_eq!(standby.get(own), Some((200, None)), "{own}");
            }
            assert!(standby.text("/metrics/snapshot").contains(r#""master/elected":0.0"#));
            assert!(standby.text("/flags").contains(r#""zk":"zk://"#));
            assert_eq!(standby.get("/api/v1/scheduler"), Some((307, Some(format!("{to}/api/v1/scheduler")))));
            assert!(Agent::connect(standby.address).try_hear().is_none(), "agents are not heard");
        }
        let mut old = masters.remove(at);
        old.kill();
        let began = Instant::now();
        until("the next one leads", || leader(&masters).is_some());
        let took = began.elapsed();
        assert!(took < SESSION_TIMEOUT * 5, "{took:?}");
        back(masters[leader(&masters).expect("one leads")].address, &id, 7001);
    }
}

#[test]
fn a_leader_that_slept_past_its_session_ends_without_a_word() {
    let Some(zookeeper) = Zookeeper::start("a_leader_that_slept_past_its_session_ends_without_a_word") else {
        return;
    };
    let mut masters = three(&zookeeper, "sleep");
    until("one leads", || leader(&masters).is_some());
    let at = leader(&masters).expect("one leads");
    let mut old = masters.remove(at);
    let mut before = Agent::connect(old.address);
    old.signal("-STOP");
    until("another leads", || leader(&masters).is_some());
    // Spoken to while it sleeps, to be heard when it wakes.
    before.say(&ToMaster::Register { info: info(7002, "cpus:1") });
    old.signal("-CONT");
    assert!(before.try_hear().is_none(), "it must not register anybody any more");
    assert!(!old.child.wait().expect("it ends").success());
}

/// A leader that is told to stop leaves at once.
#[test]
fn a_leader_that_is_stopped_hands_over() {
    let Some(zookeeper) = Zookeeper::start("a_leader_that_is_stopped_hands_over") else { return };
    let mut masters = three(&zookeeper, "stop");
    until("one leads", || leader(&masters).is_some());
    let at = leader(&masters).expect("one leads");
    let mut old = masters.remove(at);
    let id = Agent::register(old.address, 7003, "cpus:1").id;
    old.signal("-TERM");
    assert!(old.child.wait().expect("it ends").success());
    until("another leads", || leader(&masters).is_some());
    back(masters[leader(&masters).expect("one leads")].address, &id, 7003);
}

/// The port of a listener that is gone: nobody is there.
#[test]
fn a_master_whose_zookeeper_is_not_there_stands_by() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let master = Master::start(&[format!("--zk=zk://{nobody}/none")]);
    assert_eq!(master.get("/health"), Some((200, None)));
    assert_eq!(master.get("/state"), Some((503, None)));
}
