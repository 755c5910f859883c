//! As JSON, with fields in the order of their numbers.

use std::io::Write as _;

use bytes::Bytes;
use model::quantity::Quantity;
use model::resources::{Resource, Value};
use serde::Serialize;

use super::{Described, Offer, PATH, SCHEME, is_plain, old_role};
use crate::convert::{maintenance, quantity, resources};
use crate::json;
use crate::recordio;

/// About how long an offer is, bytes.
const OFFER_BYTES: usize = 1_280;

pub(super) fn record<'a>(
    format: resources::Format,
    offers: impl ExactSizeIterator<Item = (Offer<'a>, Described<'a>)>,
) -> Bytes {
    recordio::encode_with((offers.len() + 1) * OFFER_BYTES, |out| {
        if offers.len() == 0 {
            return put(out, r#"{"type":"OFFERS","offers":{}}"#);
        }
        put(out, r#"{"type":"OFFERS","offers":{"#);
        list(out, "offers", offers, |out, (offer, described)| write(out, &offer, &described, format));
        put(out, "}}");
    })
}

fn write(out: &mut Vec<u8>, offer: &Offer<'_>, described: &Described<'_>, format: resources::Format) {
    put(out, r#"{"id":"#);
    id(out, offer.id.as_str());
    put(out, r#","framework_id":"#);
    id(out, offer.framework_id.as_str());
    put(out, r#","agent_id":"#);
    id(out, offer.agent_id.as_str());
    put(out, r#","hostname":"#);
    any(out, &*offer.agent.hostname);
    if !offer.resources.is_empty() {
        put(out, ",");
        list(out, "resources", offer.resources.iter(), |out, part| {
            if is_plain(part, format) {
                plain(out, part, format);
            } else {
                any(out, &json::value(&resources::part_to_v1(part, format)));
            }
        });
    }
    if !offer.executor_ids.is_empty() {
        put(out, ",");
        list(out, "executor_ids", offer.executor_ids.iter(), |out, executor| id(out, executor.as_str()));
    }
    if !described.attributes.is_empty() {
        put(out, ",");
        list(out, "attributes", described.attributes.iter(), |out, attribute| {
            any(out, attribute);
        });
    }
    put(out, r#","url":{"scheme":""#);
    put(out, SCHEME);
    put(out, r#"","address":{"hostname":"#);
    any(out, &*offer.agent.hostname);
    let at = offer.agent.address;
    write!(out, r#","ip":"{}","port":{}}},"path":"{PATH}"}}"#, at.ip(), at.port()).expect("a Vec takes all");
    if let Some(it) = offer.unavailability {
        put(out, r#","unavailability":"#);
        any(out, &json::value(&maintenance::unavailability(it)));
    }
    if format.has_allocation {
        put(out, r#","allocation_info":"#);
        role(out, offer.role.as_str());
    }
    if let Some(domain) = &described.domain {
        put(out, r#","domain":"#);
        any(out, domain);
    }
    put(out, "}");
}

fn plain(out: &mut Vec<u8>, part: &Resource, format: resources::Format) {
    put(out, r#"{"name":"#);
    any(out, &*part.name);
    match &part.value {
        Value::Scalar(value) => {
            put(out, r#","type":"SCALAR","scalar":{"value":"#);
            amount(out, *value);
        }
        Value::Ranges(ranges) => {
            put(out, r#","type":"RANGES","ranges":{"#);
            list(out, "range", ranges.pairs().iter(), |out, (begin, end)| {
                put(out, r#"{"begin":"#);
                any(out, begin);
                put(out, r#","end":"#);
                any(out, end);
                put(out, "}");
            });
        }
        Value::Set(items) => {
            put(out, r#","type":"SET","set":{"#);
            list(out, "item", items.iter(), |out, item| any(out, &**item));
        }
    }
    put(out, "}");
    if let Some(role) = old_role(format) {
        put(out, r#","role":"#);
        any(out, role);
    }
    if let (Some(allocation), true) = (&part.allocation, format.has_allocation) {
        put(out, r#","allocation_info":"#);
        role(out, allocation.as_str());
    }
    put(out, "}");
}

/// As serde writes doubles; whole ones, which most are, without the search for the shortest digits.
fn amount(out: &mut Vec<u8>, amount: Quantity) {
    /// From here on doubles are written with an exponent.
    const WHOLE_MAX: u64 = 1_000_000_000_000_000;
    let (whole, rest) = (amount.milli() / 1000, amount.milli() % 1000);
    if rest == 0 && whole < WHOLE_MAX {
        any(out, &whole);
        put(out, ".0");
    } else {
        any(out, &quantity::to_f64(amount));
    }
}

fn id(out: &mut Vec<u8>, value: &str) {
    put(out, r#"{"value":"#);
    any(out, value);
    put(out, "}");
}

fn role(out: &mut Vec<u8>, role: &str) {
    put(out, r#"{"role":"#);
    any(out, role);
    put(out, "}");
}

/// `"name":[...]`, of at least one item.
fn list<T>(
    out: &mut Vec<u8>,
    name: &str,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    put(out, "\"");
    put(out, name);
    put(out, "\":[");
    for (at, item) in items.enumerate() {
        if at > 0 {
            put(out, ",");
        }
        write(out, item);
    }
    put(out, "]");
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn any<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("it has been checked, and a Vec takes all");
}
