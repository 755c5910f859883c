//! An answer, before HTTP has it.

use super::query::Query;
use api::media;
use api::refusal::Refusal;
use bytes::Bytes;
use serde::Serialize;

/// Status, headers and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub location: Option<String>,
    pub body: Bytes,
}

impl Reply {
    /// `?jsonp=f` wraps the document as `f(...);`, which a page of another origin may load as a script.
    pub(super) fn json(document: &impl Serialize, query: &Query) -> Self {
        let mut body = Vec::with_capacity(1024);
        let callback = query.get("jsonp");
        if let Some(callback) = callback {
            body.extend_from_slice(callback.as_bytes());
            body.push(b'(');
        }
        serde_json::to_writer(&mut body, document)
            .expect("documents have text keys and finite figures, and a Vec takes all");
        if callback.is_some() {
            body.extend_from_slice(b");");
        }
        let content_type = if callback.is_some() { "text/javascript" } else { media::JSON };
        Self { status: 200, content_type: Some(content_type), location: None, body: body.into() }
    }

    pub(super) fn empty() -> Self {
        Self { status: 200, content_type: None, location: None, body: Bytes::new() }
    }

    /// 307; `location` has no scheme, so that a reader keeps the one it came with.
    pub(super) fn redirect(location: String) -> Self {
        Self { status: 307, content_type: None, location: Some(location), body: Bytes::new() }
    }

    pub(super) fn bad(text: &str) -> Self {
        Self {
            status: 400,
            content_type: Some(Refusal::CONTENT_TYPE),
            location: None,
            body: text.to_owned().into(),
        }
    }
}
