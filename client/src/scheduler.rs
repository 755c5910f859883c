//! A framework's side of the scheduler API. [`connect`] starts the task that holds the event stream and gives its two
//! ends: [`Events`], which come in order, and [`Calls`], which are answered one by one.
//!
//! ```text
//!   master ==stream==> [reader task] --channel--> Events      Calls ==requests==> master
//!                           |                                    ^
//!                           +---- leader, framework id, stream id (shared)
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::v1;
use api::v1::framework_info::{Capability, capability};
use api::v1::scheduler::{Call, Event, call, event};
use http::HeaderValue;

use crate::http::Connection;
use crate::stream::{self, Stream, Subscription};
use crate::{Address, Encoding, Error};

const PATH: &str = "/api/v1/scheduler";
const STREAM_ID: &str = "mesos-stream-id";
/// Heartbeats that may be missed, in intervals.
const SILENT_INTERVALS: f64 = 2.5;

/// What a framework hears. HEARTBEATs are not passed on. After a second `Subscribed` it should reconcile.
pub type Incoming = stream::Incoming<event::Subscribed, Event>;

/// The end that hears.
pub type Events = stream::Events<event::Subscribed, Event>;

/// What the reader learns and the caller needs.
#[derive(Debug, Default)]
struct Session {
    leader: Option<Address>,
    framework_id: Option<v1::FrameworkId>,
    /// None while no stream stands.
    stream_id: Option<HeaderValue>,
}

/// The end that speaks.
#[derive(Debug)]
pub struct Calls {
    connection: Connection,
    encoding: Encoding,
    session: Arc<Mutex<Session>>,
}

/// How long a master keeps the tasks of a framework that went away, and how long that framework tries to return.
const FAILOVER_TIMEOUT_S: f64 = 60.0;

/// What a framework of one role says of itself: run by this process's user, and given a minute to return.
pub fn framework(name: &str, role: &str) -> Result<v1::FrameworkInfo, Error> {
    let uid = nix::unistd::Uid::effective();
    let user = nix::unistd::User::from_uid(uid).ok().flatten().ok_or(Error::NamelessUser(uid.as_raw()))?;
    Ok(v1::FrameworkInfo {
        user: user.name,
        name: name.to_owned(),
        roles: vec![role.to_owned()],
        capabilities: vec![Capability { r#type: Some(capability::Type::MultiRole as i32) }],
        failover_timeout: Some(FAILOVER_TIMEOUT_S),
        ..Default::default()
    })
}

/// Begins to subscribe `framework`. If the first attempt fails, that is the only event; a stream that breaks later is
/// subscribed again for as long as the framework's `failover_timeout`. Runs on the current tokio runtime.
pub fn connect(master: Address, framework: v1::FrameworkInfo, encoding: Encoding) -> (Calls, Events) {
    let session = Arc::new(Mutex::new(Session { framework_id: framework.id.clone(), ..Session::default() }));
    let connection = Connection::new(master.clone());
    let events = stream::keep(Reader { connection, framework, encoding, session: Arc::clone(&session) });
    (Calls { connection: Connection::new(master), encoding, session }, events)
}

impl Calls {
    /// The id that the master knows the framework by, once subscribed.
    pub fn framework_id(&self) -> Option<v1::FrameworkId> {
        lock(&self.session).framework_id.clone()
    }

    /// Makes a call of the given type; the framework's id and the stream's id are filled in. Returns when the master
    /// has taken it, which says nothing yet of its effect.
    pub async fn call(&mut self, r#type: call::Type, mut call: Call) -> Result<(), Error> {
        let stream_id = {
            let session = lock(&self.session);
            call.framework_id = session.framework_id.clone();
            if let Some(leader) = &session.leader {
                self.connection.redirect(leader.clone());
            }
            session.stream_id.clone().ok_or(Error::NotSubscribed)?
        };
        call.set_type(r#type);
        let mut request = stream::post(r#type.as_str_name(), PATH, self.encoding, &call);
        request.headers.push((STREAM_ID, stream_id));
        self.connection.fetch(&request).await.map(drop)
    }

    /// Launches tasks on the resources of offers of one agent; what they leave is not offered again for
    /// `refuse_seconds`.
    pub async fn launch(
        &mut self,
        offer_ids: Vec<v1::OfferId>,
        task_infos: Vec<v1::TaskInfo>,
        refuse_seconds: f64,
    ) -> Result<(), Error> {
        let launch = v1::offer::Operation {
            r#type: Some(v1::offer::operation::Type::Launch as i32),
            launch: Some(v1::offer::operation::Launch { task_infos }),
            ..Default::default()
        };
        self.accept(offer_ids, launch, refuse_seconds).await
    }

    /// Launches tasks together or not at all, under one executor; otherwise as [`Self::launch`]. The executor has to say its
    /// type and whose it is (`framework_id`); one of type DEFAULT is the agent's own.
    pub async fn launch_group(
        &mut self,
        offer_ids: Vec<v1::OfferId>,
        executor: v1::ExecutorInfo,
        tasks: Vec<v1::TaskInfo>,
        refuse_seconds: f64,
    ) -> Result<(), Error> {
        let task_group = v1::TaskGroupInfo { tasks };
        let launch = v1::offer::Operation {
            r#type: Some(v1::offer::operation::Type::LaunchGroup as i32),
            launch_group: Some(v1::offer::operation::LaunchGroup { executor, task_group }),
            ..Default::default()
        };
        self.accept(offer_ids, launch, refuse_seconds).await
    }

    async fn accept(
        &mut self,
        offer_ids: Vec<v1::OfferId>,
        operation: v1::offer::Operation,
        refuse_seconds: f64,
    ) -> Result<(), Error> {
        let filters = Some(v1::Filters { refuse_seconds: Some(refuse_seconds) });
        let accept = call::Accept { offer_ids, operations: vec![operation], filters };
        self.call(call::Type::Accept, Call { accept: Some(accept), ..Default::default() }).await
    }

    /// Gives offers back, not to be made again for `refuse_seconds`.
    pub async fn decline(&mut self, offer_ids: Vec<v1::OfferId>, refuse_seconds: f64) -> Result<(), Error> {
        let filters = Some(v1::Filters { refuse_seconds: Some(refuse_seconds) });
        let decline = call::Decline { offer_ids, filters };
        self.call(call::Type::Decline, Call { decline: Some(decline), ..Default::default() }).await
    }

    /// Acknowledges a status update. One without a uuid or agent asks for none, and is left alone.
    pub async fn acknowledge(&mut self, status: &v1::TaskStatus) -> Result<(), Error> {
        let (Some(uuid), Some(agent_id)) = (status.uuid.clone(), status.agent_id.clone()) else {
            return Ok(());
        };
        let acknowledge = call::Acknowledge { agent_id, task_id: status.task_id.clone(), uuid };
        self.call(call::Type::Acknowledge, Call { acknowledge: Some(acknowledge), ..Default::default() })
            .await
    }

    /// Asks for a task's end.
    pub async fn kill(&mut self, task_id: v1::TaskId, agent_id: Option<v1::AgentId>) -> Result<(), Error> {
        let kill = call::Kill { task_id, agent_id, kill_policy: None };
        self.call(call::Type::Kill, Call { kill: Some(kill), ..Default::default() }).await
    }

    /// Asks for the state of these tasks; of all tasks if there are none.
    pub async fn reconcile(&mut self, tasks: Vec<call::reconcile::Task>) -> Result<(), Error> {
        let reconcile = call::Reconcile { tasks };
        self.call(call::Type::Reconcile, Call { reconcile: Some(reconcile), ..Default::default() }).await
    }

    /// Sends bytes to an executor. They may be lost on the way, silently.
    pub async fn message(
        &mut self,
        agent_id: v1::AgentId,
        executor_id: v1::ExecutorId,
        data: bytes::Bytes,
    ) -> Result<(), Error> {
        let message = call::Message { agent_id, executor_id, data };
        self.call(call::Type::Message, Call { message: Some(message), ..Default::default() }).await
    }

    /// Wants offers again, for all roles; drops the filters of earlier refusals.
    pub async fn revive(&mut self) -> Result<(), Error> {
        self.call(call::Type::Revive, Call::default()).await
    }

    /// Wants no offers until revived.
    pub async fn suppress(&mut self) -> Result<(), Error> {
        self.call(call::Type::Suppress, Call::default()).await
    }

    /// Ends the framework and everything it runs.
    pub async fn teardown(&mut self) -> Result<(), Error> {
        self.call(call::Type::Teardown, Call::default()).await
    }
}

/// What the task that keeps the stream works with.
struct Reader {
    connection: Connection,
    framework: v1::FrameworkInfo,
    encoding: Encoding,
    session: Arc<Mutex<Session>>,
}

impl Subscription for Reader {
    type Subscribed = event::Subscribed;
    type Event = Event;

    async fn open(&mut self) -> Result<Stream, Error> {
        let framework_id = lock(&self.session).framework_id.clone();
        self.framework.id = framework_id.clone();
        let subscribe = call::Subscribe { framework_info: self.framework.clone(), ..Default::default() };
        let mut call = Call { framework_id, subscribe: Some(subscribe), ..Default::default() };
        call.set_type(call::Type::Subscribe);
        let request = stream::post("SUBSCRIBE", PATH, self.encoding, &call);
        let (stream, headers) = Stream::open(&mut self.connection, &request, self.encoding).await?;
        let stream_id = headers.get(STREAM_ID).cloned();
        let stream_id =
            stream_id.ok_or_else(|| self.connection.nonsense(&request, format!("no {STREAM_ID}")))?;
        let mut session = lock(&self.session);
        session.leader = Some(self.connection.address().clone());
        session.stream_id = Some(stream_id);
        Ok(stream)
    }

    fn sort(&mut self, stream: &mut Stream, mut event: Event) -> Option<Incoming> {
        match (event.r#type(), event.subscribed.take()) {
            (event::Type::Heartbeat, _) => None,
            (event::Type::Subscribed, Some(subscribed)) => {
                let interval = subscribed.heartbeat_interval_seconds.filter(|it| *it > 0.0);
                stream.silence_max =
                    interval.and_then(|it| Duration::try_from_secs_f64(it * SILENT_INTERVALS).ok());
                lock(&self.session).framework_id = Some(subscribed.framework_id.clone());
                Some(Incoming::Subscribed(Box::new(subscribed)))
            }
            _ => Some(Incoming::Event(Box::new(event))),
        }
    }

    fn lost(&mut self) {
        lock(&self.session).stream_id = None;
    }

    fn patience(&self) -> Duration {
        Duration::try_from_secs_f64(self.framework.failover_timeout.unwrap_or_default()).unwrap_or_default()
    }
}

/// A poisoned lock is taken all the same: no holder leaves a session half changed.
fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
