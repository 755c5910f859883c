//! `/api/v1/scheduler`: one POST a call; SUBSCRIBE's answer is the event stream.

use super::calls::{self, Checked};
use super::events::Writer;
use super::serve::{App, body, encoding_of_post, header, refuse};
use super::stream::stream;
use crate::cluster::effect::{Done, Event};
use crate::cluster::input::{Call, StreamId, Subscribe};
use crate::driver::Command;
use api::media::{self, Encoding};
use api::refusal::Refusal;
use api::v1;
use api::v1::scheduler::call;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use model::id::FrameworkId;
use std::sync::Arc;

const STREAM_ID: &str = "Mesos-Stream-Id";

/// What the headers of a request say.
struct Asked {
    accept: Option<String>,
    stream: Option<StreamId>,
}

pub(super) async fn answer(app: &App, request: Request) -> Response {
    serve(app, request).await.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn serve(app: &App, request: Request) -> Result<Response, Refusal> {
    let encoding = encoding_of_post(&request)?;
    let asked = Asked {
        accept: header(&request, "Accept"),
        stream: header(&request, STREAM_ID).map(|id| StreamId(Arc::from(id))),
    };
    let call: v1::scheduler::Call = media::decode(encoding, &body(request).await?)?;
    match calls::check(call, app.pattern_limits)? {
        Checked::Subscribe(subscribe) => subscribed(app, asked, &subscribe),
        Checked::Call(framework_id, call) => {
            let done = call_core(app, framework_id, asked.stream, call).await?;
            let mut response = Response::new(Body::empty());
            *response.status_mut() = match done {
                Done::Accepted => StatusCode::ACCEPTED,
                Done::Ok => StatusCode::OK,
            };
            Ok(response)
        }
    }
}

async fn call_core(
    app: &App,
    framework_id: FrameworkId,
    stream: Option<StreamId>,
    call: Call,
) -> Result<Done, Refusal> {
    app.ask(|caller| Command::Call { framework_id, stream, call, caller }).await
}

fn subscribed(app: &App, asked: Asked, subscribe: &call::Subscribe) -> Result<Response, Refusal> {
    let encoding = Encoding::of_answer(asked.accept.as_deref())?;
    if asked.stream.is_some() {
        return Err(Refusal::StreamIdUnexpected);
    }
    let id = StreamId(Arc::from(uuid::Uuid::new_v4().to_string()));
    let writer = Writer { encoding, master: Arc::clone(&app.master) };
    let (sink, records) = stream(id.clone(), writer, app);
    match calls::subscriber(subscribe, app.pattern_limits) {
        Ok((framework, suppressed, constraints)) => {
            let subscribe = Subscribe { stream: id.clone(), framework, suppressed, constraints };
            app.post.send(Command::Subscribe { subscribe, sink });
        }
        // As in Mesos, who may not subscribe is told so on a stream of its own, which ends with it.
        Err(why) => sink.end_with(Event::Error { message: Arc::from(why) }),
    }
    let mut response = Response::new(Body::new(records));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(encoding.as_str()));
    headers.insert(STREAM_ID, HeaderValue::from_str(&id.0).expect("a UUID is plain text"));
    Ok(response)
}
