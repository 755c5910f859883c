//! What can be wrong with bytes that somebody sent.

/// A message that cannot be understood. The sender is not speaking this version of our language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are not a Cap'n Proto message, or it is over the limits on nesting and traversal.
    #[error("not a message: {0}")]
    Message(String),
    /// A field holds what it may not.
    #[error("field '{field}' {why}")]
    Field { field: &'static str, why: String },
    /// A kind of message from a newer version.
    #[error("message of an unknown kind {0}")]
    UnknownKind(u16),
    /// A file of a newer version.
    #[error("file of version {found}, newer than {known}")]
    Version { found: u16, known: u16 },
}

impl WireError {
    pub(crate) fn field(field: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Field { field, why: why.to_string() }
    }
}

impl From<capnp::Error> for WireError {
    fn from(error: capnp::Error) -> Self {
        Self::Message(error.to_string())
    }
}

impl From<capnp::NotInSchema> for WireError {
    fn from(error: capnp::NotInSchema) -> Self {
        Self::UnknownKind(error.0)
    }
}
