//! Bodies of answers: all at once, or a stream of records of which each is one chunk.

use crate::runtime::streams::Records;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Executors hear from the agent at least this often (Mesos: `DEFAULT_EXECUTOR_HEARTBEAT_INTERVAL`).
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30 * 60);

pub(crate) enum AnswerBody {
    Whole(Option<Bytes>),
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
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
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
            Self::Events { .. } => SizeHint::default(),
        }
    }
}

pub(crate) type Answer = Response<AnswerBody>;

pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let body = body.into();
    let mut response = Response::new(AnswerBody::Whole((!body.is_empty()).then_some(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 200 or 202 with nothing to read.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(AnswerBody::Whole(None));
    *response.status_mut() = status;
    response
}

pub(crate) fn refusal(why: &api::refusal::Refusal) -> Answer {
    let status = StatusCode::from_u16(why.status()).expect("refusals have statuses of HTTP");
    let mut response = answer(status, api::refusal::Refusal::CONTENT_TYPE, why.to_string());
    if let Some(allowed) = why.allow() {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// JSON, or a call of the function `jsonp` with it, for pages of other origins.
pub(crate) fn json(value: &serde_json::Value, jsonp: Option<&str>) -> Answer {
    match jsonp {
        Some(function) => answer(StatusCode::OK, "text/javascript", format!("{function}({value});")),
        None => answer(StatusCode::OK, "application/json", value.to_string()),
    }
}
