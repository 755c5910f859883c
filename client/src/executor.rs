//! An executor's side of the executor API, as an agent starts one: the environment says where the agent is and who we
//! are. [`connect`] gives the two ends, [`Events`] and [`Calls`]; updates that the agent has not acknowledged are kept
//! and told again with the next subscription, so that an update made while the agent was away is not lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::v1;
use api::v1::executor::{Call, Event, call, event};
use bytes::Bytes;

use crate::http::Connection;
use crate::stream::{self, Stream, Subscription};
use crate::{Address, Encoding, Error};

const PATH: &str = "/api/v1/executor";
/// How long a checkpointing executor waits for its agent's return where the agent does not say.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(15 * 60);

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
        let recovery =
            || variable("MESOS_RECOVERY_TIMEOUT").and_then(|it| duration(&it)).unwrap_or(RECOVERY_TIMEOUT);
        Ok(Self {
            agent: agent.parse().map_err(|_| Error::Environment("MESOS_AGENT_ENDPOINT"))?,
            framework_id: v1::FrameworkId { value: required("MESOS_FRAMEWORK_ID")? },
            executor_id: v1::ExecutorId { value: required("MESOS_EXECUTOR_ID")? },
            patience: if checkpoint { recovery() } else { Duration::ZERO },
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

/// What the agent has not acknowledged.
#[derive(Debug, Default)]
struct Pending {
    /// Tasks none of whose updates is acknowledged yet.
    tasks: BTreeMap<String, v1::TaskInfo>,
    /// By uuid, with the number that keeps the order in which they were made.
    updates: BTreeMap<Bytes, (u64, call::Update)>,
    made: u64,
}

/// The end that speaks.
#[derive(Debug)]
pub struct Calls {
    connection: Connection,
    encoding: Encoding,
    environment: Environment,
    pending: Arc<Mutex<Pending>>,
}

/// Begins to subscribe. A stream that breaks is subscribed again for as long as `patience` says. Runs on the current
/// tokio runtime.
pub fn connect(environment: Environment, encoding: Encoding) -> (Calls, Events) {
    let pending = Arc::new(Mutex::new(Pending::default()));
    let connection = || Connection::new(environment.agent.clone());
    let events = stream::keep(Reader {
        connection: connection(),
        encoding,
        environment: environment.clone(),
        pending: Arc::clone(&pending),
    });
    (Calls { connection: connection(), encoding, environment, pending }, events)
}

impl Calls {
    /// Reports a task's state. Uuid, time and source are filled in where they are unset. An update that could not be
    /// sent is told with the next subscription, so its error may be ignored where one will come.
    pub async fn update(&mut self, mut status: v1::TaskStatus) -> Result<(), Error> {
        let uuid = status
            .uuid
            .get_or_insert_with(|| Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes()))
            .clone();
        status.timestamp.get_or_insert_with(now_seconds);
        status.source.get_or_insert(v1::task_status::Source::Executor as i32);
        let update = call::Update { status };
        {
            let mut pending = lock(&self.pending);
            pending.made += 1;
            let made = pending.made;
            pending.updates.insert(uuid, (made, update.clone()));
        }
        self.call(call::Type::Update, Call { update: Some(update), ..Call::default() }).await
    }

    /// Sends bytes to the framework. They may be lost on the way, silently.
    pub async fn message(&mut self, data: Bytes) -> Result<(), Error> {
        self.call(call::Type::Message, Call { message: Some(call::Message { data }), ..Call::default() })
            .await
    }

    /// Whether every update so far was acknowledged: then nothing is lost if the executor ends.
    pub fn all_acknowledged(&self) -> bool {
        lock(&self.pending).updates.is_empty()
    }

    async fn call(&mut self, r#type: call::Type, mut call: Call) -> Result<(), Error> {
        call.set_type(r#type);
        call.framework_id = self.environment.framework_id.clone();
        call.executor_id = self.environment.executor_id.clone();
        let request = stream::post(r#type.as_str_name(), PATH, self.encoding, &call);
        self.connection.fetch(&request).await.map(drop)
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell: an update carries the time at which it was made")]
fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// What the task that keeps the stream works with.
struct Reader {
    connection: Connection,
    encoding: Encoding,
    environment: Environment,
    pending: Arc<Mutex<Pending>>,
}

impl Subscription for Reader {
    type Subscribed = event::Subscribed;
    type Event = Event;

    async fn open(&mut self) -> Result<Stream, Error> {
        let mut call = Call {
            framework_id: self.environment.framework_id.clone(),
            executor_id: self.environment.executor_id.clone(),
            subscribe: Some(lock(&self.pending).subscribe()),
            ..Default::default()
        };
        call.set_type(call::Type::Subscribe);
        let request = stream::post("SUBSCRIBE", PATH, self.encoding, &call);
        let (stream, _) = Stream::open(&mut self.connection, &request, self.encoding).await?;
        Ok(stream)
    }

    fn sort(&mut self, _: &mut Stream, mut event: Event) -> Option<Incoming> {
        if event.r#type() == event::Type::Heartbeat {
            return None;
        }
        lock(&self.pending).note(&event);
        match (event.r#type(), event.subscribed.take()) {
            (event::Type::Subscribed, Some(subscribed)) => Some(Incoming::Subscribed(Box::new(subscribed))),
            _ => Some(Incoming::Event(Box::new(event))),
        }
    }

    fn lost(&mut self) {}

    fn patience(&self) -> Duration {
        self.environment.patience
    }
}

impl Pending {
    fn subscribe(&self) -> call::Subscribe {
        let mut updates: Vec<&(u64, call::Update)> = self.updates.values().collect();
        updates.sort_by_key(|(made, _)| *made);
        call::Subscribe {
            unacknowledged_tasks: self.tasks.values().cloned().collect(),
            unacknowledged_updates: updates.into_iter().map(|(_, update)| update.clone()).collect(),
        }
    }

    fn note(&mut self, event: &Event) {
        let single = event.launch.iter().map(|it| &it.task);
        let group = event.launch_group.iter().flat_map(|it| &it.task_group.tasks);
        for task in single.chain(group) {
            self.tasks.insert(task.task_id.value.clone(), task.clone());
        }
        if let Some(acknowledged) = &event.acknowledged {
            self.tasks.remove(&acknowledged.task_id.value);
            self.updates.remove(&acknowledged.uuid);
        }
    }
}

/// A poisoned lock is taken all the same: no holder leaves the lists half changed.
fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn update(task: &str, uuid: &'static [u8]) -> (Bytes, call::Update) {
        let task_id = v1::TaskId { value: task.to_owned() };
        let status = v1::TaskStatus { task_id, uuid: Some(Bytes::from_static(uuid)), ..Default::default() };
        (Bytes::from_static(uuid), call::Update { status })
    }

    #[test]
    fn what_is_not_acknowledged_is_told_again_in_order() {
        let mut pending = Pending::default();
        let task = v1::TaskInfo { task_id: v1::TaskId { value: "t".to_owned() }, ..Default::default() };
        pending.note(&Event { launch: Some(event::Launch { task }), ..Default::default() });
        for (made, uuid) in [&b"z"[..], b"a", b"m"].into_iter().enumerate() {
            let (uuid, update) = update("t", uuid);
            pending.updates.insert(uuid, (made as u64, update));
        }
        let told = pending.subscribe();
        let uuids: Vec<_> =
            told.unacknowledged_updates.iter().filter_map(|it| it.status.uuid.clone()).collect();
        assert_eq!(uuids, [&b"z"[..], b"a", b"m"]);
        assert_eq!(told.unacknowledged_tasks.len(), 1);

        let task_id = v1::TaskId { value: "t".to_owned() };
        let acknowledged = event::Acknowledged { task_id, uuid: Bytes::from_static(b"z") };
        pending.note(&Event { acknowledged: Some(acknowledged), ..Default::default() });
        let told = pending.subscribe();
        assert_eq!((told.unacknowledged_tasks.len(), told.unacknowledged_updates.len()), (0, 2));
    }
}
