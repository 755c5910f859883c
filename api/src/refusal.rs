//! What is refused over HTTP: the status code and the text of each refusal, which are Mesos' own.
//!
//! Clients match on the codes and people search for the texts, so both stand here and nowhere else.

/// A request that is not served, and why. `Display` is the body of the answer, to be sent as
/// [`Refusal::CONTENT_TYPE`].
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    #[error("Expecting 'Content-Type' to be present")]
    ContentTypeMissing,
    #[error("Expecting 'Content-Type' of application/json or application/x-protobuf")]
    ContentTypeUnsupported,
    /// Of a call that may also be a stream.
    #[error("Expecting 'Content-Type' of application/json or application/x-protobuf or application/recordio")]
    ContentTypeUnsupportedStreaming,
    #[error("Expecting 'Message-Content-Type' to be set for streaming requests")]
    MessageContentTypeMissing,
    #[error("Expecting 'Message-Content-Type' of application/json or application/x-protobuf")]
    MessageContentTypeUnsupported,
    #[error("Expecting 'Message-Content-Type' to be not set for non-streaming requests")]
    MessageContentTypeUnexpected,
    #[error("Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'")]
    NotAcceptable,
    /// Of a call whose answer may also be a stream.
    #[error("Expecting 'Accept' to allow application/json or application/x-protobuf or application/recordio")]
    NotAcceptableStreaming,
    #[error("Expecting 'Message-Accept' to allow application/json or application/x-protobuf")]
    MessageNotAcceptable,
    #[error("Expecting 'Message-Accept' to be not set for non-streaming responses")]
    MessageAcceptUnexpected,
    #[error("405 Method Not Allowed. Expecting one of {{ '{allowed}' }}, but received '{got}'.")]
    Method { allowed: &'static str, got: String },

    /// The rest after the colon is ours: Mesos says no more than that it failed.
    #[error("Failed to parse body into Call protobuf: {0}")]
    NotProtobuf(String),
    #[error("Failed to parse body into JSON: {0}")]
    NotJson(String),
    #[error("Failed to convert JSON into Call protobuf: {0}")]
    NotCall(String),
    /// Larger than `model::limits::CALL_BYTES_MAX`. Mesos has no such limit.
    #[error("The body is larger than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    /// `call` is `scheduler::Call`, `Executor::Call`, `master::Call` or `agent::Call`.
    #[error("Failed to validate {call}: {why}")]
    Invalid { call: &'static str, why: String },
    #[error("501 Not Implemented.")]
    UnknownCall,
    #[error("404 Not Found.")]
    NotFound,

    #[error("Master has not finished recovery")]
    MasterRecovering,
    #[error("Agent has not finished recovery")]
    AgentRecovering,
    #[error("Agent '{agent_id}' not found")]
    AgentNotFound { agent_id: String },
    #[error("Framework cannot be found")]
    FrameworkNotFound,
    #[error("Framework is not subscribed")]
    FrameworkNotSubscribed,
    #[error("Executor cannot be found")]
    ExecutorNotFound,
    #[error("Executor is not subscribed")]
    ExecutorNotSubscribed,
    #[error("Subscribe calls should not include the 'Mesos-Stream-Id' header")]
    StreamIdUnexpected,
    #[error("All non-subscribe calls should include the 'Mesos-Stream-Id' header")]
    StreamIdMissing,
    #[error(
        "The stream ID '{got}' included in this request didn't match the stream ID currently associated with \
         framework ID {framework_id}"
    )]
    StreamIdStale { got: String, framework_id: String },
    #[error(
        "Authenticated principal '{authenticated}' does not match principal '{claimed}' set in `FrameworkInfo`"
    )]
    PrincipalMismatch { authenticated: String, claimed: String },

    /// A request whose parts are wrong in a way that only the call knows.
    #[error("{0}")]
    Bad(String),
    /// The same where another state of the cluster would allow it.
    #[error("{0}")]
    Conflict(String),
}

impl Refusal {
    /// The `Content-Type` of every refusal's body.
    pub const CONTENT_TYPE: &'static str = "text/plain; charset=utf-8";

    pub fn status(&self) -> u16 {
        match self {
            Self::ContentTypeUnsupported
            | Self::ContentTypeUnsupportedStreaming
            | Self::MessageContentTypeUnsupported
            | Self::MessageContentTypeUnexpected => 415,
            Self::NotAcceptable
            | Self::NotAcceptableStreaming
            | Self::MessageNotAcceptable
            | Self::MessageAcceptUnexpected => 406,
            Self::Method { .. } => 405,
            Self::TooLarge { .. } => 413,
            Self::UnknownCall => 501,
            Self::NotFound | Self::AgentNotFound { .. } => 404,
            Self::MasterRecovering | Self::AgentRecovering => 503,
            Self::FrameworkNotSubscribed | Self::ExecutorNotSubscribed => 403,
            Self::Conflict(_) => 409,
            Self::ContentTypeMissing
            | Self::MessageContentTypeMissing
            | Self::NotProtobuf(_)
            | Self::NotJson(_)
            | Self::NotCall(_)
            | Self::Invalid { .. }
            | Self::FrameworkNotFound
            | Self::ExecutorNotFound
            | Self::StreamIdUnexpected
            | Self::StreamIdMissing
            | Self::StreamIdStale { .. }
            | Self::PrincipalMismatch { .. }
            | Self::Bad(_) => 400,
        }
    }

    /// The `Allow` header, which a 405 must carry.
    pub fn allow(&self) -> Option<&'static str> {
        match self {
            Self::Method { allowed, .. } => Some(allowed),
            _ => None,
        }
    }
}
