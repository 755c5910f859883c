//! Answers and their bodies: all at once, a file by pieces, or a stream of records of which each is one chunk.

use crate::executor_api::download::Pieces;
use crate::http::files::Download;
use crate::runtime::streams::Records;
use crate::runtime::switchboard::Output;
use api::legacy::Reply;
use api::media::Body as Media;
use api::refusal::Refusal;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Executors hear from the agent at least this often (Mesos: `DEFAULT_EXECUTOR_HEARTBEAT_INTERVAL`).
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30 * 60);

pub(crate) enum AnswerBody {
    Whole(Option<Bytes>),
    File(Pieces),
    /// What a container writes.
    Output(Output),
    /// And what is sent when there has been nothing else for a while.
    Events {
        records: Records,
        heartbeat: Bytes,
        idle: Pin<Box<tokio::time::Sleep>>,
    },
}

impl AnswerBody {
    pub(crate) fn events(records: Records, heartbeat: Bytes) -> Self {
        Self::Events { records, heartbeat, idle: Box::pin(tokio::time::sleep(HEARTBEAT_INTERVAL)) }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::File(pieces) => {
                let piece = std::task::ready!(pieces.poll(context));
                return Poll::Ready(piece.map(|piece| piece.map(Frame::data)));
            }
            Self::Output(output) => std::task::ready!(output.poll(context)),
            Self::Events { records, heartbeat, idle } => match records.poll(context) {
                Poll::Ready(record) => record,
                Poll::Pending => {
                    std::task::ready!(idle.as_mut().poll(context));
                    let next = idle.deadline() + HEARTBEAT_INTERVAL;
                    idle.as_mut().reset(next);
                    Some(heartbeat.clone())
                }
            },
        };
        Poll::Ready(chunk.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(
                bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(0)),
            ),
            Self::File(pieces) => SizeHint::with_exact(pieces.left()),
            Self::Events { .. } | Self::Output(_) => SizeHint::default(),
        }
    }
}

pub(crate) type Answer = Response<AnswerBody>;

/// 200 or 202 with nothing to read.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(AnswerBody::Whole(None));
    *response.status_mut() = status;
    response
}

pub(crate) fn reply(reply: Reply) -> Answer {
    let mut response = Response::new(AnswerBody::Whole((!reply.body.is_empty()).then_some(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("replies have statuses of HTTP");
    let headers = response.headers_mut();
    let fixed = [(header::CONTENT_TYPE, reply.content_type), (header::ALLOW, reply.allow)];
    for (name, value) in fixed {
        value.map(|value| headers.insert(name, HeaderValue::from_static(value)));
    }
    if let Some(location) = reply.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    response
}

pub(crate) fn download(file: Download) -> Answer {
    let content_type = HeaderValue::from_static(file.content_type);
    let disposition = HeaderValue::from_str(&file.disposition);
    let mut response = Response::new(AnswerBody::File(Pieces::of(file)));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().extend(disposition.map(|value| (header::CONTENT_DISPOSITION, value)));
    response
}

/// A stream of what a container writes.
pub(crate) fn output(output: Output, wanted: Media) -> Answer {
    let mut response = Response::new(AnswerBody::Output(output));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(wanted.as_str()));
    if let Media::Stream(encoding) = wanted {
        headers.insert("message-content-type", HeaderValue::from_static(encoding.as_str()));
    }
    response
}

/// A refusal, in its words.
pub(crate) fn refusal(why: &Refusal) -> Answer {
    reply(Reply::refused(why))
}
