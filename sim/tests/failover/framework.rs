//! A framework that outlives its masters: it finds each next leader in ZooKeeper, subscribes under its id, and writes down
//! every update of every task it has started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::v1::{self, TaskState};
use client::scheduler::{self, Calls, Events, Incoming};
use client::{Address, Encoding};
use leader::detector;
use leader::info::Info;
use nix::sys::stat::Mode;
use tokio::sync::watch;

use crate::PATIENCE;

/// Between two attempts to subscribe with a master that is not ready yet.
const AGAIN: Duration = Duration::from_millis(20);

/// What a healthy task is heard of: these, in this order, and nothing else.
const HEALTHY: [TaskState; 3] = [TaskState::TaskStarting, TaskState::TaskRunning, TaskState::TaskFinished];

pub(crate) struct Framework {
    leading: watch::Receiver<Option<Info>>,
    info: v1::FrameworkInfo,
    calls: Calls,
    events: Events,
    offers: Vec<v1::Offer>,
    /// The states that were heard of each task, each update once.
    pub(crate) tasks: BTreeMap<String, Vec<TaskState>>,
    /// Updates that were heard, by their ids.
    heard: BTreeSet<Vec<u8>>,
    /// How often it was subscribed.
    pub(crate) subscription_count: usize,
    /// With whom it is; `None` while the stream is lost.
    pub(crate) leader: Option<Address>,
    /// Where tasks say that they run, and wait for their end.
    folder: PathBuf,
}

impl Framework {
    pub(crate) async fn subscribe(url: &str, folder: &Path) -> Self {
        let mut leading = detector::watch(url.parse().unwrap()).unwrap();
        let mut info = scheduler::framework("failover", "*").unwrap();
        info.checkpoint = Some(true);
        info.failover_timeout = Some(600.0);
        let (leader, calls, events) = subscribe(&mut leading, &info).await;
        info.id = calls.framework_id();
        Self {
            leading,
            info,
            calls,
            events,
            offers: Vec::new(),
            tasks: BTreeMap::new(),
            heard: BTreeSet::new(),
            subscription_count: 1,
            leader: Some(leader),
            folder: folder.to_owned(),
        }
    }

    /// Hears what comes, from whoever leads, until the condition holds.
    pub(crate) async fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition(self) {
            let step = tokio::time::timeout_at(end.into(), self.step());
            assert!(step.await.is_ok(), "waited until {what}, in vain: {:?}", self.unfinished());
        }
    }

    /// Hears what comes for a while.
    pub(crate) async fn listen(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while tokio::time::timeout_at(end.into(), self.step()).await.is_ok() {}
    }

    async fn step(&mut self) {
        let event = tokio::select! {
            event = self.events.next() => event.ok(),
            changed = self.leading.changed() => {
                changed.unwrap();
                None
            }
        };
        match event {
            Some(Incoming::Event(event)) => self.hear(*event).await,
            Some(Incoming::Lost(_)) => {
                self.offers.clear();
                self.leader = None;
            }
            // With the same one as before; its znode will be seen to change if another leads.
            Some(Incoming::Subscribed(_)) => {
                self.subscription_count += 1;
                let info = self.leading.borrow().clone();
                self.leader = info.map(|it| address(&it));
            }
            // The stream has ended for good, or another leads.
            None => {
                self.offers.clear();
                let (leader, calls, events) = subscribe(&mut self.leading, &self.info).await;
                (self.leader, self.calls, self.events) = (Some(leader), calls, events);
                self.subscription_count += 1;
            }
        }
    }

    async fn hear(&mut self, event: v1::scheduler::Event) {
        if let Some(offers) = event.offers {
            self.offers.extend(offers.offers);
        }
        if let Some(rescind) = event.rescind {
            self.offers.retain(|offer| offer.id != rescind.offer_id);
        }
        let Some(update) = event.update else { return };
        let status = update.status;
        let states = self.tasks.get_mut(&status.task_id.value).expect("a task of ours");
        let uuid = status.uuid.clone().unwrap_or_default().to_vec();
        if self.heard.insert(uuid) {
            states.push(status.state());
            assert!(HEALTHY.starts_with(states), "{}: {states:?}: {status:?}", status.task_id.value);
        }
        // Whom it does not reach sends the update again.
        drop(self.calls.acknowledge(&status).await);
    }

    /// Starts so many tasks, on all agents, and waits until they run.
    pub(crate) async fn launch(&mut self, count: usize) {
        let first = self.tasks.len();
        while self.tasks.len() < first + count {
            self.until("there is an offer", |it| !it.offers.is_empty()).await;
            let offer = self.offers.remove(0);
            // As many on each agent; but what one task has left behind is an offer, too.
            let here = count.div_ceil(2).min(first + count - self.tasks.len()).min(room(&offer));
            let names: Vec<_> =
                (self.tasks.len()..self.tasks.len() + here).map(|n| format!("t{n}")).collect();
            let tasks = names.iter().map(|name| self.task(name, &offer.agent_id)).collect();
            self.calls.launch(vec![offer.id], tasks, 1.0).await.unwrap();
            self.tasks.extend(names.into_iter().map(|name| (name, Vec::new())));
        }
        self.until("all tasks run", |it| it.tasks.values().all(|states| states.len() >= 2)).await;
    }

    /// It says that it runs, and then waits for a word.
    fn task(&self, name: &str, agent_id: &v1::AgentId) -> v1::TaskInfo {
        let place = self.folder.join(name);
        nix::unistd::mkfifo(&place.with_extension("end"), Mode::S_IRWXU).unwrap();
        let command = format!("echo run >> {0}.runs; read word < {0}.end", place.display());
        v1::TaskInfo {
            name: name.to_owned(),
            task_id: v1::TaskId { value: name.to_owned() },
            agent_id: agent_id.clone(),
            resources: vec![client::scalar("cpus", 50), client::scalar("mem", 32_000)],
            command: Some(v1::CommandInfo { value: Some(command), ..Default::default() }),
            ..Default::default()
        }
    }

    /// Lets a task end.
    pub(crate) fn end(&self, name: &str) {
        let pipe = self.folder.join(name).with_extension("end");
        // Both ways: it is opened though nobody reads yet.
        OpenOptions::new().read(true).write(true).open(pipe).unwrap().write_all(b"word\n").unwrap();
    }

    /// Tasks that run, as far as is known.
    pub(crate) fn running(&self) -> Vec<String> {
        let running = self.tasks.iter().filter(|(_, states)| states.len() == 2);
        running.map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn has_finished(&self, name: &str) -> bool {
        self.tasks[name] == HEALTHY
    }

    fn unfinished(&self) -> BTreeMap<&String, &Vec<TaskState>> {
        self.tasks.iter().filter(|(_, states)| states.len() < 3).collect()
    }

    /// How often each task was run, from what it wrote down itself.
    pub(crate) fn runs(&self) -> BTreeMap<String, usize> {
        let runs = |name: &String| {
            let text = std::fs::read_to_string(self.folder.join(name).with_extension("runs"));
            text.unwrap_or_default().lines().count()
        };
        self.tasks.keys().map(|name| (name.clone(), runs(name))).collect()
    }

    pub(crate) async fn teardown(mut self) {
        self.calls.teardown().await.unwrap();
    }
}

/// How many tasks it is enough for.
fn room(offer: &v1::Offer) -> usize {
    let has = |name: &str, each: f64| {
        let parts = offer.resources.iter().filter(|part| part.name == name);
        let amount: f64 = parts.filter_map(|part| part.scalar.as_ref()).map(|it| it.value).sum();
        // Thousandths: no float is a hair too small.
        ((amount * 1000.0).round() / (each * 1000.0)).floor() as usize
    };
    has("cpus", 0.05).min(has("mem", 32.0))
}

/// With whoever leads, as soon as it can.
async fn subscribe(
    leading: &mut watch::Receiver<Option<Info>>,
    info: &v1::FrameworkInfo,
) -> (Address, Calls, Events) {
    loop {
        let leader = leading.wait_for(Option::is_some).await.unwrap().clone().expect("waited for");
        let address = address(&leader);
        let (calls, mut events) = scheduler::connect(address.clone(), info.clone(), Encoding::Protobuf);
        match events.next().await {
            Ok(Incoming::Subscribed(_)) => return (address, calls, events),
            // It is dead and its session not over, or it has only just been elected.
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
}

fn address(leader: &Info) -> Address {
    let place = leader.place();
    Address { host: place.host, port: place.port }
}
