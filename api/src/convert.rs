//! Model values from v1 messages, and back.
//!
//! From v1: the typed fields are read and checked, and the whole message, encoded, becomes the value's
//! `body`. To v1: the body is decoded and the typed fields are laid over it, so that what nobody here looked
//! at arrives as it was sent. A value without a body (one that a daemon made itself) has only its typed fields.

pub mod agent;
pub mod check;
pub mod constraints;
pub mod executor;
pub mod framework;
pub mod group;
pub mod id;
pub mod maintenance;
pub mod quantity;
pub mod resources;
pub mod status;
pub mod task;
pub mod time;
pub mod volume;

use model::body::Body;

use crate::V1;
use crate::protobuf;

/// Why a message has no meaning in the model. The texts are Mesos'; they go into `TASK_ERROR` updates, ERROR
/// events and 400s.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("Invalid resources: {0}")]
    Resources(#[from] resources::BadResource),
    #[error("{0}")]
    Id(id::BadIdOf),
    #[error("{0}")]
    Framework(framework::BadFramework),
    #[error("{0}")]
    Task(task::BadTask),
    #[error("{0}")]
    Group(group::BadGroup),
    #[error("{0}")]
    Status(status::BadStatus),
    /// A body that does not decode, although one of us encoded it: from another version, or damaged.
    #[error("The encoded {message} cannot be read: {source}")]
    Body { message: &'static str, source: protobuf::Error },
}

fn body<M: V1>(message: &M) -> Body {
    Body::new(protobuf::encode(message))
}

/// The message in a body; the empty one if there is none.
fn open<M: V1>(body: &Body) -> Result<M, Error> {
    if body.is_empty() {
        return Ok(M::default());
    }
    // Not checked for required fields: the typed ones are about to be laid over it.
    M::decode(body.0.clone()).map_err(|error| Error::Body {
        message: M::NAME,
        source: protobuf::Error::Malformed(error.to_string()),
    })
}

fn text(text: &str) -> std::sync::Arc<str> {
    std::sync::Arc::from(text)
}
