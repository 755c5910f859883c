//! HTTP/1.1 on the agent's port: a task a connection, a body read whole, an answer.

use crate::executor_api::body::{self, Answer};
use crate::executor_api::{input, route};
use crate::runtime::Agent;
use api::refusal::Refusal;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::limits::CALL_BYTES_MAX;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;

/// A connection that has not sent its request's head by then is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Wait before accepting again when the system refuses (out of descriptors).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves for ever.
pub(crate) async fn serve(agent: Rc<Agent>, listener: TcpListener) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // Events are small and wanted at once.
        _ = stream.set_nodelay(true);
        let agent = agent.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| handle(agent.clone(), request));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn handle(agent: Rc<Agent>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, incoming) = request.into_parts();
    if crate::http::is_stream(&head) {
        return Ok(input::answer(&agent, &head, incoming).await);
    }
    let declared =
        head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let too_large = || body::refusal(&Refusal::TooLarge { bytes_max: CALL_BYTES_MAX });
    if declared.is_some_and(|length: usize| length > CALL_BYTES_MAX) {
        return Ok(too_large());
    }
    let bytes: Bytes = match Limited::new(incoming, CALL_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Ok(too_large()),
        // It hung up in the middle: nobody reads this.
        Err(error) => return Ok(body::refusal(&Refusal::Bad(error.to_string()))),
    };
    Ok(route::answer(&agent, &head, &bytes).await)
}
