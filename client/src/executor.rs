//! An executor's side of the executor API, as an agent starts one: the environment says where the agent is and who we
//! are. [`connect`] gives the two ends, [`Events`] and [`Calls`]; updates that the agent has not acknowledged are kept
//! and told again with the next subscription, so that an update made while the agent was away is not lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::v1;
use api::v1::executor::{Call, Event, call, event};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::backoff::Backoff;
use crate::http::Connection;
use crate::stream::{self, Stream, Subscription};
use crate::{Address, Encoding, Error};

const PATH: &str = "/api/v1/executor";
/// How long a checkpointing executor waits for its agent's return where the agent does not say.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// The longest wait between two attempts to reach it, likewise.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What an executor hears. HEARTBEATs are not passed on.
pub type Incoming = stream::Incoming<event::Subscribed, Event>;

/// The end that hears.
pub type Events = stream::Events<event::Subscribed, Event>;

/// What the agent tells an executor by `MESOS_*` variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub agent: Address,
    pub framework_id: v1::FrameworkId,
    pub executor_id: v1::ExecutorId,
    /// How long to wait for an agent that went away; zero where the framework does not checkpoint: then its executors
    /// end with the agent.
    pub patience: Duration,
    /// The longest wait between two attempts to reach the agent.
    pub backoff_max: Duration,
}

impl Environment {
    /// Reads this process's environment.
    pub fn read() -> Result<Self, Error> {
        Self::from(|name| std::env::var(name).ok())
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let required = |name| variable(name).filter(|it| !it.is_empty()).ok_or(Error::Environment(name));
        let agent = required("MESOS_AGENT_ENDPOINT")?;
        let checkpoint = variable("MESOS_CHECKPOINT").is_some_and(|it| it == "1" || it == "true");
        // A number that nobody can read is no reason to let a task die with its agent.
        let time = |name, default| variable(name).and_then(|it| duration(&it)).unwrap_or(default);
        Ok(Self {
            agent: agent.parse().map_err(|_| Error::Environment("MESOS_AGENT_ENDPOINT"))?,
            framework_id: v1::FrameworkId { value: required("MESOS_FRAMEWORK_ID")? },
            executor_id: v1::ExecutorId { value: required("MESOS_EXECUTOR_ID")? },
            patience: if checkpoint {
                time("MESOS_RECOVERY_TIMEOUT", RECOVERY_TIMEOUT)
            } else {
                Duration::ZERO
            },
            backoff_max: time("MESOS_SUBSCRIPTION_BACKOFF_MAX", BACKOFF_MAX),
        })
    }
}

/// A duration as Mesos writes it: a number and a unit, `15mins`, `1.5secs`.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: &[(&str, f64)] = &[
        ("ns", 1e-9),
        ("us", 1e-6),
        ("ms", 1e-3),
        ("secs", 1.0),
        ("mins", 60.0),
        ("hrs", 3_600.0),
        ("days", 86_400.0),
        ("weeks", 604_800.0),
    ];
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * seconds).ok()
}

/// What the agent has not acknowledged, and what it was told of it.
#[derive(Debug, Default)]
struct Pending {
    /// Tasks none of whose updates is acknowledged yet.
    tasks: BTreeMap<String, v1::TaskInfo>,
    /// In the order in which they were made, each with its number.
    updates: VecDeque<(u64, call::Update)>,
    made: u64,
    /// The agent has been told of all updates up to this number. A subscription tells of all.
    told: u64,
    /// Only then does the agent take updates.
    is_subscribed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    /// There may be something to tell.
    changed: Notify,
}

/// The end that speaks. What was reported and not yet sent when it is dropped is not sent any more.
#[derive(Debug)]
pub struct Calls {
    speaker: Speaker,
    shared: Arc<Shared>,
    delivery: AbortHandle,
}

/// Begins to subscribe. A stream that breaks is subscribed again for as long as `patience` says. Runs on the current
/// tokio runtime.
pub fn connect(environment: Environment, encoding: Encoding) -> (Calls, Events) {
    let shared = Arc::new(Shared::default());
    let speaker = || {
        let connection = Connection::new(environment.agent.clone());
        Speaker { connection, encoding, environment: environment.clone() }
    };
    let delivery = tokio::spawn(deliver(speaker(), Arc::clone(&shared))).abort_handle();
    let events = stream::keep(Reader { speaker: speaker(), shared: Arc::clone(&shared) });
    (Calls { speaker: speaker(), shared, delivery }, events)
}

impl Calls {
    /// Reports a task's state. Uuid, time and source are filled in where they are unset. Returns at once: updates go out in
    /// the order in which they were made, again and again until the agent has taken them, and are told with every
    /// subscription until it has acknowledged them.
    pub fn update(&self, mut status: v1::TaskStatus) {
        status.uuid.get_or_insert_with(|| Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes()));
        status.timestamp.get_or_insert_with(now_seconds);
        status.source.get_or_insert(v1::task_status::Source::Executor as i32);
        lock(&self.shared).made(call::Update { status });
        self.shared.changed.notify_one();
    }

    /// Sends bytes to the framework. They may be lost on the way, silently, and overtake updates made before.
    pub async fn message(&mut self, data: Bytes) -> Result<(), Error> {
        let call = Call { message: Some(call::Message { data }), ..Call::default() };
        self.speaker.call(call::Type::Message, call).await
    }

    /// Whether every update so far was acknowledged: then nothing is lost if the executor ends.
    pub fn all_acknowledged(&self) -> bool {
        lock(&self.shared).updates.is_empty()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.delivery.abort();
    }
}

/// Sends updates, one after the other.
async fn deliver(mut speaker: Speaker, shared: Arc<Shared>) {
    let mut backoff = Backoff::up_to(speaker.environment.backoff_max);
    loop {
        let Some((number, update)) = lock(&shared).untold() else {
            shared.changed.notified().await;
            continue;
        };
        match speaker.call(call::Type::Update, Call { update: Some(update), ..Call::default() }).await {
            Err(error) if error.may_pass() => tokio::time::sleep(backoff.next()).await,
            // What the agent does not take is told once more with the next subscription.
            Ok(()) | Err(_) => {
                let mut pending = lock(&shared);
                pending.told = pending.told.max(number);
                backoff.reset();
            }
        }
    }
}

/// A connection, and who speaks on it.
#[derive(Debug)]
struct Speaker {
    connection: Connection,
    encoding: Encoding,
    environment: Environment,
}

impl Speaker {
    async fn call(&mut self, r#type: call::Type, call: Call) -> Result<(), Error> {
        let request = self.request(r#type, call);
        self.connection.fetch(&request).await.map(drop)
    }

    fn request(&self, r#type: call::Type, mut call: Call) -> crate::http::Call {
        call.set_type(r#type);
        call.framework_id = self.environment.framework_id.clone();
        call.executor_id = self.environment.executor_id.clone();
        stream::post(r#type.as_str_name(), PATH, self.encoding, &call)
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell: an update carries the time at which it was made")]
fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What the task that keeps the stream works with.
struct Reader {
    speaker: Speaker,
    shared: Arc<Shared>,
}

impl Subscription for Reader {
    type Subscribed = event::Subscribed;
    type Event = Event;

    async fn open(&mut self) -> Result<Stream, Error> {
        let (told, subscribe) = lock(&self.shared).subscribe();
        let call = Call { subscribe: Some(subscribe), ..Call::default() };
        let request = self.speaker.request(call::Type::Subscribe, call);
        let encoding = self.speaker.encoding;
        let (stream, _) = Stream::open(&mut self.speaker.connection, &request, encoding).await?;
        lock(&self.shared).subscribed(told);
        self.shared.changed.notify_one();
        Ok(stream)
    }

    fn sort(&mut self, _: &mut Stream, mut event: Event) -> Option<Incoming> {
        if event.r#type() == event::Type::Heartbeat {
            return None;
        }
        lock(&self.shared).note(&event);
        match (event.r#type(), event.subscribed.take()) {
            (event::Type::Subscribed, Some(subscribed)) => Some(Incoming::Subscribed(Box::new(subscribed))),
            _ => Some(Incoming::Event(Box::new(event))),
        }
    }

    fn lost(&mut self) {
        lock(&self.shared).is_subscribed = false;
    }

    fn patience(&self) -> Duration {
        self.speaker.environment.patience
    }

    /// The agent that started us may be gone before we have met it.
    fn patience_at_first(&self) -> Duration {
        self.speaker.environment.patience
    }

    fn backoff_max(&self) -> Duration {
        self.speaker.environment.backoff_max
    }
}

impl Pending {
    fn made(&mut self, update: call::Update) {
        self.made += 1;
        self.updates.push_back((self.made, update));
    }

    /// What to tell next, and its number.
    fn untold(&self) -> Option<(u64, call::Update)> {
        let next = self.updates.iter().find(|(number, _)| *number > self.told)?;
        self.is_subscribed.then(|| next.clone())
    }

    /// What to subscribe with, and up to which number it tells.
    fn subscribe(&self) -> (u64, call::Subscribe) {
        let subscribe = call::Subscribe {
            unacknowledged_tasks: self.tasks.values().cloned().collect(),
            unacknowledged_updates: self.updates.iter().map(|(_, update)| update.clone()).collect(),
        };
        (self.made, subscribe)
    }

    fn subscribed(&mut self, told: u64) {
        self.told = told;
        self.is_subscribed = true;
    }

    fn note(&mut self, event: &Event) {
        let single = event.launch.iter().map(|it| &it.task);
        let group = event.launch_group.iter().flat_map(|it| &it.task_group.tasks);
        for task in single.chain(group) {
            self.tasks.insert(task.task_id.value.clone(), task.clone());
        }
        if let Some(acknowledged) = &event.acknowledged {
            self.tasks.remove(&acknowledged.task_id.value);
            self.updates.retain(|(_, update)| update.status.uuid.as_ref() != Some(&acknowledged.uuid));
        }
    }
}

/// A poisoned lock is taken all the same: no holder leaves the lists half changed.
fn lock(shared: &Shared) -> MutexGuard<'_, Pending> {
    shared.pending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Result<Environment, Error> {
        Environment::from(|name| {
            pairs.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_names_what_it_lacks() {
        let mut pairs = vec![("MESOS_FRAMEWORK_ID", "f"), ("MESOS_EXECUTOR_ID", "e")];
        let error = environment(&pairs).expect_err("no agent");
        assert!(error.to_string().contains("MESOS_AGENT_ENDPOINT"), "{error}");
        pairs.push(("MESOS_AGENT_ENDPOINT", "127.0.0.1:5051"));
        pairs.push(("MESOS_RECOVERY_TIMEOUT", "2mins"));
        assert_eq!(environment(&pairs).expect("complete").patience, Duration::ZERO);
        pairs.push(("MESOS_CHECKPOINT", "1"));
        assert_eq!(environment(&pairs).expect("complete").patience, Duration::from_secs(120));
    }

    #[test]
    fn durations_are_read_as_mesos_writes_them() {
        assert_eq!(duration("5secs"), Some(Duration::from_secs(5)));
        assert_eq!(duration("1.5mins"), Some(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for bad in ["", "5", "secs", "5 parsecs", "-1secs"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    fn update(uuid: &'static [u8]) -> call::Update {
        let task_id = v1::TaskId { value: "t".to_owned() };
        let status = v1::TaskStatus { task_id, uuid: Some(Bytes::from_static(uuid)), ..Default::default() };
        call::Update { status }
    }

    fn acknowledged(uuid: &'static [u8]) -> Event {
        let task_id = v1::TaskId { value: "t".to_owned() };
        let acknowledged = event::Acknowledged { task_id, uuid: Bytes::from_static(uuid) };
        Event { acknowledged: Some(acknowledged), ..Default::default() }
    }

    #[test]
    fn what_is_not_acknowledged_is_told_again_in_order() {
        let mut pending = Pending::default();
        let task = v1::TaskInfo { task_id: v1::TaskId { value: "t".to_owned() }, ..Default::default() };
        pending.note(&Event { launch: Some(event::Launch { task }), ..Default::default() });
        for uuid in [&b"z"[..], b"a", b"m"] {
            pending.made(update(uuid));
        }
        let (_, told) = pending.subscribe();
        let uuids: Vec<_> =
            told.unacknowledged_updates.iter().filter_map(|it| it.status.uuid.clone()).collect();
        assert_eq!(uuids, [&b"z"[..], b"a", b"m"]);
        assert_eq!(told.unacknowledged_tasks.len(), 1);

        pending.note(&acknowledged(b"z"));
        let (_, told) = pending.subscribe();
        assert_eq!((told.unacknowledged_tasks.len(), told.unacknowledged_updates.len()), (0, 2));
    }

    #[test]
    fn an_update_is_told_once_by_each_subscription() {
        let mut pending = Pending::default();
        pending.made(update(b"a"));
        assert_eq!(pending.untold(), None, "there is nobody to tell");
        let (told, _) = pending.subscribe();
        // Made while the subscription was under way: not told with it.
        pending.made(update(b"b"));
        pending.subscribed(told);
        assert_eq!(pending.untold(), Some((2, update(b"b"))));
        // Acknowledged before its call was answered.
        pending.note(&acknowledged(b"b"));
        assert_eq!(pending.untold(), None);
    }
}
