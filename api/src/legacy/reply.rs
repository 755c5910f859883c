//! An answer, before HTTP has it.

use super::query::Query;
use crate::media::{self, Encoding};
use crate::refusal::Refusal;
use crate::schema::V1;
use bytes::Bytes;
use serde::Serialize;

/// Status, headers and body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub location: Option<String>,
    /// Of a 405: the methods that would do.
    pub allow: Option<&'static str>,
    pub body: Bytes,
}

impl Reply {
    /// `?jsonp=f` wraps the document as `f(...)`, which a page of another origin may load as a script.
    pub fn json(document: &impl Serialize, query: &Query) -> Self {
        let mut body = Vec::with_capacity(1024);
        let callback = query.get("jsonp");
        if let Some(callback) = callback {
            body.extend_from_slice(callback.as_bytes());
            body.push(b'(');
        }
        serde_json::to_writer(&mut body, document)
            .expect("documents have text keys and finite figures, and a Vec takes all");
        if callback.is_some() {
            body.push(b')');
        }
        let content_type = if callback.is_some() { "text/javascript" } else { media::JSON };
        Self { status: 200, content_type: Some(content_type), body: body.into(), ..Self::default() }
    }

    /// A message of the v1 API.
    pub fn message<M: V1>(encoding: Encoding, message: &M) -> Self {
        let body = media::encode(encoding, message);
        Self { status: 200, content_type: Some(encoding.as_str()), body, ..Self::default() }
    }

    pub fn empty() -> Self {
        Self { status: 200, ..Self::default() }
    }

    /// 307; `location` has no scheme, so that a reader keeps the one it came with.
    pub fn redirect(location: String) -> Self {
        Self { status: 307, location: Some(location), ..Self::default() }
    }

    pub fn refused(why: &Refusal) -> Self {
        Self { allow: why.allow(), ..Self::text(why.status(), why.to_string()) }
    }

    /// 400
    pub fn bad(text: &str) -> Self {
        Self::text(400, text.to_owned())
    }

    pub fn text(status: u16, text: String) -> Self {
        Self { status, content_type: Some(Refusal::CONTENT_TYPE), body: text.into(), ..Self::default() }
    }
}
