//! What travels through a core without being looked at.

use bytes::Bytes;

/// The complete v1 protobuf encoding of the message a value was made from.
///
/// Decisions read typed fields; everything else a framework said (labels, health checks, discovery, container
/// images, ...) is kept here and handed on whole, so that no field is lost on its way through the cluster.
/// Only the edges (`api::convert`) make or read it. Cloning shares the bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Body(pub Bytes);

impl Body {
    pub fn new(encoded: impl Into<Bytes>) -> Self {
        Self(encoded.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}
