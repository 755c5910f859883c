//! Encoded messages to JSON. Does not touch the prost types: it walks the bytes with the message's table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::{Error as _, Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use crate::protobuf::{Fields, Raw};
use crate::schema::{Default, Field, Kind, Label, Message};

/// A message that serializes as Mesos shows it. Owns its encoding.
#[derive(Clone, Debug)]
pub struct Encoded {
    message: &'static Message,
    bytes: Bytes,
}

impl Encoded {
    pub(super) fn new(message: &'static Message, bytes: Bytes) -> Self {
        Self { message, bytes }
    }

    /// Bytes of its protobuf.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        View::new(self.message, &self.bytes).serialize(serializer)
    }
}

/// Like [`Encoded`], borrowed.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    message: &'static Message,
    bytes: &'a [u8],
}

impl<'a> View<'a> {
    pub(crate) fn new(message: &'static Message, bytes: &'a [u8]) -> Self {
        Self { message, bytes }
    }

    /// Its encoding.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The field's value, if it is set: the last one, where a field that is no list stands several times.
    /// Nothing of a list or map, and nothing where the encoding is damaged.
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        let wanted = self.message.by_name(name).filter(|field| field.label != Label::Repeated)?;
        let found = Fields::of(self.message, self.bytes)
            .map_while(Result::ok)
            .filter(|(_, field, _)| field.number == wanted.number);
        found.last().map(|(_, field, raw)| Value { kind: field.kind, raw })
    }

    /// The elements of a list that is set.
    pub fn list(&self, name: &str) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let wanted = self.message.by_name(name).map_or(0, |field| field.number);
        let found = Fields::of(self.message, self.bytes).map_while(Result::ok);
        let found = found.filter(move |(_, field, _)| field.number == wanted);
        found.map(|(_, field, raw)| Value { kind: field.kind, raw })
    }

    fn fields(&self) -> Result<Vec<(usize, Raw<'a>)>, crate::protobuf::Error> {
        let mut fields = Vec::with_capacity(self.message.fields.len());
        for item in Fields::of(self.message, self.bytes) {
            let (index, _, raw) = item?;
            fields.push((index, raw));
        }
        // Other encoders may interleave; prost's output is in order and costs one pass here.
        if !fields.is_sorted_by_key(|(index, _)| *index) {
            fields.sort_by_key(|(index, _)| *index);
        }
        Ok(fields)
    }
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.fields().map_err(S::Error::custom)?;
        let mut rest = &fields[..];
        let mut out = serializer.serialize_map(None)?;
        for (index, field) in self.message.fields.iter().enumerate() {
            let count = rest.iter().take_while(|(at, _)| *at == index).count();
            let (mine, others) = rest.split_at(count);
            rest = others;
            match (mine.last(), field.label, field.kind) {
                (Some(_), _, Kind::Map(entry)) => {
                    out.serialize_entry(field.name, &Entries { entry, items: mine })?
                }
                (Some(_), Label::Repeated, kind) => {
                    out.serialize_entry(field.name, &List { kind, items: mine })?
                }
                // The last of several wins, as everywhere in protobuf.
                (Some((_, raw)), _, kind) => out.serialize_entry(field.name, &Value { kind, raw: *raw })?,
                (None, _, _) => unset(&mut out, field)?,
            }
        }
        out.end()
    }
}

fn unset<M: serde::ser::SerializeMap>(out: &mut M, field: &Field) -> Result<(), M::Error> {
    match field.default {
        None => Ok(()),
        Some(Default::Double(value)) => out.serialize_entry(field.name, &value),
        Some(Default::Int(value)) => out.serialize_entry(field.name, &value),
        Some(Default::Bool(value)) => out.serialize_entry(field.name, &value),
        Some(Default::Text(value)) => out.serialize_entry(field.name, value),
        Some(Default::List) => out.serialize_entry(field.name, &[(); 0]),
    }
}

/// One value of a field. Serializes as Mesos shows it.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    kind: Kind,
    raw: Raw<'a>,
}

impl<'a> Value<'a> {
    /// The message, where it is one.
    pub fn message(&self) -> Option<View<'a>> {
        match (self.kind, self.raw) {
            (Kind::Message(message) | Kind::Map(message), Raw::Bytes(bytes)) => {
                Some(View::new(message, bytes))
            }
            _ => None,
        }
    }

    /// The text, where it is one.
    pub fn text(&self) -> Option<&'a str> {
        match (self.kind, self.raw) {
            (Kind::String, Raw::Bytes(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number, where it is a double.
    pub fn number(&self) -> Option<f64> {
        match (self.kind, self.raw) {
            (Kind::Double, Raw::Fixed64(bits)) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }

    /// The truth, where it is one.
    pub fn flag(&self) -> Option<bool> {
        match (self.kind, self.raw) {
            (Kind::Bool, Raw::Varint(value)) => Some(value != 0),
            _ => None,
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.kind, self.raw) {
            (Kind::Double, Raw::Fixed64(bits)) => serializer.serialize_f64(f64::from_bits(bits)),
            (Kind::Float, Raw::Fixed32(bits)) => serializer.serialize_f64(f64::from(f32::from_bits(bits))),
            // A negative 32-bit number is sign-extended on the wire: the cast undoes that.
            (Kind::Int64, Raw::Varint(value)) => serializer.serialize_i64(value as i64),
            (Kind::Int32, Raw::Varint(value)) => serializer.serialize_i32(value as i32),
            (Kind::Uint64, Raw::Varint(value)) => serializer.serialize_u64(value),
            (Kind::Uint32, Raw::Varint(value)) => serializer.serialize_u32(value as u32),
            (Kind::Bool, Raw::Varint(value)) => serializer.serialize_bool(value != 0),
            (Kind::Enum(values), Raw::Varint(number)) => {
                serializer.serialize_str(values.name(number as i32).unwrap_or_default())
            }
            (Kind::String, Raw::Bytes(text)) => match std::str::from_utf8(text) {
                Ok(text) => serializer.serialize_str(text),
                Err(_) => serializer.serialize_str(&String::from_utf8_lossy(text)),
            },
            (Kind::Bytes, Raw::Bytes(bytes)) => serializer.serialize_str(&STANDARD.encode(bytes)),
            (Kind::Message(message), Raw::Bytes(bytes)) => View::new(message, bytes).serialize(serializer),
            (kind, raw) => Err(S::Error::custom(format_args!("{raw:?} is not a {kind:?}"))),
        }
    }
}

struct List<'a> {
    kind: Kind,
    items: &'a [(usize, Raw<'a>)],
}

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_seq(Some(self.items.len()))?;
        for (_, raw) in self.items {
            out.serialize_element(&Value { kind: self.kind, raw: *raw })?;
        }
        out.end()
    }
}

struct Entries<'a> {
    entry: &'static Message,
    items: &'a [(usize, Raw<'a>)],
}

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(self.items.len()))?;
        for (_, raw) in self.items {
            let Raw::Bytes(bytes) = *raw else { return Err(S::Error::custom("a map entry is no message")) };
            let (mut key, mut value) = ("", None);
            for item in Fields::of(self.entry, bytes) {
                match item.map_err(S::Error::custom)? {
                    (0, _, Raw::Bytes(text)) => key = std::str::from_utf8(text).map_err(S::Error::custom)?,
                    (_, field, raw) => value = Some(Value { kind: field.kind, raw }),
                }
            }
            // An absent value is an empty one: `{}`, or `""` in a map of strings.
            let absent = Value { kind: self.entry.fields[1].kind, raw: Raw::Bytes(&[]) };
            out.serialize_entry(key, &value.unwrap_or(absent))?;
        }
        out.end()
    }
}
