//! The streams against daemons that misbehave as real ones do: they redirect, vanish, fall silent, talk nonsense.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::time::Duration;

use api::v1;
use api::v1::TaskState;
use client::executor::{self, Environment};
use client::scheduler;
use client::{Address, Encoding, Error, Incoming};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon whose every answer the test gives by hand.
struct Daemon {
    listener: TcpListener,
}

/// One request on a connection of its own, to be answered.
struct Request {
    path: String,
    stream_id: Option<String>,
    body: Value,
    connection: BufReader<TcpStream>,
}

impl Daemon {
    async fn new() -> (Self, Address) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        (Self { listener }, address)
    }

    async fn request(&self) -> Request {
        let (connection, _) = timeout(PATIENCE, self.listener.accept()).await.expect("nobody calls").unwrap();
        Request::read(BufReader::new(connection)).await
    }
}

impl Request {
    async fn read(mut connection: BufReader<TcpStream>) -> Self {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            timeout(PATIENCE, connection.read_line(&mut line)).await.expect("half a request").unwrap();
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let header = |name: &str| {
            let of =
                |line: &String| line.to_lowercase().strip_prefix(&format!("{name}: ")).map(str::to_owned);
            lines.iter().find_map(of)
        };
        let mut body = vec![0; header("content-length").unwrap().parse().unwrap()];
        connection.read_exact(&mut body).await.unwrap();
        Self {
            path: lines[0].split(' ').nth(1).unwrap().to_owned(),
            stream_id: header("mesos-stream-id"),
            body: serde_json::from_slice(&body).unwrap(),
            connection,
        }
    }

    /// A whole answer; the connection stays open.
    async fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        self.connection.write_all(answer.as_bytes()).await.unwrap();
    }

    /// The beginning of an event stream.
    async fn stream(&mut self, events: &[Value]) {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\
                    Mesos-Stream-Id: the-stream\r\n\r\n";
        self.connection.write_all(head.as_bytes()).await.unwrap();
        for event in events {
            self.event(event).await;
        }
    }

    /// One record, in two chunks that cut it where it hurts.
    async fn event(&mut self, event: &Value) {
        let text = event.to_string();
        let record = format!("{}\n{text}", text.len());
        for part in [&record[..1], &record[1..]] {
            let chunk = format!("{:x}\r\n{part}\r\n", part.len());
            self.connection.write_all(chunk.as_bytes()).await.unwrap();
        }
    }
}

fn subscribed(heartbeat_seconds: f64) -> Value {
    json!({"type": "SUBSCRIBED", "subscribed": {
        "framework_id": {"value": "f"}, "heartbeat_interval_seconds": heartbeat_seconds,
    }})
}

fn framework(failover_timeout: f64) -> v1::FrameworkInfo {
    v1::FrameworkInfo {
        user: "u".to_owned(),
        name: "n".to_owned(),
        failover_timeout: Some(failover_timeout),
        ..Default::default()
    }
}

async fn next(events: &mut scheduler::Events) -> Result<scheduler::Incoming, Error> {
    timeout(PATIENCE, events.next()).await.expect("no event")
}

#[tokio::test]
async fn a_standby_s_redirect_is_followed_and_calls_go_to_the_leader() {
    let ((standby, first), (leader, second)) = (Daemon::new().await, Daemon::new().await);
    let (mut calls, mut events) = scheduler::connect(first, framework(10.0), Encoding::Json);
    let mut request = standby.request().await;
    assert_eq!(request.path, "/api/v1/scheduler");
    request.answer("307 Temporary Redirect", &format!("Location: //{second}\r\n"), "").await;
    let mut stream = leader.request().await;
    stream.stream(&[subscribed(15.0), json!({"type": "HEARTBEAT"})]).await;
    let Ok(Incoming::Subscribed(told)) = next(&mut events).await else { panic!("not subscribed") };
    assert_eq!(told.framework_id.value, "f");

    let called = tokio::spawn(async move { calls.revive().await });
    let mut call = leader.request().await;
    assert_eq!(call.stream_id.as_deref(), Some("the-stream"));
    assert_eq!(call.body, json!({"type": "REVIVE", "framework_id": {"value": "f"}}));
    call.answer("202 Accepted", "", "").await;
    called.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_broken_stream_is_subscribed_again_under_the_same_id() {
    let (daemon, address) = Daemon::new().await;
    let (mut calls, mut events) = scheduler::connect(address, framework(10.0), Encoding::Json);
    let mut stream = daemon.request().await;
    assert!(stream.body.get("framework_id").is_none());
    stream.stream(&[subscribed(15.0)]).await;
    assert!(matches!(next(&mut events).await, Ok(Incoming::Subscribed(_))));
    drop(stream);
    assert!(matches!(next(&mut events).await, Ok(Incoming::Lost(_))));
    assert!(matches!(calls.revive().await, Err(Error::NotSubscribed)));

    // The first attempt to return meets a master that is not ready: no news, and no end.
    daemon.request().await.answer("503 Service Unavailable", "", "").await;
    let mut stream = daemon.request().await;
    assert_eq!(stream.body["framework_id"]["value"], "f");
    assert_eq!(stream.body["subscribe"]["framework_info"]["id"]["value"], "f");
    stream.stream(&[subscribed(15.0)]).await;
    assert!(matches!(next(&mut events).await, Ok(Incoming::Subscribed(_))));
}

#[tokio::test]
async fn silence_breaks_a_stream_that_promised_heartbeats() {
    let (daemon, address) = Daemon::new().await;
    let (_calls, mut events) = scheduler::connect(address, framework(10.0), Encoding::Json);
    let mut stream = daemon.request().await;
    stream.stream(&[subscribed(0.05)]).await;
    assert!(matches!(next(&mut events).await, Ok(Incoming::Subscribed(_))));
    let lost = next(&mut events).await;
    assert!(matches!(lost, Ok(Incoming::Lost(Error::Silent { .. }))), "{lost:?}");
}

#[tokio::test]
async fn a_first_attempt_that_fails_is_the_end() {
    let (daemon, address) = Daemon::new().await;
    let (_calls, mut events) = scheduler::connect(address, framework(10.0), Encoding::Json);
    daemon.request().await.answer("400 Bad Request", "", "Failed to validate").await;
    match next(&mut events).await {
        Err(Error::Refused { status, text, .. }) => {
            assert_eq!((status.as_u16(), &*text), (400, "Failed to validate"));
        }
        other => panic!("{other:?}"),
    }
    let (daemon, address) = Daemon::new().await;
    drop(daemon);
    let (_calls, mut events) = scheduler::connect(address, framework(10.0), Encoding::Json);
    assert!(matches!(next(&mut events).await, Err(Error::Connect { .. })));
}

#[tokio::test]
async fn a_framework_without_failover_does_not_return() {
    let (daemon, address) = Daemon::new().await;
    let (_calls, mut events) = scheduler::connect(address, framework(0.0), Encoding::Json);
    let mut stream = daemon.request().await;
    stream.stream(&[subscribed(15.0)]).await;
    assert!(matches!(next(&mut events).await, Ok(Incoming::Subscribed(_))));
    drop(stream);
    assert!(next(&mut events).await.is_err());
}

#[tokio::test]
async fn nonsense_on_a_stream_ends_it_with_a_reason() {
    let (daemon, address) = Daemon::new().await;
    let (_calls, mut events) = scheduler::connect(address, framework(10.0), Encoding::Json);
    let mut stream = daemon.request().await;
    stream.stream(&[subscribed(15.0), json!([1])]).await;
    assert!(matches!(next(&mut events).await, Ok(Incoming::Subscribed(_))));
    let last = next(&mut events).await;
    assert!(matches!(last, Err(Error::Nonsense { .. })), "{last:?}");
}

#[tokio::test]
async fn an_executor_tells_again_what_was_not_acknowledged() {
    let (daemon, agent) = Daemon::new().await;
    let environment = Environment {
        agent,
        framework_id: v1::FrameworkId { value: "f".to_owned() },
        executor_id: v1::ExecutorId { value: "e".to_owned() },
        patience: PATIENCE,
        backoff_max: Duration::from_millis(100),
    };
    let (calls, mut events) = executor::connect(environment, Encoding::Json);
    let task = json!({"name": "t", "task_id": {"value": "t"}, "agent_id": {"value": "a"}});
    let mut stream = daemon.request().await;
    assert_eq!(stream.path, "/api/v1/executor");
    stream.stream(&[json!({"type": "LAUNCH", "launch": {"task": task}})]).await;
    let launched = timeout(PATIENCE, events.next()).await.unwrap();
    assert!(matches!(launched, Ok(Incoming::Event(event)) if event.launch.is_some()));

    // The agent goes away while an update is on its way.
    let mut status = v1::TaskStatus { task_id: v1::TaskId { value: "t".to_owned() }, ..Default::default() };
    status.set_state(TaskState::TaskRunning);
    calls.update(status);
    let call = daemon.request().await;
    assert_eq!(call.body["update"]["status"]["state"], "TASK_RUNNING");
    drop((call, stream));
    assert!(!calls.all_acknowledged());
    let lost = timeout(PATIENCE, events.next()).await.unwrap();
    assert!(matches!(lost, Ok(Incoming::Lost(_))));
    let mut stream = daemon.request().await;
    let told = &stream.body["subscribe"];
    assert_eq!(told["unacknowledged_tasks"][0]["task_id"]["value"], "t");
    let update = &told["unacknowledged_updates"][0]["status"];
    assert_eq!(update["source"], "SOURCE_EXECUTOR");
    let uuid = update["uuid"].clone();
    let acknowledged =
        json!({"type": "ACKNOWLEDGED", "acknowledged": {"task_id": {"value": "t"}, "uuid": uuid}});
    stream.stream(&[acknowledged]).await;
    let heard = timeout(PATIENCE, events.next()).await.unwrap();
    assert!(matches!(heard, Ok(Incoming::Event(event)) if event.acknowledged.is_some()));
    assert!(calls.all_acknowledged());
}
