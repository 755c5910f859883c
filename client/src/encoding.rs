//! The two encodings of the v1 API, chosen once per connection.

use api::V1;
use bytes::Bytes;

/// How messages are written on the wire. Protobuf is the cheaper; JSON is the one to read over somebody's shoulder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    Json,
    #[default]
    Protobuf,
}

impl Encoding {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    pub(crate) fn encode<M: V1>(self, message: &M) -> Bytes {
        match self {
            Self::Json => api::json::to_vec(message).into(),
            Self::Protobuf => api::protobuf::encode(message),
        }
    }

    pub(crate) fn decode<M: V1>(self, bytes: Bytes) -> Result<M, String> {
        match self {
            Self::Json => api::json::from_slice(&bytes).map_err(|error| error.to_string()),
            Self::Protobuf => api::protobuf::decode_shared(bytes).map_err(|error| error.to_string()),
        }
    }
}
