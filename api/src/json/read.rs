//! JSON to an encoded message, streaming: nothing is built between the text and the bytes.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Error;
use crate::schema::{Field, Kind, Label, Message};

/// Mesos stops at the first `=` and does not count them.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The protobuf encoding of the message in `text`. Required fields are not checked here.
pub(super) fn to_wire(message: &'static Message, text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut wire = Vec::with_capacity(text.len() / 2);
    let mut json = serde_json::Deserializer::from_slice(text);
    let result = Top { message, out: &mut wire }.deserialize(&mut json);
    match result {
        Ok(()) => json.end().map_err(|error| Error::Syntax(trailing(text, &error))).map(|()| wire),
        Err(error) if error.is_data() => Err(Error::Shape(bare(&error))),
        Err(error) => Err(Error::Syntax(syntax(text, &error))),
    }
}

/// Our own message without the position that serde_json adds: Mesos names the field, not the place.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).map(str::to_owned).unwrap_or(text)
}

/// Where reading stopped, as Mesos' JSON parser says it: the rest of the line.
fn syntax(text: &[u8], error: &serde_json::Error) -> String {
    let rest = if error.is_eof() { &[][..] } else { &text[offset(text, error)..] };
    let near = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    format!("syntax error at line {} near: {}", error.line().max(1), String::from_utf8_lossy(near))
}

/// What follows the document, white space in front included.
fn trailing(text: &[u8], error: &serde_json::Error) -> String {
    let (head, rest) = text.split_at(offset(text, error));
    let rest = &text[head.trim_ascii_end().len()..head.len() + rest.trim_ascii_end().len()];
    format!("Parsed JSON included non-whitespace trailing characters: {}", String::from_utf8_lossy(rest))
}

/// The byte at which serde_json stopped: it counts lines and columns from one.
fn offset(text: &[u8], error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    let before: usize = lines.map(<[u8]>::len).sum();
    (before + error.column().saturating_sub(1)).min(text.len())
}

/// The whole document, which must be an object.
struct Top<'a> {
    message: &'static Message,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        object(self.message, map, self.out)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom(NOT_OBJECT))
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        Err(E::custom(NOT_OBJECT))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Err(E::custom(NOT_OBJECT))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        Err(E::custom(NOT_OBJECT))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        Err(E::custom(NOT_OBJECT))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Err(E::custom(NOT_OBJECT))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom(NOT_OBJECT))
    }
}

const NOT_OBJECT: &str = "Expecting a JSON object";

fn object<'de, A: MapAccess<'de>>(
    message: &'static Message,
    mut map: A,
    out: &mut Vec<u8>,
) -> Result<(), A::Error> {
    while let Some(field) = map.next_key_seed(Name(message))? {
        match field {
            Some(field) => map.next_value_seed(Slot { field, out })?,
            None => {
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    Ok(())
}

/// A key: the field of that name, if the message has one.
struct Name(&'static Message);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.by_name(name))
    }
}

/// Where the value of a field goes: appended to `out`, with its key.
struct Slot<'a> {
    field: &'static Field,
    out: &'a mut Vec<u8>,
}

impl Slot<'_> {
    fn varint(self, value: u64) {
        encode_key(self.field.number, WireType::Varint, self.out);
        encode_varint(value, self.out);
    }

    fn bytes(self, bytes: &[u8]) {
        encode_key(self.field.number, WireType::LengthDelimited, self.out);
        encode_varint(bytes.len() as u64, self.out);
        self.out.extend_from_slice(bytes);
    }

    /// Runs `fill`, then puts the key and the length of what it wrote in front.
    fn nested<E>(self, fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.out.len();
        fill(self.out)?;
        let length = self.out.len() - start;
        let mut head = Vec::with_capacity(16);
        encode_key(self.field.number, WireType::LengthDelimited, &mut head);
        encode_varint(length as u64, &mut head);
        self.out.splice(start..start, head);
        Ok(())
    }

    fn number<E: serde::de::Error>(self, number: Number) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => {
                encode_key(self.field.number, WireType::SixtyFourBit, self.out);
                self.out.extend_from_slice(&number.double().to_le_bytes());
            }
            Kind::Float => {
                encode_key(self.field.number, WireType::ThirtyTwoBit, self.out);
                self.out.extend_from_slice(&(number.double() as f32).to_le_bytes());
            }
            Kind::Int64 | Kind::Uint64 => self.varint(number.integer() as u64),
            // Wraps, as the cast in Mesos does; on the wire an int32 is sign-extended.
            Kind::Int32 => self.varint(number.integer() as i32 as u64),
            Kind::Uint32 => self.varint(u64::from(number.integer() as u32)),
            _ => return Err(E::custom(unexpected("number", self.field))),
        }
        Ok(())
    }

    fn string<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let name = self.field.name;
        match self.field.kind {
            Kind::String => self.bytes(text.as_bytes()),
            Kind::Bytes => {
                let bytes = unbase64(text).map_err(|error| {
                    E::custom(format_args!("Failed to base64 decode bytes field '{name}': {error}"))
                })?;
                self.bytes(&bytes);
            }
            Kind::Enum(values) => match values.number(text) {
                Some(number) => self.varint(number as u64),
                None if self.field.label == Label::Required => {
                    return Err(E::custom(format_args!("Failed to find enum for '{text}'")));
                }
                None => {}
            },
            Kind::Double | Kind::Float if text == "Infinity" => {
                return self.number(Number::Float(f64::INFINITY));
            }
            Kind::Double | Kind::Float if text == "-Infinity" => {
                return self.number(Number::Float(f64::NEG_INFINITY));
            }
            Kind::Bool => match text.trim() {
                "true" => self.varint(1),
                "false" => self.varint(0),
                _ => return Err(E::custom(quoted(text, "boolean", name))),
            },
            Kind::Message(_) | Kind::Map(_) => return Err(E::custom(unexpected("string", self.field))),
            _ => {
                let number = Number::parse(text).ok_or_else(|| E::custom(quoted(text, "number", name)))?;
                return self.number(number);
            }
        }
        Ok(())
    }
}

fn unexpected(what: &str, field: &Field) -> String {
    format!("Not expecting a JSON {what} for field '{}'", field.name)
}

fn quoted(text: &str, what: &str, name: &str) -> String {
    format!(
        "Failed to parse '{text}' as a JSON {what} for field '{name}': syntax error at line 1 near: {text}"
    )
}

fn unbase64(text: &str) -> Result<Vec<u8>, String> {
    let end = text.find('=').unwrap_or(text.len());
    let clean: Vec<u8> = text[..end].bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    match BASE64.decode(&clean) {
        Err(base64::DecodeError::InvalidByte(_, byte)) => {
            Err(format!("Invalid character '{}'", char::from(byte)))
        }
        Err(error) => Err(error.to_string()),
        Ok(bytes) => Ok(bytes),
    }
}

#[derive(Clone, Copy)]
enum Number {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let number: serde_json::Number = text.trim().parse().ok()?;
        Some(match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Self::Signed(value),
            (None, Some(value)) => Self::Unsigned(value),
            (None, None) => Self::Float(number.as_f64()?),
        })
    }

    fn double(self) -> f64 {
        match self {
            Self::Signed(value) => value as f64,
            Self::Unsigned(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// The bits of the integer; a fraction is cut off.
    fn integer(self) -> i64 {
        match self {
            Self::Signed(value) => value,
            Self::Unsigned(value) => value as i64,
            Self::Float(value) if value >= 0.0 => value as u64 as i64,
            Self::Float(value) => value as i64,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value for field '{}'", self.field.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => {
                self.varint(u64::from(value));
                Ok(())
            }
            _ => Err(E::custom(unexpected("boolean", self.field))),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.number(Number::Signed(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.number(Number::Unsigned(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.number(Number::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.string(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.field.label != Label::Repeated {
            return Err(A::Error::custom(unexpected("array", self.field)));
        }
        while list.next_element_seed(Slot { field: self.field, out: &mut *self.out })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.field.kind {
            Kind::Message(message) => self.nested(|out| object(message, map, out)),
            Kind::Map(entry) => {
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    Slot { field: self.field, out: &mut *self.out }.nested(|out| {
                        Slot { field: &entry.fields[0], out }.bytes(key.as_bytes());
                        map.next_value_seed(Slot { field: &entry.fields[1], out })
                    })?;
                }
                Ok(())
            }
            _ => Err(A::Error::custom(unexpected("object", self.field))),
        }
    }
}
