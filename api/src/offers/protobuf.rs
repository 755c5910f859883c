//! As protobuf. A message's length stands in front of it and is known last: one byte is left for it, and the few messages
//! that need more are moved.

use std::io::Write as _;

use bytes::Bytes;
use model::resources::{Resource, Value};
use prost::Message as _;
use prost::encoding::encode_varint;

use super::{Described, Offer, PATH, SCHEME, is_plain, old_role};
use crate::convert::{maintenance, quantity, resources};
use crate::recordio;
use crate::v1::scheduler::event::Type;
use crate::v1::value;

/// About how long an offer is, bytes.
const OFFER_BYTES: usize = 512;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;

/// Fields of one message after the other, by number.
struct Fields<'o>(&'o mut Vec<u8>);

impl Fields<'_> {
    /// None here is above 15, so that each key is one byte.
    fn key(&mut self, number: u8, wire: u8) {
        self.0.push(number << 3 | wire);
    }

    fn varint(&mut self, number: u8, value: u64) {
        self.key(number, VARINT);
        encode_varint(value, self.0);
    }

    fn double(&mut self, number: u8, value: f64) {
        self.key(number, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, number: u8, bytes: &[u8]) {
        self.key(number, LENGTH_DELIMITED);
        encode_varint(bytes.len() as u64, self.0);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, number: u8, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    /// A message of one text, as ids are.
    fn id(&mut self, number: u8, text: &str) {
        self.message(number, |id| id.text(1, text));
    }

    fn message(&mut self, number: u8, write: impl FnOnce(&mut Fields<'_>)) {
        self.key(number, LENGTH_DELIMITED);
        let at = self.0.len();
        self.0.push(0);
        write(self);
        let length = (self.0.len() - at - 1) as u64;
        if length < 0x80 {
            self.0[at] = length as u8;
            return;
        }
        let (mut head, end) = (Vec::with_capacity(10), self.0.len());
        encode_varint(length, &mut head);
        self.0.resize(end + head.len() - 1, 0);
        self.0.copy_within(at + 1..end, at + head.len());
        self.0[at..at + head.len()].copy_from_slice(&head);
    }
}

pub(super) fn record<'a>(
    format: resources::Format,
    offers: impl ExactSizeIterator<Item = (Offer<'a>, Described<'a>)>,
) -> Bytes {
    recordio::encode_with((offers.len() + 1) * OFFER_BYTES, |out| {
        let mut event = Fields(out);
        event.varint(1, Type::Offers as u64);
        event.message(3, |list| {
            offers.for_each(|(offer, described)| {
                list.message(1, |out| write(out, &offer, &described, format));
            });
        });
    })
}

fn write(out: &mut Fields<'_>, offer: &Offer<'_>, described: &Described<'_>, format: resources::Format) {
    out.id(1, offer.id.as_str());
    out.id(2, offer.framework_id.as_str());
    out.id(3, offer.agent_id.as_str());
    out.text(4, &offer.agent.hostname);
    for part in offer.resources.iter() {
        if is_plain(part, format) {
            out.message(5, |out| plain(out, part, format));
        } else {
            out.bytes(5, &resources::part_to_v1(part, format).encode_to_vec());
        }
    }
    offer.executor_ids.iter().for_each(|id| out.id(6, id.as_str()));
    described.attributes.iter().for_each(|attribute| out.bytes(7, attribute.bytes()));
    out.message(8, |url| {
        url.text(1, SCHEME);
        url.message(2, |address| {
            address.text(1, &offer.agent.hostname);
            address.message(2, |out| {
                write!(out.0, "{}", offer.agent.address.ip()).expect("a Vec takes all");
            });
            address.varint(3, offer.agent.address.port().into());
        });
        url.text(3, PATH);
    });
    if let Some(it) = offer.unavailability {
        out.bytes(9, &maintenance::unavailability(it).encode_to_vec());
    }
    if format.has_allocation {
        out.id(10, offer.role.as_str());
    }
    if let Some(domain) = &described.domain {
        out.bytes(11, domain.bytes());
    }
}

fn plain(out: &mut Fields<'_>, part: &Resource, format: resources::Format) {
    out.text(1, &part.name);
    match &part.value {
        Value::Scalar(amount) => {
            out.varint(2, value::Type::Scalar as u64);
            out.message(3, |scalar| scalar.double(1, quantity::to_f64(*amount)));
        }
        Value::Ranges(ranges) => {
            out.varint(2, value::Type::Ranges as u64);
            out.message(4, |list| {
                for &(begin, end) in ranges.pairs() {
                    list.message(1, |range| {
                        range.varint(1, begin);
                        range.varint(2, end);
                    });
                }
            });
        }
        Value::Set(items) => {
            out.varint(2, value::Type::Set as u64);
            out.message(5, |set| items.iter().for_each(|item| set.text(1, item)));
        }
    }
    if let Some(role) = old_role(format) {
        out.text(6, role);
    }
    if let (Some(role), true) = (&part.allocation, format.has_allocation) {
        out.id(11, role.as_str());
    }
}
