//! OFFERS events written straight from the model are, byte for byte, those that the messages would be.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use api::convert::resources::{self, Format};
use api::convert::{agent, maintenance};
use api::media::{self, Encoding};
use api::v1::scheduler::{self, event};
use api::{offers, v1};
use model::agent_info::AgentInfo;
use model::body::Body;
use model::framework::Capabilities;
use model::id::{AgentId, ExecutorId, FrameworkId, OfferId};
use model::maintenance::Unavailability;
use model::quantity::Quantity;
use model::ranges::Ranges;
use model::resources::{Disk, Reservation, Resource, Resources, Value};
use model::role::Role;
use proptest::prelude::*;
use std::sync::Arc;

/// An offer with everything of its own.
#[derive(Clone, Debug)]
struct Owned {
    id: OfferId,
    framework_id: FrameworkId,
    agent_id: AgentId,
    agent: AgentInfo,
    role: Role,
    resources: Resources,
    executor_ids: Vec<ExecutorId>,
    unavailability: Option<Unavailability>,
}

impl Owned {
    fn borrowed(&self) -> offers::Offer<'_> {
        offers::Offer {
            id: &self.id,
            framework_id: &self.framework_id,
            agent_id: &self.agent_id,
            agent: &self.agent,
            role: &self.role,
            resources: &self.resources,
            executor_ids: &self.executor_ids,
            unavailability: self.unavailability,
        }
    }

    /// By way of the messages.
    fn message(&self, format: Format) -> v1::Offer {
        let described = v1::AgentInfo::default();
        let info = agent::to_v1(&self.agent, None).unwrap_or(described);
        v1::Offer {
            id: (&self.id).into(),
            framework_id: (&self.framework_id).into(),
            agent_id: (&self.agent_id).into(),
            hostname: self.agent.hostname.to_string(),
            resources: resources::to_v1(&self.resources, format),
            executor_ids: self.executor_ids.iter().map(Into::into).collect(),
            attributes: info.attributes,
            url: Some(v1::Url {
                scheme: "http".into(),
                address: v1::Address {
                    hostname: Some(self.agent.hostname.to_string()),
                    ip: Some(self.agent.address.ip().to_string()),
                    port: self.agent.address.port().into(),
                },
                path: Some("/slave(1)".into()),
                ..v1::Url::default()
            }),
            unavailability: self.unavailability.map(maintenance::unavailability),
            allocation_info: format
                .has_allocation
                .then(|| v1::resource::AllocationInfo { role: Some(self.role.to_string()) }),
            domain: info.domain,
        }
    }
}

fn event(all: &[Owned], format: Format) -> scheduler::Event {
    let offers = all.iter().map(|offer| offer.message(format)).collect();
    let mut event =
        scheduler::Event { offers: Some(event::Offers { offers }), ..scheduler::Event::default() };
    event.set_type(event::Type::Offers);
    event
}

fn check(all: &[Owned], format: Format) {
    let event = event(all, format);
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let expected = media::encode_record(encoding, &event);
        let written = offers::record(encoding, format, all.iter().map(Owned::borrowed));
        assert_eq!(written, expected, "{encoding:?}: {}", String::from_utf8_lossy(&written));
    }
}

/// Short and long, plain and to be escaped.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z]{1,12}", 1 => "\\PC{1,8}", 1 => "[\"\\\\\n\t/]{1,4}", 1 => "[a-z]{100,300}"]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        Just(Role::star()),
        "[a-z]{1,8}(/[a-z]{1,8}){0,2}".prop_map(|name| Role::parse(&name).unwrap())
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let amount = prop_oneof![1..100u64, (1..64u64).prop_map(|whole| whole * 1000), 1..Quantity::MILLI_MAX];
    let pair = (0..70_000u64, 0..3_000u64).prop_map(|(begin, count)| (begin, begin + count));
    prop_oneof![
        3 => amount.prop_map(|milli| Value::Scalar(Quantity::from_milli(milli))),
        1 => prop::collection::vec(pair, 1..40).prop_map(|pairs| Value::Ranges(Ranges::new(pairs))),
        1 => prop::collection::btree_set(text(), 1..5)
            .prop_map(|items| Value::Set(items.iter().map(|item| Arc::from(item.as_str())).collect())),
    ]
}

fn reservation() -> impl Strategy<Value = Reservation> {
    let label = (text(), prop::option::of(text()));
    let labels = prop::collection::vec(label, 0..3);
    ("[a-z]{1,8}", any::<bool>(), prop::option::of(text()), labels).prop_map(
        |(role, is_dynamic, principal, labels)| Reservation {
            role: Role::parse(&role).unwrap(),
            is_dynamic,
            principal: principal.map(Arc::from),
            labels: labels.into_iter().map(|(key, value)| (Arc::from(key), value.map(Arc::from))).collect(),
        },
    )
}

fn disk() -> impl Strategy<Value = Arc<Disk>> {
    text().prop_map(|id| {
        let persistence = v1::resource::disk_info::Persistence { id: id.clone(), principal: None };
        let info = v1::resource::DiskInfo { persistence: Some(persistence), ..Default::default() };
        let body = api::protobuf::encode(&info);
        Arc::new(Disk { persistence_id: Some(Arc::from(id)), is_indivisible: false, body })
    })
}

fn resource() -> impl Strategy<Value = Resource> {
    let rest = (
        prop::option::weighted(0.8, role()),
        prop::collection::vec(reservation(), 0..3),
        prop::option::weighted(0.2, disk()),
        any::<bool>(),
        any::<bool>(),
        prop::option::weighted(0.1, text()),
    );
    (text(), value(), rest, any::<bool>()).prop_map(|(name, value, rest, is_plain)| {
        let plain = Resource { allocation: rest.0, ..Resource::new(&name, value) };
        if is_plain {
            return plain;
        }
        Resource {
            reservations: rest.1,
            disk: rest.2,
            is_revocable: rest.3,
            is_shared: rest.4,
            provider_id: rest.5.map(Arc::from),
            ..plain
        }
    })
}

fn body() -> impl Strategy<Value = Body> {
    let attributes = prop::collection::vec(
        prop_oneof![Just("rack:r1"), Just("cores:8.5"), Just("ports:[1-4,9-12]"), Just("zone:a")],
        0..5,
    );
    (attributes, prop::option::of((text(), text()))).prop_map(|(attributes, domain)| {
        use v1::domain_info::{FaultDomain, fault_domain};
        let domain = domain.map(|(region, zone)| v1::DomainInfo {
            fault_domain: Some(FaultDomain {
                region: fault_domain::RegionInfo { name: region },
                zone: fault_domain::ZoneInfo { name: zone },
            }),
        });
        agent::body_of(agent::attributes(&attributes.join(";")).unwrap(), domain)
    })
}

fn agent_info() -> impl Strategy<Value = AgentInfo> {
    (text(), any::<std::net::SocketAddr>(), body()).prop_map(|(hostname, address, body)| AgentInfo {
        hostname: Arc::from(hostname),
        address,
        total: Resources::default(),
        boot_id: "boot".into(),
        version: "1".into(),
        body,
    })
}

fn unavailability((start_ns, duration_ns): (i64, Option<u64>)) -> Unavailability {
    Unavailability { start_ns, duration_ns }
}

fn offer() -> impl Strategy<Value = Owned> {
    let parts = prop::collection::vec(resource(), 0..6);
    let executors = prop::collection::vec(text(), 0..3);
    let unavailability = (any::<i64>(), prop::option::of(0..u64::MAX / 2)).prop_map(unavailability);
    let unavailability = prop::option::of(unavailability);
    ([text(), text(), text()], agent_info(), role(), parts, executors, unavailability).prop_map(
        |(ids, agent, role, parts, executors, unavailability)| Owned {
            id: OfferId::new(&ids[0]),
            framework_id: FrameworkId::new(&ids[1]),
            agent_id: AgentId::new(&ids[2]),
            agent,
            role,
            resources: parts.into_iter().collect(),
            executor_ids: executors.iter().map(ExecutorId::new).collect(),
            unavailability,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_what_the_messages_are(all in prop::collection::vec(offer(), 0..4), numbers in any::<u16>()) {
        let has = |capabilities: Capabilities, number: u32| match numbers >> number & 1 {
            1 => capabilities.with_number(number),
            _ => capabilities,
        };
        let capabilities = (1..=8).fold(Capabilities::default(), has);
        check(&all, Format::for_framework(capabilities));
    }
}

/// An agent's account that is cut off or no message at all costs no more than what it would have told.
#[test]
fn a_damaged_account_of_an_agent_is_left_out() {
    let whole = agent::body_of(agent::attributes("rack:r1;zone:z2").unwrap(), None);
    let agent = |body: &[u8]| AgentInfo {
        hostname: "h".into(),
        address: "127.0.0.1:5051".parse().unwrap(),
        total: Resources::default(),
        boot_id: "boot".into(),
        version: "1".into(),
        body: Body(bytes::Bytes::copy_from_slice(body)),
    };
    for length in 0..=whole.0.len() {
        let owned = Owned {
            id: OfferId::new("o"),
            framework_id: FrameworkId::new("f"),
            agent_id: AgentId::new("a"),
            agent: agent(&whole.0[..length]),
            role: Role::star(),
            resources: "cpus:1".parse().unwrap(),
            executor_ids: Vec::new(),
            unavailability: None,
        };
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let record = offers::record(encoding, Format::PLAIN, [owned.borrowed()].into_iter());
            let at = record.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let event: scheduler::Event = media::decode(encoding, &record.slice(at..)).unwrap();
            let count = event.offers.unwrap().offers[0].attributes.len();
            assert!(count <= 2 && (count == 2) == (length == whole.0.len()), "{length}: {count}");
        }
    }
}
