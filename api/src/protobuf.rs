//! The binary encoding, and the walk over encoded bytes that both encodings share.
//!
//! prost decodes an absent required field as its default, and keeps an enum number it does not know. Mesos'
//! peers rely on neither: a message without a required field is refused, an unknown enum counts as unset.

use std::fmt::Write as _;

use bytes::Bytes;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::schema::{Field, Kind, Label, Message, V1};

/// Nesting beyond this is refused, as prost does.
const DEPTH_MAX: u32 = 100;

/// Why bytes are not a message.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Not protobuf, or not of this message's shape.
    #[error("{0}")]
    Malformed(String),
    /// Comma-separated paths such as `subscribe.framework_info.user`.
    #[error("Missing required fields: {0}")]
    Missing(String),
}

/// Encodes a message.
pub fn encode<M: V1>(message: &M) -> Bytes {
    message.encode_to_vec().into()
}

/// Encodes a message as a record of a stream.
pub fn encode_record<M: V1>(message: &M) -> Bytes {
    let write = |out: &mut Vec<u8>| message.encode(out).expect("a Vec takes all");
    crate::recordio::encode_with(message.encoded_len(), write)
}

/// Decodes a message; refuses one that lacks a required field at any depth.
pub fn decode<M: V1>(bytes: &[u8]) -> Result<M, Error> {
    check(Message::of::<M>(), bytes)?;
    M::decode(bytes).map_err(malformed)
}

/// Like [`decode`], sharing `bytes` with the message's `bytes` fields instead of copying them.
pub fn decode_shared<M: V1>(bytes: Bytes) -> Result<M, Error> {
    check(Message::of::<M>(), &bytes)?;
    M::decode(bytes).map_err(malformed)
}

/// The value of one field occurrence, undecoded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The known fields of a message, in the order of the bytes. Unknown ones, and enum values without a name,
/// are skipped; packed lists come out element by element.
pub(crate) struct Fields<'a> {
    message: &'static Message,
    bytes: &'a [u8],
    /// The rest of a packed list and the position of its field.
    packed: Option<(usize, &'static Field, &'a [u8])>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'static Message, bytes: &'a [u8]) -> Self {
        Self { message, bytes, packed: None }
    }

    fn step(&mut self) -> Result<Option<(usize, &'static Field, Raw<'a>)>, Error> {
        loop {
            if let Some((index, field, rest)) = &mut self.packed {
                if rest.is_empty() {
                    self.packed = None;
                    continue;
                }
                let raw = raw(natural(field.kind), rest)?;
                let (index, field) = (*index, *field);
                if known(field, raw) {
                    return Ok(Some((index, field, raw)));
                }
                continue;
            }
            if self.bytes.is_empty() {
                return Ok(None);
            }
            let (number, wire) = decode_key(&mut self.bytes).map_err(malformed)?;
            let Some((index, field)) = self.message.by_number(number) else {
                skip_field(wire, number, &mut self.bytes, DecodeContext::default()).map_err(malformed)?;
                continue;
            };
            let raw = raw(wire, &mut self.bytes)?;
            let natural = natural(field.kind);
            if let (Raw::Bytes(list), true) = (raw, natural != WireType::LengthDelimited) {
                self.packed = Some((index, field, list));
            } else if wire != natural {
                return Err(Error::Malformed(format!("field '{}' has the wrong wire type", field.name)));
            } else if known(field, raw) {
                return Ok(Some((index, field, raw)));
            }
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(usize, &'static Field, Raw<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

fn known(field: &Field, raw: Raw<'_>) -> bool {
    match (field.kind, raw) {
        (Kind::Enum(values), Raw::Varint(number)) => values.name(number as i32).is_some(),
        _ => true,
    }
}

fn natural(kind: Kind) -> WireType {
    match kind {
        Kind::Double => WireType::SixtyFourBit,
        Kind::Float => WireType::ThirtyTwoBit,
        Kind::Int64 | Kind::Uint64 | Kind::Int32 | Kind::Uint32 | Kind::Bool | Kind::Enum(_) => {
            WireType::Varint
        }
        Kind::String | Kind::Bytes | Kind::Message(_) | Kind::Map(_) => WireType::LengthDelimited,
    }
}

fn raw<'a>(wire: WireType, bytes: &mut &'a [u8]) -> Result<Raw<'a>, Error> {
    Ok(match wire {
        WireType::Varint => Raw::Varint(decode_varint(bytes).map_err(malformed)?),
        WireType::SixtyFourBit => {
            Raw::Fixed64(u64::from_le_bytes(take(bytes, 8)?.try_into().expect("eight were taken")))
        }
        WireType::ThirtyTwoBit => {
            Raw::Fixed32(u32::from_le_bytes(take(bytes, 4)?.try_into().expect("four were taken")))
        }
        WireType::LengthDelimited => {
            let length = decode_varint(bytes).map_err(malformed)?;
            Raw::Bytes(take(bytes, usize::try_from(length).unwrap_or(usize::MAX))?)
        }
        WireType::StartGroup | WireType::EndGroup => {
            return Err(Error::Malformed("groups are not part of the API".into()));
        }
    })
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Error> {
    let Some((head, rest)) = bytes.split_at_checked(count) else {
        return Err(Error::Malformed("the message is cut short".into()));
    };
    *bytes = rest;
    Ok(head)
}

fn malformed(error: prost::DecodeError) -> Error {
    Error::Malformed(error.to_string())
}

/// Refuses bytes in which a required field is missing, naming all of them by their paths.
pub(crate) fn check(message: &'static Message, bytes: &[u8]) -> Result<(), Error> {
    let mut missing = String::new();
    walk(message, bytes, &mut Path::default(), &mut missing, 0)?;
    if missing.is_empty() { Ok(()) } else { Err(Error::Missing(missing)) }
}

/// Whether a field stands in encoded bytes of our own.
pub(crate) fn has(message: &'static Message, bytes: &[u8], number: u32) -> bool {
    Fields::of(message, bytes).filter_map(Result::ok).any(|(_, field, _)| field.number == number)
}

/// Where the walk stands; becomes text only when something is missing there.
#[derive(Default)]
struct Path(Vec<(&'static str, Option<usize>)>);

impl Path {
    fn report(&self, name: &str, missing: &mut String) {
        if !missing.is_empty() {
            missing.push_str(", ");
        }
        for (field, index) in &self.0 {
            missing.push_str(field);
            if let Some(index) = index {
                write!(missing, "[{index}]").expect("a String takes all");
            }
            missing.push('.');
        }
        missing.push_str(name);
    }
}

fn walk(
    message: &'static Message,
    bytes: &[u8],
    path: &mut Path,
    missing: &mut String,
    depth: u32,
) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Malformed(format!("nested deeper than {DEPTH_MAX}")));
    }
    // One bit per position in the table; the longest message of the API has 45 fields.
    let mut seen = 0u64;
    let mut last = (usize::MAX, 0);
    for item in Fields::of(message, bytes) {
        let (index, field, raw) = item?;
        seen |= 1 << index;
        last = if last.0 == index { (index, last.1 + 1) } else { (index, 0) };
        if let (Kind::Message(nested) | Kind::Map(nested), Raw::Bytes(bytes)) = (field.kind, raw) {
            let position = (field.label == Label::Repeated).then_some(last.1);
            path.0.push((field.name, position));
            walk(nested, bytes, path, missing, depth + 1)?;
            path.0.pop();
        }
    }
    for (index, field) in message.fields.iter().enumerate() {
        if field.label == Label::Required && seen & (1 << index) == 0 {
            path.report(field.name, missing);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use crate::v1::{self, scheduler};

    #[test]
    fn every_message_fits_the_bit_set() {
        for message in schema::all() {
            assert!(message.fields.len() <= 64, "{}", message.name);
        }
    }

    #[test]
    fn a_missing_required_field_is_named_by_its_path() {
        // Call { subscribe { framework_info { user: "root" } } }
        let bytes = [0x1a, 8, 0x0a, 6, 0x0a, 4, b'r', b'o', b'o', b't'];
        let error = decode::<scheduler::Call>(&bytes).expect_err("name is required");
        assert_eq!(error, Error::Missing("subscribe.framework_info.name".into()));
    }

    #[test]
    fn an_unknown_number_in_a_required_enum_counts_as_missing() {
        // Attribute { name: "a", type: 99 }
        let error = decode::<v1::Attribute>(&[0x0a, 1, b'a', 0x10, 99]).expect_err("type is required");
        assert_eq!(error, Error::Missing("type".into()));
    }

    #[test]
    fn cut_bytes_are_refused_at_every_length() {
        let offer = v1::Offer { hostname: "h".into(), ..Default::default() };
        let bytes = encode(&offer);
        for length in 1..bytes.len() {
            let result = decode::<v1::Offer>(&bytes[..length]);
            assert!(result.is_err(), "{length} of {} bytes", bytes.len());
        }
        assert_eq!(decode::<v1::Offer>(&bytes), Ok(offer));
    }

    #[test]
    fn packed_lists_are_read_too() {
        // ResourceStatistics has none; HTTPCheckInfo.statuses is a repeated uint32 (field 4).
        let bytes = [0x08, 80, 0x22, 3, 0xc8, 0x01, 7];
        let check = decode::<v1::health_check::HttpCheckInfo>(&bytes).expect("packed");
        assert_eq!(check.statuses, [200, 7]);
    }
}
