//! Which encoding a request speaks and which one it wants back. Headers come in as text: no HTTP crate here.
//!
//! Mesos compares `Content-Type` to the letter. Here letter case and parameters (`; charset=utf-8`) don't
//! matter; everything that Mesos takes is taken, and every refusal has its words.

use bytes::Bytes;

use crate::refusal::Refusal;
use crate::schema::V1;
use crate::{json, protobuf, recordio};

pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/x-protobuf";
pub const RECORDIO: &str = "application/recordio";

/// How one message is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    #[default]
    Json,
    Protobuf,
}

impl Encoding {
    /// The media type, for `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Protobuf => PROTOBUF,
        }
    }

    /// From a `Content-Type` header.
    pub fn of_request(content_type: Option<&str>) -> Result<Self, Refusal> {
        let text = content_type.ok_or(Refusal::ContentTypeMissing)?;
        Self::named(text).ok_or(Refusal::ContentTypeUnsupported)
    }

    /// From an `Accept` header; JSON where both are welcome or nothing is said.
    pub fn of_answer(accept: Option<&str>) -> Result<Self, Refusal> {
        [Self::Json, Self::Protobuf]
            .into_iter()
            .find(|encoding| accepts(accept, encoding.as_str()))
            .ok_or(Refusal::NotAcceptable)
    }

    fn named(text: &str) -> Option<Self> {
        let essence = essence(text);
        [Self::Json, Self::Protobuf].into_iter().find(|known| essence.eq_ignore_ascii_case(known.as_str()))
    }
}

/// A body of the agent's operator API: one message, or a RecordIO stream of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Single(Encoding),
    Stream(Encoding),
}

impl Body {
    /// The media type, for `Content-Type`. A stream also says the encoding in `Message-Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Single(encoding) => encoding.as_str(),
            Self::Stream(_) => RECORDIO,
        }
    }

    /// From the headers `Content-Type` and `Message-Content-Type`.
    pub fn of_request(content_type: Option<&str>, message: Option<&str>) -> Result<Self, Refusal> {
        let text = content_type.ok_or(Refusal::ContentTypeMissing)?;
        if let Some(encoding) = Encoding::named(text) {
            return match message {
                None => Ok(Self::Single(encoding)),
                Some(_) => Err(Refusal::MessageContentTypeUnexpected),
            };
        }
        if !essence(text).eq_ignore_ascii_case(RECORDIO) {
            return Err(Refusal::ContentTypeUnsupportedStreaming);
        }
        let message = message.ok_or(Refusal::MessageContentTypeMissing)?;
        Encoding::named(message).map(Self::Stream).ok_or(Refusal::MessageContentTypeUnsupported)
    }

    /// From the headers `Accept` and `Message-Accept`.
    pub fn of_answer(accept: Option<&str>, message: Option<&str>) -> Result<Self, Refusal> {
        if let Ok(encoding) = Encoding::of_answer(accept) {
            return match message {
                None => Ok(Self::Single(encoding)),
                Some(_) => Err(Refusal::MessageAcceptUnexpected),
            };
        }
        if !accepts(accept, RECORDIO) {
            return Err(Refusal::NotAcceptableStreaming);
        }
        Encoding::of_answer(message).map(Self::Stream).map_err(|_| Refusal::MessageNotAcceptable)
    }
}

/// Reads a call; the texts of its refusals are those of the scheduler, executor and master operator API.
pub fn decode<M: V1>(encoding: Encoding, body: &Bytes) -> Result<M, Refusal> {
    match encoding {
        Encoding::Protobuf => {
            protobuf::decode_shared(body.clone()).map_err(|error| Refusal::NotProtobuf(error.to_string()))
        }
        Encoding::Json => json::from_slice(body).map_err(|error| match error {
            json::Error::Syntax(text) => Refusal::NotJson(text),
            json::Error::Shape(text) => Refusal::NotCall(text),
        }),
    }
}

/// Like [`decode`], in the words of the agent's operator API, which does not say what it was converting.
pub fn decode_of_agent<M: V1>(encoding: Encoding, body: &Bytes) -> Result<M, Refusal> {
    decode(encoding, body).map_err(|refusal| match refusal {
        Refusal::NotCall(why) => Refusal::Bad(why),
        Refusal::NotProtobuf(why) => {
            Refusal::Bad(format!("Failed to parse body into a protobuf object: {why}"))
        }
        other => other,
    })
}

/// Writes one message, unframed.
pub fn encode<M: V1>(encoding: Encoding, message: &M) -> Bytes {
    match encoding {
        Encoding::Protobuf => protobuf::encode(message),
        Encoding::Json => json::to_vec(message).into(),
    }
}

/// Writes a message as a record of a stream.
pub fn encode_record<M: V1>(encoding: Encoding, message: &M) -> Bytes {
    match encoding {
        Encoding::Protobuf => protobuf::encode_record(message),
        Encoding::Json => {
            let encoded = json::value(message);
            // About how much longer it is in JSON.
            recordio::encode_with(4 * encoded.len(), |out| json::write(&encoded, out))
        }
    }
}

fn essence(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}

/// Whether an `Accept` header allows a media type: named in full, then `type/*`, then `*/*`. The first that
/// is named decides; `q=0` refuses it. No header allows everything.
fn accepts(header: Option<&str>, media: &str) -> bool {
    let Some(header) = header else { return true };
    let family = media.split('/').next().unwrap_or_default();
    for candidate in [media, &format!("{family}/*"), "*/*"] {
        for item in header.split(',') {
            if essence(item).eq_ignore_ascii_case(candidate) {
                return quality(item).is_none_or(|quality| quality > 0.0);
            }
        }
    }
    false
}

/// The `q` of an item; `None` if it has none. One that is no number counts as zero.
fn quality(item: &str) -> Option<f64> {
    let mut parameters = item.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim() == "q")?;
    Some(value.trim().parse().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_answer_unless_only_protobuf_is_welcome() {
        for (accept, expect) in [
            (None, Ok(Encoding::Json)),
            (Some("*/*"), Ok(Encoding::Json)),
            (Some("application/*"), Ok(Encoding::Json)),
            (Some("application/x-protobuf"), Ok(Encoding::Protobuf)),
            (Some("application/x-protobuf, application/json"), Ok(Encoding::Json)),
            (Some("application/json;q=0, */*"), Ok(Encoding::Protobuf)),
            (Some("APPLICATION/JSON ; q=0.5"), Ok(Encoding::Json)),
            (Some("text/html"), Err(Refusal::NotAcceptable)),
            (Some(""), Err(Refusal::NotAcceptable)),
        ] {
            assert_eq!(Encoding::of_answer(accept), expect, "{accept:?}");
        }
    }

    #[test]
    fn a_body_says_what_it_is() {
        for (content_type, expect) in [
            (None, Err(Refusal::ContentTypeMissing)),
            (Some("application/json"), Ok(Encoding::Json)),
            (Some("application/json; charset=utf-8"), Ok(Encoding::Json)),
            (Some("application/x-protobuf"), Ok(Encoding::Protobuf)),
            (Some("text/plain"), Err(Refusal::ContentTypeUnsupported)),
            (Some("application/recordio"), Err(Refusal::ContentTypeUnsupported)),
        ] {
            assert_eq!(Encoding::of_request(content_type), expect, "{content_type:?}");
        }
    }

    #[test]
    fn streams_name_the_encoding_of_their_messages() {
        let json = Encoding::Json;
        for (content_type, message, expect) in [
            (JSON, None, Ok(Body::Single(json))),
            (JSON, Some(JSON), Err(Refusal::MessageContentTypeUnexpected)),
            (RECORDIO, Some(JSON), Ok(Body::Stream(json))),
            (RECORDIO, None, Err(Refusal::MessageContentTypeMissing)),
            (RECORDIO, Some("text/plain"), Err(Refusal::MessageContentTypeUnsupported)),
            ("text/plain", None, Err(Refusal::ContentTypeUnsupportedStreaming)),
        ] {
            assert_eq!(Body::of_request(Some(content_type), message), expect, "{content_type} {message:?}");
        }
        for (accept, message, expect) in [
            (None, None, Ok(Body::Single(json))),
            (Some(RECORDIO), None, Ok(Body::Stream(json))),
            (Some(RECORDIO), Some(PROTOBUF), Ok(Body::Stream(Encoding::Protobuf))),
            (Some(RECORDIO), Some("text/plain"), Err(Refusal::MessageNotAcceptable)),
            (Some(JSON), Some(JSON), Err(Refusal::MessageAcceptUnexpected)),
            (Some("text/plain"), None, Err(Refusal::NotAcceptableStreaming)),
        ] {
            assert_eq!(Body::of_answer(accept, message), expect, "{accept:?} {message:?}");
        }
    }
}
