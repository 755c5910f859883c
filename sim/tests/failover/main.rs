//! Leaders that die, as processes: three masters, two agents and a framework around an ensemble of three ZooKeepers, all real.
//! No task is lost or run twice, every update is heard in its order, and the framework is back each time.
//!
//! `cargo xtask failover` runs more of it: how many tasks there are and how often a leader is killed comes from
//! `INGOT_FAILOVER_TASKS` and `INGOT_FAILOVER_KILLS`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]
#![expect(clippy::disallowed_methods, reason = "tests wait for processes, against the clock")]

mod clients;
mod framework;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use framework::Framework;
use nix::sys::signal::Signal;
use sim::processes::zookeeper::{self, Zookeeper};
use sim::processes::{Several, SeveralOptions};

/// No single step takes longer on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Long enough that no session is lost because a busy machine, or a JVM on it, stands still for a moment.
const SESSION_TIMEOUT_MS: u32 = 6_000;
const TICK_MS: u32 = 300;
/// Tasks that end around each death, so that updates are on their way when it happens.
const ENDING: usize = 5;

fn count(name: &str, or: usize) -> usize {
    std::env::var(name).map_or(or, |text| text.parse().expect("a number"))
}

/// Where the binaries are. `cargo xtask test` has built them; a bare `cargo test` builds them here.
pub(crate) fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("INGOT_TEST_BIN_DIR") {
        return folder.into();
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let built =
        Command::new(env!("CARGO")).args(["build", "--workspace", "--bins"]).current_dir(root).status();
    assert!(built.unwrap().success(), "the binaries do not build");
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

struct World {
    zookeeper: Zookeeper,
    cluster: Several,
    framework: Framework,
    rng: fastrand::Rng,
}

impl World {
    async fn start() -> Self {
        let zookeeper = Zookeeper::start(3, TICK_MS).unwrap();
        let url = zookeeper.url("ingot");
        let options = SeveralOptions {
            programs: programs(),
            url: url.clone(),
            masters: 3,
            agents: 2,
            asking_agents: 1,
            resources: "cpus:8;mem:16384;disk:1024".to_owned(),
            master_flags: vec![format!("--zk_session_timeout={SESSION_TIMEOUT_MS}ms")],
            agent_flags: Vec::new(),
        };
        let mut cluster = Several::start(options).await.unwrap();
        cluster.start_agents().await.unwrap();
        let framework = Framework::subscribe(&url, cluster.folder()).await;
        Self { zookeeper, cluster, framework, rng: fastrand::Rng::with_seed(6) }
    }

    /// Lets some tasks end, does something at a random moment soon, and waits until all that is heard of.
    async fn amid_updates(&mut self, act: impl AsyncFnOnce(&mut Self)) {
        let mut ending = self.framework.running();
        self.rng.shuffle(&mut ending);
        ending.truncate(ENDING);
        ending.iter().for_each(|name| self.framework.end(name));
        self.framework.listen(Duration::from_millis(self.rng.u64(0..400))).await;
        act(self).await;
        let leader = self.cluster.until_registered().await.unwrap();
        let leader = self.cluster.master(leader).clone();
        self.framework.until("it is with who leads", |it| it.leader.as_ref() == Some(&leader)).await;
        let all = |it: &Framework| ending.iter().all(|name| it.has_finished(name));
        self.framework.until("all that ended was heard of", all).await;
        self.framework.launch(ENDING).await;
        self.check().await;
    }

    /// What the leader knows, and what the tasks wrote down themselves, is what the framework has heard.
    async fn check(&mut self) {
        self.cluster.check_agents().unwrap();
        // What is told to run may not have got to its first line.
        let end = Instant::now() + PATIENCE;
        while self.framework.runs().values().any(|runs| *runs == 0) {
            assert!(Instant::now() < end, "a task that is told to run does not: {:?}", self.framework.runs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let twice: Vec<_> = self.framework.runs().into_iter().filter(|(_, runs)| *runs != 1).collect();
        assert!(twice.is_empty(), "not run once: {twice:?}");
        let (running, end) = (self.framework.running().len() as f64, Instant::now() + PATIENCE);
        loop {
            let leader = self.cluster.until_registered().await.unwrap();
            // It may just have ceased to lead.
            let metrics = self.cluster.get(leader, "/metrics/snapshot").await.unwrap_or_default();
            if metrics["master/tasks_running"] == running && metrics["master/tasks_unreachable"] == 0.0 {
                return;
            }
            assert!(Instant::now() < end, "{running} tasks run, and the leader says {metrics}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn leaders_die_and_everything_goes_on() {
    if let Some(missing) = zookeeper::missing() {
        assert_ne!(std::env::var("REQUIRE").as_deref(), Ok("all"), "REQUIRE=all, but there is {missing}");
        // Past the test runner's capture, which would swallow it.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("SKIP leaders_die_and_everything_goes_on: {missing}\n").as_bytes(),
        );
        return;
    }
    let mut world = World::start().await;
    world.framework.launch(count("INGOT_FAILOVER_TASKS", 20)).await;
    world.check().await;
    let mut took = Vec::new();
    for round in 0..count("INGOT_FAILOVER_KILLS", 3) {
        let before = world.framework.subscription_count;
        let began = Instant::now();
        world.amid_updates(kill_the_leader).await;
        assert!(world.framework.subscription_count > before, "round {round}: it was not subscribed again");
        took.push(began.elapsed().as_millis());
    }
    eprintln!("rounds with a leader killed, ms: {took:?}");
    world.amid_updates(stop_the_leader_past_its_session).await;
    world.amid_updates(kill_zookeepers_leader).await;
    for name in world.framework.running() {
        world.framework.end(&name);
    }
    world
        .framework
        .until("all tasks have ended", |it| it.tasks.keys().all(|name| it.has_finished(name)))
        .await;
    let (tasks, subscriptions) = (world.framework.tasks.len(), world.framework.subscription_count);
    assert!(world.framework.runs().values().all(|runs| *runs == 1));
    eprintln!("{tasks} tasks, each run once and heard of in order, through {subscriptions} subscriptions");
    world.framework.teardown().await;
    clients::find_the_leader(&world.zookeeper.url("ingot"), &world.cluster.list()).await;
}

/// It is started again as a standby once another leads.
async fn kill_the_leader(world: &mut World) {
    let leader = world.cluster.until_led().await.unwrap();
    world.cluster.kill_master(leader);
    world.cluster.until_led().await.unwrap();
    world.cluster.start_master(leader).unwrap();
}

/// When it wakes another leads; it says nothing more, and ends.
async fn stop_the_leader_past_its_session(world: &mut World) {
    let leader = world.cluster.until_led().await.unwrap();
    world.cluster.signal_master(leader, Signal::SIGSTOP).unwrap();
    world.cluster.until_led().await.unwrap();
    world.cluster.signal_master(leader, Signal::SIGCONT).unwrap();
    let end = Instant::now() + PATIENCE;
    while !world.cluster.has_ended(leader).unwrap() {
        assert!(Instant::now() < end, "the deposed leader goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.cluster.kill_master(leader);
    world.cluster.start_master(leader).unwrap();
}

/// Sessions move to the servers that are left. Whether the master's survives that or not, one leads.
async fn kill_zookeepers_leader(world: &mut World) {
    let leader = world.zookeeper.until_led().unwrap();
    world.zookeeper.kill_server(leader);
    // Those that are left may take a moment to see that they have to elect another.
    world.zookeeper.until_led().unwrap();
    world.zookeeper.until_it_answers().unwrap();
    let leads = world.cluster.until_registered().await.unwrap();
    world.zookeeper.start_server(leader).unwrap();
    for at in (0..world.cluster.master_count()).filter(|at| *at != leads) {
        // A leader that has ended meanwhile has done as it should.
        if world.cluster.has_ended(at).unwrap() {
            world.cluster.kill_master(at);
            world.cluster.start_master(at).unwrap();
        }
    }
}
