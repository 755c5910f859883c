//! `/api/v1`: the operator API, for now its reading half.

use super::legacy;
use super::serve::{App, body, document, encoding_of_post, gauges, header, refuse};
use api::media::{self, Encoding};
use api::refusal::Refusal;
use api::{v1, validate};
use axum::extract::Request;
use axum::response::Response;

pub(super) async fn answer(app: &App, request: Request) -> Response {
    serve(app, request).await.unwrap_or_else(|refusal| refuse(&refusal))
}

async fn serve(app: &App, request: Request) -> Result<Response, Refusal> {
    let encoding = encoding_of_post(&request)?;
    let accept = header(&request, "Accept");
    let call: v1::master::Call = media::decode(encoding, &body(request).await?)?;
    let kind = validate::master(&call)?;
    let encoding = Encoding::of_answer(accept.as_deref())?;
    let picture = app.picture().await.ok_or(Refusal::MasterRecovering)?;
    let written = tokio::task::spawn_blocking(move || {
        let answer = legacy::answer(kind, &picture.snapshot, &gauges(&picture));
        answer.map(|answer| answer.map(|answer| media::encode(encoding, &answer)))
    });
    match written.await {
        Ok(Ok(Some(bytes))) => Ok(document(encoding, bytes)),
        Ok(Ok(None)) => Err(Refusal::UnknownCall),
        Ok(Err(error)) => Err(Refusal::Bad(error.to_string())),
        Err(_) => Err(Refusal::Bad("the answer could not be written".into())),
    }
}
