//! A command in a running container, and what a container's terminal shows: the calls by which people look into tasks. A
//! session is a container nested in the task's, which ends with the connection that opened it.
//!
//! Output comes as one answer, input goes as one request, each on a connection of its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use api::v1;
use api::v1::agent::call::{AttachContainerInput, attach_container_input};
use api::v1::agent::{Call, ProcessIo, Response, call, process_io};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::http::Connection;
use crate::stream::{Stream, post};
use crate::{Address, Encoding, Error};

const PATH: &str = "/api/v1";
const RECORDIO: &str = "application/recordio";
/// An agent fetches a container's files before it answers.
const LAUNCH_MAX: Duration = Duration::from_secs(60 * 60);
/// Agents say something at least every 30 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Of a refusal, bytes.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Pieces of input that wait to be sent.
const INPUT_AHEAD: usize = 16;

/// Containers of one agent, for who wants to look into them.
#[derive(Clone, Debug)]
pub struct Sessions {
    agent: Address,
}

/// A window's size, in characters.
pub type Window = v1::tty_info::WindowSize;

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Stdout(Bytes),
    Stderr(Bytes),
}

/// What comes out of a container. Dropped, that of a session ends it.
#[derive(Debug)]
pub struct Output {
    stream: Stream,
}

impl Output {
    /// `None` at the end: the container's output is over, and so, mostly, is the container.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            let message: ProcessIo = match self.stream.next().await {
                Err(Error::StreamEnded { .. }) => return Ok(None),
                message => message?,
            };
            let Some(process_io::Data { data: Some(data), r#type }) = message.data else { continue };
            match r#type.and_then(|it| process_io::data::Type::try_from(it).ok()) {
                Some(process_io::data::Type::Stdout) => return Ok(Some(Piece::Stdout(data))),
                Some(process_io::data::Type::Stderr) => return Ok(Some(Piece::Stderr(data))),
                _ => {}
            }
        }
    }
}

/// Where input for a container goes. Dropped, the request ends, and the container's input stays open.
#[derive(Clone, Debug)]
pub struct Input {
    records: mpsc::Sender<Bytes>,
}

impl Input {
    /// False when nobody takes it any more. Nothing is the end of input, where there is no terminal.
    pub async fn write(&self, bytes: Bytes) -> bool {
        let data = process_io::Data { r#type: Some(process_io::data::Type::Stdin.into()), data: Some(bytes) };
        let message =
            ProcessIo { r#type: Some(process_io::Type::Data.into()), data: Some(data), control: None };
        self.send(message).await
    }

    /// The window has this size now.
    pub async fn resize(&self, size: Window) -> bool {
        let control = process_io::Control {
            r#type: Some(process_io::control::Type::TtyInfo.into()),
            tty_info: Some(v1::TtyInfo { window_size: Some(size) }),
            ..process_io::Control::default()
        };
        let message =
            ProcessIo { r#type: Some(process_io::Type::Control.into()), control: Some(control), data: None };
        self.send(message).await
    }

    async fn send(&self, message: ProcessIo) -> bool {
        let attach = AttachContainerInput {
            r#type: Some(attach_container_input::Type::ProcessIo.into()),
            process_io: Some(message),
            ..AttachContainerInput::default()
        };
        self.records.send(record(attach)).await.is_ok()
    }
}

impl Sessions {
    pub fn new(agent: Address) -> Self {
        Self { agent }
    }

    /// Runs a command in a new container, which ends when the output is dropped.
    pub async fn launch(&self, launch: call::LaunchNestedContainerSession) -> Result<Output, Error> {
        let kind = call::Type::LaunchNestedContainerSession;
        self.output(Call { launch_nested_container_session: Some(launch), ..of(kind) }).await
    }

    /// What comes out from now on.
    pub async fn attach_output(&self, id: v1::ContainerId) -> Result<Output, Error> {
        let attach = call::AttachContainerOutput { container_id: id };
        self.output(Call { attach_container_output: Some(attach), ..of(call::Type::AttachContainerOutput) })
            .await
    }

    async fn output(&self, call: Call) -> Result<Output, Error> {
        let mut request = post(call.r#type().as_str_name(), PATH, Encoding::Protobuf, &call);
        request.headers.retain(|(name, _)| *name != header::ACCEPT.as_str());
        let protobuf = HeaderValue::from_static(Encoding::Protobuf.media_type());
        request.headers.push((header::ACCEPT.as_str(), HeaderValue::from_static(RECORDIO)));
        request.headers.push(("message-accept", protobuf));
        let mut connection = Connection::new(self.agent.clone()).with_patience(LAUNCH_MAX);
        let (mut stream, _) = Stream::open(&mut connection, &request, Encoding::Protobuf).await?;
        stream.silence_max = Some(SILENCE_MAX);
        Ok(Output { stream })
    }

    /// Opens the way in. What becomes of it is told when it has ended: an agent may refuse it at any time, such as when
    /// somebody else has it.
    pub async fn attach_input(
        &self,
        id: v1::ContainerId,
    ) -> Result<(Input, impl Future<Output = Result<(), Error>> + use<>), Error> {
        let (records, body) = mpsc::channel(INPUT_AHEAD);
        let attach = AttachContainerInput {
            r#type: Some(attach_container_input::Type::ContainerId.into()),
            container_id: Some(id),
            ..AttachContainerInput::default()
        };
        // There is room: it is the first.
        let _ = records.try_send(record(attach));
        let end = self.post_stream(Records { body }).await?;
        Ok((Input { records }, end))
    }

    async fn post_stream(
        &self,
        body: Records,
    ) -> Result<impl Future<Output = Result<(), Error>> + use<>, Error> {
        let address = self.agent.clone();
        let connected = TcpStream::connect((address.host.as_str(), address.port)).await;
        let stream = connected.map_err(|source| Error::Connect { address: address.clone(), source })?;
        let _ = stream.set_nodelay(true);
        let name = "ATTACH_CONTAINER_INPUT".to_owned();
        let broken = {
            let (address, request) = (address.clone(), name.clone());
            move |source| Error::Broken { address: address.clone(), request: request.clone(), source }
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(&broken)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::POST)
            .uri(PATH)
            .header(header::HOST, address.to_string())
            .header(header::CONTENT_TYPE, RECORDIO)
            .header("message-content-type", Encoding::Protobuf.media_type())
            .header(header::ACCEPT, Encoding::Protobuf.media_type());
        let request = request.body(body).expect("fixed headers, and an address without control characters");
        Ok(async move {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            if status.is_success() {
                return Ok(());
            }
            let text = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
            let text = text.map(|it| String::from_utf8_lossy(&it.to_bytes()).trim().to_owned());
            Err(Error::Refused { address, request: name, status, text: text.unwrap_or_default() })
        })
    }

    /// How a container ended, as waitpid(2) tells it, when it has. `None`: nobody knows, or there is no such container.
    pub async fn wait(&self, id: v1::ContainerId) -> Result<Option<i32>, Error> {
        let wait = call::WaitContainer { container_id: id };
        let call = Call { wait_container: Some(wait), ..of(call::Type::WaitContainer) };
        let request = post(call.r#type().as_str_name(), PATH, Encoding::Protobuf, &call);
        let mut connection = Connection::new(self.agent.clone()).with_patience(LAUNCH_MAX);
        let body = match connection.fetch(&request).await {
            Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
            body => body?,
        };
        let response: Result<Response, String> = Encoding::Protobuf.decode(body);
        let response = response.map_err(|why| connection.nonsense(&request, why))?;
        Ok(response.wait_container.and_then(|it| it.exit_status))
    }

    /// Forgets a container that has ended, and its sandbox.
    pub async fn remove(&self, id: v1::ContainerId) -> Result<(), Error> {
        let remove = call::RemoveContainer { container_id: id };
        let call = Call { remove_container: Some(remove), ..of(call::Type::RemoveContainer) };
        let request = post(call.r#type().as_str_name(), PATH, Encoding::Protobuf, &call);
        Connection::new(self.agent.clone()).fetch(&request).await.map(drop)
    }
}

fn of(r#type: call::Type) -> Call {
    Call { r#type: Some(r#type.into()), ..Call::default() }
}

fn record(attach: AttachContainerInput) -> Bytes {
    let call = Call { attach_container_input: Some(attach), ..of(call::Type::AttachContainerInput) };
    api::recordio::encode(&Encoding::Protobuf.encode(&call))
}

/// The body of a request that lasts.
struct Records {
    body: mpsc::Receiver<Bytes>,
}

impl Body for Records {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.body.poll_recv(context).map(|record| record.map(|bytes| Ok(Frame::data(bytes))))
    }
}
