//! OFFERS events written straight from the model, as records of a stream: the event that a master writes most, and the
//! longest. Nothing is made on the way; what is rare (reservations, volumes) goes by way of its message. The bytes are those
//! of the message path ([`crate::media::encode_record`]), which the tests hold both encodings against.

mod json;
mod protobuf;

use bytes::Bytes;
use model::agent_info::AgentInfo;
use model::id::{AgentId, ExecutorId, FrameworkId, OfferId};
use model::maintenance::Unavailability;
use model::resources::{Resource, Resources};
use model::role::Role;

use crate::convert::resources::{Form, Format};
use crate::json::View;
use crate::media::Encoding;
use crate::protobuf::{Fields, Raw, check};
use crate::schema::{Field, Kind, Message};
use crate::v1;

/// What is told of one offer.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    pub id: &'a OfferId,
    pub framework_id: &'a FrameworkId,
    pub agent_id: &'a AgentId,
    pub agent: &'a AgentInfo,
    pub role: &'a Role,
    pub resources: &'a Resources,
    pub executor_ids: &'a [ExecutorId],
    pub unavailability: Option<Unavailability>,
}

/// Where an agent's HTTP server is reached, and what of it there is to reach.
const SCHEME: &str = "http";
const PATH: &str = "/slave(1)";

/// One event with these offers, as a record. `format` is the framework's.
pub fn record<'a>(
    encoding: Encoding,
    format: Format,
    offers: impl ExactSizeIterator<Item = Offer<'a>>,
) -> Bytes {
    let table = Message::of::<v1::AgentInfo>();
    let offers = offers.map(|offer| (offer, Described::of(offer.agent, table)));
    match encoding {
        Encoding::Protobuf => protobuf::record(format, offers),
        Encoding::Json => json::record(format, offers),
    }
}

/// What an agent says of itself and offers repeat: encoded messages as they stand in its `body`. What is damaged is left out.
struct Described<'a> {
    attributes: Vec<View<'a>>,
    domain: Option<View<'a>>,
}

impl<'a> Described<'a> {
    /// `table` is that of `AgentInfo`.
    fn of(agent: &'a AgentInfo, table: &'static Message) -> Self {
        let (mut attributes, mut domain) = (Vec::new(), None);
        for item in Fields::of(table, &agent.body.0).map_while(Result::ok) {
            let (_, Field { name, kind: Kind::Message(message), .. }, Raw::Bytes(bytes)) = item else {
                continue;
            };
            match *name {
                "attributes" if check(message, bytes).is_ok() => attributes.push(View::new(message, bytes)),
                "domain" if check(message, bytes).is_ok() => domain = Some(View::new(message, bytes)),
                _ => {}
            }
        }
        Self { attributes, domain }
    }
}

/// Whether a resource is no more than its name, its amount, and whom it is allocated to.
fn is_plain(part: &Resource, format: Format) -> bool {
    part.reservations.is_empty()
        && part.disk.is_none()
        && part.provider_id.is_none()
        && !part.is_revocable
        && !part.is_shared
        && format.form != Form::Both
}

/// The role of a plain resource, where the format has one.
fn old_role(format: Format) -> Option<&'static str> {
    (format.form == Form::Old).then_some("*")
}
