//! Messages as JSON, in Mesos' shape.
//!
//! Out: field names as in the proto files, enums by name, 64-bit integers as numbers, bytes as base64, maps
//! as objects. Unset fields and empty lists are left out, except fields with a declared default, which show
//! it (`"checkpoint": false`) unless they are deprecated.
//!
//! In: unknown fields are ignored, `null` is unset, a scalar where a list is due is a list of one, numbers
//! and booleans may be quoted, a name that an optional enum lacks is unset.

mod read;
mod write;

use crate::protobuf;
use crate::schema::{Message, V1};

pub use write::{Encoded, Value, View};

/// Why a text is not a message. The texts are those that Mesos puts after its prefix.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Not JSON at all.
    #[error("{0}")]
    Syntax(String),
    /// JSON, but not of this message's shape.
    #[error("{0}")]
    Shape(String),
}

/// Reads a message; refuses one that lacks a required field at any depth.
pub fn from_slice<M: V1>(text: &[u8]) -> Result<M, Error> {
    let message = Message::of::<M>();
    let wire = read::to_wire(message, text)?;
    protobuf::decode_shared(wire.into()).map_err(|error| Error::Shape(error.to_string()))
}

/// Writes a message on one line.
pub fn to_vec<M: V1>(message: &M) -> Vec<u8> {
    serde_json::to_vec(&value(message)).expect("our own encoding is well-formed, and a Vec takes all")
}

/// Appends a message on one line.
pub fn write(message: &Encoded, out: &mut Vec<u8>) {
    serde_json::to_writer(out, message).expect("our own encoding is well-formed, and a Vec takes all");
}

/// A message to put into a larger document.
pub fn value<M: V1>(message: &M) -> Encoded {
    Encoded::new(Message::of::<M>(), message.encode_to_vec().into())
}

/// An encoded `M`, such as a `body` of the model, to put into a larger document without decoding it.
pub fn view<M: V1>(encoded: &[u8]) -> View<'_> {
    View::new(Message::of::<M>(), encoded)
}
