//! Model values to Cap'n Proto and back; total: what cannot be understood is an error that names the field.

pub(crate) mod info;
pub(crate) mod message;
pub(crate) mod resource;
pub(crate) mod status;

use crate::error::WireError;
use bytes::Bytes;
use model::id::UpdateId;
use model::limits::FRAME_BYTES_MAX;
use model::task::TaskState;
use std::sync::Arc;

/// Messages nest no deeper than task -> executor -> resource -> reservation -> label, pointers to lists between them.
const NESTING_MAX: i32 = 24;

pub(crate) fn reader_options() -> capnp::message::ReaderOptions {
    let mut options = capnp::message::ReaderOptions::new();
    // Every word is read about once; twice the largest frame leaves room for what is looked at again.
    options.traversal_limit_in_words(Some(FRAME_BYTES_MAX / 8 * 2)).nesting_limit(NESTING_MAX);
    options
}

pub(crate) type SliceReader<'a> = capnp::message::Reader<capnp::serialize::NoAllocSliceSegments<'a>>;

pub(crate) fn read_slice(mut payload: &[u8]) -> Result<SliceReader<'_>, WireError> {
    let reader = capnp::serialize::read_message_from_flat_slice_no_alloc(&mut payload, reader_options())?;
    if payload.is_empty() { Ok(reader) } else { Err(WireError::Message("bytes left over at its end".into())) }
}

/// Serializes behind `header_bytes` of room.
pub(crate) fn write_message(
    message: &capnp::message::Builder<capnp::message::HeapAllocator>,
    header_bytes: usize,
) -> Vec<u8> {
    let words = capnp::serialize::compute_serialized_size_in_words(message);
    let mut bytes = Vec::with_capacity(header_bytes + words * 8);
    bytes.resize(header_bytes, 0);
    capnp::serialize::write_message(&mut bytes, message).expect("writing to memory does not fail");
    bytes
}

/// A length for Cap'n Proto, whose lists count in 29 bits.
pub(crate) fn list_len(len: usize) -> u32 {
    u32::try_from(len).expect("fewer than 2^32 things in one message")
}

type TextField<'a> = capnp::Result<capnp::text::Reader<'a>>;

pub(crate) fn text<'a>(value: TextField<'a>, field: &'static str) -> Result<&'a str, WireError> {
    value?.to_str().map_err(|_| WireError::field(field, "is not UTF-8"))
}

pub(crate) fn arc(value: TextField<'_>, field: &'static str) -> Result<Arc<str>, WireError> {
    text(value, field).map(Arc::from)
}

/// Empty stands for none.
pub(crate) fn arc_option(value: TextField<'_>, field: &'static str) -> Result<Option<Arc<str>>, WireError> {
    Ok(Some(text(value, field)?).filter(|text| !text.is_empty()).map(Arc::from))
}

/// A required id.
pub(crate) fn id<T: for<'t> From<&'t str>>(
    value: TextField<'_>,
    field: &'static str,
) -> Result<T, WireError> {
    id_option(value, field)?.ok_or_else(|| WireError::field(field, "is empty"))
}

/// An id that may be missing: empty stands for none.
pub(crate) fn id_option<T: for<'t> From<&'t str>>(
    value: TextField<'_>,
    field: &'static str,
) -> Result<Option<T>, WireError> {
    let text = text(value, field)?;
    if text.is_empty() {
        return Ok(None);
    }
    match model::id::check_id(text) {
        Ok(()) => Ok(Some(T::from(text))),
        Err(bad) => Err(WireError::field(field, bad)),
    }
}

pub(crate) fn data(value: capnp::Result<capnp::data::Reader<'_>>) -> Result<Bytes, WireError> {
    Ok(Bytes::copy_from_slice(value?))
}

pub(crate) fn state(number: u8, field: &'static str) -> Result<TaskState, WireError> {
    TaskState::from_number(number.into())
        .ok_or_else(|| WireError::field(field, format_args!("is no task state: {number}")))
}

pub(crate) fn update_id(bytes: &[u8], field: &'static str) -> Result<UpdateId, WireError> {
    match bytes.try_into() {
        Ok(bytes) => Ok(UpdateId(bytes)),
        Err(_) => Err(WireError::field(field, format_args!("has {} bytes instead of 16", bytes.len()))),
    }
}
