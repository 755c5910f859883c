//! Connections and routes.

use super::legacy::{self, Query, Reply};
use super::outbox::{Answer, Caller, Inbox, Outbox};
use super::{maintenance, operator, registrar, reservations, scheduler, standby, system};
use crate::allocator::pattern::Limits;
use crate::cluster::conversions::Kind;
use crate::cluster::snapshot::MasterInfo;
use crate::driver::{Command, Picture, Post};
use crate::standing::Stands;
use crate::usage;
use api::media::Encoding;
use api::refusal::Refusal;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::limits::CALL_BYTES_MAX;
use std::convert::Infallible;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};

/// What every handler has: of the connection, and of the master.
pub(super) struct App {
    pub(super) post: Post,
    pub(super) master: Arc<MasterInfo>,
    pub(super) stands: Stands,
    /// Empty while this master does not lead.
    pub(super) usage: Arc<usage::Table>,
    /// Of regular expressions in offer constraints.
    pub(super) pattern_limits: Limits,
    /// The number of the thread that serves the connection.
    pub(super) thread: usize,
    /// Ends the connection, whatever it is waiting for.
    pub(super) cutter: Arc<Notify>,
}

impl App {
    /// A picture of the cluster, as of now or a moment ago; `None` while the master is shutting down.
    pub(super) async fn picture(&self) -> Option<Picture> {
        let (reply, answer) = oneshot::channel();
        self.post.send(Command::Snapshot { reply });
        answer.await.ok()
    }

    /// What the core says to a call. It answers every one, unless the master is shutting down.
    pub(super) async fn ask(&self, command: impl FnOnce(Caller) -> Command) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.post.send(command(Caller { thread: self.thread, answer }));
        answered.await.unwrap_or(Err(Refusal::MasterRecovering))
    }
}

/// Where connections that speak HTTP go: to each thread in its turn.
pub(crate) struct Door {
    threads: Vec<UnboundedSender<TcpStream>>,
    next: usize,
}

impl Door {
    pub(crate) fn enter(&mut self, connection: TcpStream) {
        // A thread that is gone is found out by whoever joins it.
        drop(self.threads[self.next].send(connection));
        self.next = (self.next + 1) % self.threads.len();
    }
}

/// Starts so many threads; they serve connections as they come, and end when no more can come.
pub(crate) fn start(
    count: usize,
    post: &Post,
    master: &Arc<MasterInfo>,
    stands: &Stands,
    usage: &Arc<usage::Table>,
    pattern_limits: Limits,
) -> std::io::Result<(Door, Outbox, Vec<JoinHandle<()>>)> {
    let (outbox, inboxes) = Outbox::of(count);
    let (mut door, mut threads) = (Door { threads: Vec::new(), next: 0 }, Vec::new());
    for (number, inbox) in inboxes.into_iter().enumerate() {
        let (sender, connections) = unbounded_channel();
        let (post, master, stands) = (post.clone(), Arc::clone(master), stands.clone());
        let usage = Arc::clone(usage);
        let app = move || App {
            post: post.clone(),
            master: Arc::clone(&master),
            stands: stands.clone(),
            usage: Arc::clone(&usage),
            pattern_limits,
            thread: number,
            cutter: Arc::default(),
        };
        threads.push(thread(connections, inbox, app)?);
        door.threads.push(sender);
    }
    Ok((door, outbox, threads))
}

fn thread(
    mut connections: UnboundedReceiver<TcpStream>,
    inbox: Inbox,
    app: impl Fn() -> App + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        runtime.block_on(async {
            tokio::spawn(inbox.hand_out());
            while let Some(connection) = connections.recv().await {
                tokio::spawn(serve(connection, app()));
            }
        });
        // Streams that are open end with the process; nothing waits for them.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("http".into()).spawn(run)
}

async fn serve(connection: TcpStream, app: App) {
    let connection = match tokio::net::TcpStream::from_std(connection) {
        Ok(connection) => TokioIo::new(connection),
        Err(error) => return tracing::warn!(%error, "http_connection_not_taken"),
    };
    let (app, cutter) = (&app, Arc::clone(&app.cutter));
    let answer = |request: http::Request<Incoming>| async move {
        Ok::<_, Infallible>(route(app, request.map(Body::new)).await)
    };
    let served = hyper::server::conn::http1::Builder::new()
        // As Mesos writes them; some clients compare to the letter.
        .title_case_headers(true)
        .serve_connection(connection, service_fn(answer));
    tokio::select! {
        // Clients may leave as they like.
        result = served => if let Err(error) = result { tracing::debug!(%error, "http_connection_failed") },
        () = cutter.notified() => {}
    }
}

/// Finds what a path means. Mesos falls back to the longest prefix that means something, with or without `/master` in
/// front: `/api/v1/operator`, `/tasks/` and `/master/frameworks/` are in use.
async fn route(app: &App, request: Request) -> Response {
    if !app.stands.leads() {
        return standby::answer(app, &request);
    }
    match place(request.method(), request.uri().path()) {
        Place::Scheduler => scheduler::answer(app, request).await,
        Place::Operator => operator::answer(app, request).await,
        Place::Metrics => metrics(app, request).await,
        Place::Conversion(kind) => reservations::answer(app, request, kind).await,
        Place::Maintenance(change) => maintenance::answer(app, request, change).await,
        Place::Document => snapshot_document(app, request).await,
    }
}

enum Place {
    Scheduler,
    Operator,
    /// In Prometheus' format; what follows the name belongs to Mesos' documents.
    Metrics,
    /// One of the older paths that change what is planned.
    Maintenance(maintenance::Change),
    /// One of those that reserve and make volumes.
    Conversion(Kind),
    Document,
}

fn place(method: &Method, path: &str) -> Place {
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    parts.next_if(|part| *part == "master");
    match (parts.next(), parts.next(), parts.next()) {
        (Some("api"), Some("v1"), Some("scheduler")) => Place::Scheduler,
        (Some("api"), Some("v1"), _) => Place::Operator,
        (Some("metrics"), None, _) => Place::Metrics,
        (Some("machine"), Some("down"), _) => Place::Maintenance(maintenance::Change::Down),
        (Some("machine"), Some("up"), _) => Place::Maintenance(maintenance::Change::Up),
        (Some("maintenance"), Some("schedule"), _) if method == Method::POST => {
            Place::Maintenance(maintenance::Change::Schedule)
        }
        (Some(first), None, _) => reservations::kind(first).map_or(Place::Document, Place::Conversion),
        _ => Place::Document,
    }
}

async fn metrics(app: &App, request: Request) -> Response {
    write(app, request, |_, query, picture| {
        let around = legacy::Around {
            allocations: picture.allocations,
            registrar: Some(Arc::clone(&picture.registrar)),
            process: system::process(),
        };
        Some(legacy::page(&picture.snapshot, &around, query))
    })
    .await
}

async fn snapshot_document(app: &App, request: Request) -> Response {
    write(app, request, |path, query, picture| legacy::get(path, query, &picture.snapshot, &gauges(picture)))
        .await
}

/// What `document` makes of a picture of the cluster; `None` where nothing stands at the path.
async fn write(
    app: &App,
    request: Request,
    document: impl FnOnce(&str, &Query, &Picture) -> Option<Reply> + Send + 'static,
) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::POST) {
        return refuse(&Refusal::Method { allowed: "GET", got: request.method().to_string() });
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let Some(picture) = app.picture().await else { return refuse(&Refusal::MasterRecovering) };
    let path = request.uri().path().to_owned();
    // A large cluster takes a while to write down; streams go on meanwhile.
    let written = tokio::task::spawn_blocking(move || document(&path, &query, &picture));
    match written.await {
        Ok(Some(reply)) => from_reply(reply),
        Ok(None) => refuse(&Refusal::NotFound),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the document could not be written"),
    }
}

/// Figures that the snapshot does not know: the machine's, the allocator's and the registrar's.
pub(super) fn gauges(picture: &Picture) -> Vec<legacy::Gauge> {
    let mut gauges = system::gauges();
    let counts = &picture.allocations;
    for (name, count) in [
        ("allocator/mesos/event_queue_dispatches", counts.event_count),
        ("allocator/mesos/allocation_runs", counts.decision_count),
    ] {
        gauges.push((name.into(), count as f64));
    }
    gauges.extend(registrar::gauges(&picture.registrar));
    gauges
}

pub(super) fn from_reply(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("replies have real status codes");
    if let Some(content_type) = reply.content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some(location) = reply.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// A document in one of the API's encodings.
pub(super) fn document(encoding: Encoding, bytes: bytes::Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(encoding.as_str()));
    response
}

/// The answer to a request that is not served.
pub(super) fn refuse(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).expect("refusals have real status codes");
    let mut response = plain(status, &refusal.to_string());
    if let Some(allowed) = refusal.allow() {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(Refusal::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The request's whole body, if it is not too long.
pub(super) async fn body(request: Request) -> Result<bytes::Bytes, Refusal> {
    let limited = http_body_util::Limited::new(request.into_body(), CALL_BYTES_MAX);
    match http_body_util::BodyExt::collect(limited).await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Refusal::TooLarge { bytes_max: CALL_BYTES_MAX })
        }
        // The client left in the middle; nobody reads the answer.
        Err(error) => Err(Refusal::Bad(error.to_string())),
    }
}

/// What the body of a call is written in. Calls are posted; anything else is refused.
pub(super) fn encoding_of_post(request: &Request) -> Result<Encoding, Refusal> {
    if request.method() != Method::POST {
        return Err(Refusal::Method { allowed: "POST", got: request.method().to_string() });
    }
    Encoding::of_request(header(request, "Content-Type").as_deref())
}

/// A header as text; `None` where it is absent or no text.
pub(super) fn header(request: &Request, name: &str) -> Option<String> {
    request.headers().get(name)?.to_str().ok().map(str::to_owned)
}
