//! What prost forgets about a message at run time: field names, labels, defaults, enum names.
//!
//! The tables are made by `build.rs` from `proto/`. The JSON reader and writer and the check for missing
//! required fields all walk them, so that each rule of the wire stands once and not once per message.

/// A message of the v1 API: any type of [`crate::v1`].
///
/// Crates outside use this bound instead of prost's traits.
pub trait V1: prost::Message + prost::Name + std::default::Default {}

impl<M: prost::Message + prost::Name + std::default::Default> V1 for M {}

#[derive(Debug)]
pub(crate) struct Message {
    /// Full name, `mesos.v1.TaskInfo`.
    pub(crate) name: &'static str,
    /// Ascending by number, the order in which prost encodes.
    pub(crate) fields: &'static [Field],
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) number: u32,
    pub(crate) label: Label,
    pub(crate) kind: Kind,
    /// Written in JSON where the field is unset.
    pub(crate) default: Option<Default>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Optional,
    Required,
    Repeated,
}

/// Only the types that the API uses; `build.rs` refuses the others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Double,
    #[allow(dead_code, reason = "kept with Double: the wire treats the two alike")]
    Float,
    Int64,
    Uint64,
    Int32,
    Uint32,
    Bool,
    String,
    Bytes,
    Enum(&'static Enum),
    Message(&'static Message),
    /// Repeated entries of key (field 1, always a string here) and value (field 2); a JSON object.
    Map(&'static Message),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Default {
    Double(f64),
    Int(i64),
    Bool(bool),
    /// A string, or an enum's name: JSON shows both as text.
    Text(&'static str),
    /// An empty list.
    List,
}

#[derive(Debug)]
pub(crate) struct Enum {
    pub(crate) values: &'static [(&'static str, i32)],
}

impl Message {
    /// The table of `M`.
    pub(crate) fn of<M: V1>() -> &'static Self {
        // Not `M::NAME`: prost leaves the outer messages out of it.
        let name = M::full_name();
        let index = MESSAGES.binary_search_by_key(&name.as_str(), |message| message.name);
        MESSAGES[index.expect("build.rs makes a table for every message of proto/")]
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The field's position in `fields` and the field.
    pub(crate) fn by_number(&self, number: u32) -> Option<(usize, &'static Field)> {
        let index = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        Some((index, &self.fields[index]))
    }
}

impl Enum {
    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }

    pub(crate) fn name(&self, number: i32) -> Option<&'static str> {
        self.values.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
    }
}

/// Every message, for tests that hold over all of them.
#[cfg(test)]
pub(crate) fn all() -> &'static [&'static Message] {
    MESSAGES
}

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn the_lookup_finds_every_depth_of_name() {
        assert_eq!(Message::of::<v1::TaskId>().name, "mesos.v1.TaskID");
        assert_eq!(Message::of::<v1::scheduler::Call>().name, "mesos.v1.scheduler.Call");
        assert_eq!(Message::of::<v1::scheduler::call::Subscribe>().name, "mesos.v1.scheduler.Call.Subscribe");
        assert_eq!(Message::of::<v1::offer::Operation>().name, "mesos.v1.Offer.Operation");
    }

    #[test]
    fn tables_are_sorted_for_the_searches() {
        assert!(MESSAGES.is_sorted_by_key(|message| message.name));
        for message in MESSAGES {
            assert!(message.fields.is_sorted_by_key(|field| field.number), "{}", message.name);
        }
    }
}
