//! Resources. On the wire a reservation has two forms: the old `role` and `reservation`, and the stack
//! `reservations`. The model has only the stack; which form goes out depends on who reads it.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::ranges::Ranges;
use model::resources::{DISK, Disk, Reservation, Resource, Resources, Value};
use model::role::{BadRole, Role};

use super::{quantity, text};
use crate::protobuf;
use crate::v1::resource::disk_info::source::Type as SourceType;
use crate::v1::resource::reservation_info::Type as ReservationType;
use crate::v1::resource::{AllocationInfo, DiskInfo, ReservationInfo, RevocableInfo, SharedInfo};
use crate::v1::{self, value};

/// Which form a reservation takes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `reservations`; nothing for what is unreserved. Agents and executors.
    New,
    /// `role` always (`*` if unreserved), `reservation` for a dynamic one: frameworks without
    /// RESERVATION_REFINEMENT. A refined reservation has no old form and keeps the new.
    Old,
    /// Both; a refined reservation's old form is that of its innermost layer. Operators.
    Both,
}

/// How resources are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub form: Form,
    /// Write `allocation_info`. Left out of offers to frameworks without MULTI_ROLE.
    pub has_allocation: bool,
}

impl Format {
    /// What executors and agents see.
    pub const PLAIN: Self = Self { form: Form::New, has_allocation: true };
    /// What operators see.
    pub const OPERATOR: Self = Self { form: Form::Both, has_allocation: true };

    /// What a framework sees in its offers.
    pub fn for_framework(capabilities: model::framework::Capabilities) -> Self {
        use model::framework::Capabilities;
        let is_refined = capabilities.has(Capabilities::RESERVATION_REFINEMENT);
        Self {
            form: if is_refined { Form::New } else { Form::Old },
            has_allocation: capabilities.has(Capabilities::MULTI_ROLE),
        }
    }
}

/// Why something is no resource. The texts are Mesos' (`src/v1/resources.cpp`, `Resources::validate`).
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadResource {
    #[error("Empty resource name")]
    NoName,
    #[error("Unsupported resource type")]
    Type,
    #[error("Invalid {0} resource")]
    Value(&'static str),
    /// Also of an amount so small that it would count as none.
    #[error("Invalid scalar resource: value <= 0")]
    Negative,
    /// Ours: Mesos takes any double.
    #[error("Invalid scalar resource: {0} is no amount")]
    NoAmount(String),
    #[error("Invalid ranges resource: begin > end")]
    Inverted,
    #[error("Invalid ranges resource: overlapping ranges")]
    Overlapping,
    #[error("Invalid set resource: duplicated elements")]
    Duplicated,
    #[error("DiskInfo should not be set for {0} resource")]
    DiskElsewhere(Arc<str>),
    #[error("Unsupported 'DiskInfo.Source.Type'")]
    DiskSource,
    #[error("{what} should not be set for {source_type} disk source")]
    DiskSourceRoot { what: &'static str, source_type: &'static str },
    #[error("{0}")]
    Role(BadRole),
    #[error("{0}")]
    Reservation(&'static str),
    #[error("Invalid refined reservation: role '{role}' is not a refinement of '{above}'")]
    NotRefined { role: Role, above: Role },
    #[error("Resource {0} cannot be shared")]
    NotShareable(Arc<str>),
    #[error("Only persistent volumes can be shared")]
    SharedNoVolume,
}

/// Checks, brings to the new form, and merges.
pub fn from_v1(resources: &[v1::Resource]) -> Result<Resources, super::Error> {
    resources.iter().map(|resource| part_from_v1(resource).map_err(super::Error::from)).collect()
}

/// A resource as it was sent, good or bad: its name and value, for a message about it.
pub(super) fn show(resource: &v1::Resource) -> String {
    let value = if let Some(scalar) = &resource.scalar {
        scalar.value.to_string()
    } else if let Some(ranges) = &resource.ranges {
        let pairs = ranges.range.iter().map(|range| format!("{}-{}", range.begin, range.end));
        format!("[{}]", pairs.collect::<Vec<_>>().join(", "))
    } else {
        let items = resource.set.as_ref().map_or(&[][..], |set| &set.item);
        format!("{{{}}}", items.join(", "))
    };
    format!("{}:{value}", resource.name)
}

/// One resource, merged with nothing.
pub fn part_from_v1(resource: &v1::Resource) -> Result<Resource, BadResource> {
    if resource.name.is_empty() {
        return Err(BadResource::NoName);
    }
    let disk = resource.disk.as_ref().map(|disk| disk_from_v1(&resource.name, disk)).transpose()?;
    if resource.shared.is_some() {
        if resource.name != DISK {
            return Err(BadResource::NotShareable(text(&resource.name)));
        }
        if disk.as_ref().is_none_or(|disk| disk.persistence_id.is_none()) {
            return Err(BadResource::SharedNoVolume);
        }
    }
    let allocation = resource.allocation_info.as_ref().and_then(|info| info.role.as_deref());
    Ok(Resource {
        name: text(&resource.name),
        value: value_from_v1(resource)?,
        allocation: allocation.map(|role| Role::parse(role).map_err(BadResource::Role)).transpose()?,
        reservations: reservations_from_v1(resource)?,
        disk: disk.map(Arc::new),
        is_revocable: resource.revocable.is_some(),
        is_shared: resource.shared.is_some(),
        provider_id: resource.provider_id.as_ref().map(|id| text(&id.value)),
    })
}

fn value_from_v1(resource: &v1::Resource) -> Result<Value, BadResource> {
    let kind = value::Type::try_from(resource.r#type).map_err(|_| BadResource::Type)?;
    match (kind, &resource.scalar, &resource.ranges, &resource.set) {
        (value::Type::Scalar, Some(scalar), None, None) => scalar_from_v1(scalar.value),
        (value::Type::Ranges, None, Some(ranges), None) => ranges_from_v1(ranges),
        (value::Type::Set, None, None, Some(set)) => {
            let items: BTreeSet<_> = set.item.iter().map(|item| text(item)).collect();
            if items.len() < set.item.len() { Err(BadResource::Duplicated) } else { Ok(Value::Set(items)) }
        }
        (value::Type::Scalar, ..) => Err(BadResource::Value("scalar")),
        (value::Type::Ranges, ..) => Err(BadResource::Value("ranges")),
        (value::Type::Set, ..) => Err(BadResource::Value("set")),
        (value::Type::Text, ..) => Err(BadResource::Type),
    }
}

fn scalar_from_v1(value: f64) -> Result<Value, BadResource> {
    match quantity::from_f64(value) {
        Some(amount) if amount.milli() == 0 && value != 0.0 => Err(BadResource::Negative),
        Some(amount) => Ok(Value::Scalar(amount)),
        None if value < 0.0 => Err(BadResource::Negative),
        None => Err(BadResource::NoAmount(value.to_string())),
    }
}

fn ranges_from_v1(ranges: &value::Ranges) -> Result<Value, BadResource> {
    let mut pairs: Vec<_> = ranges.range.iter().map(|range| (range.begin, range.end)).collect();
    pairs.sort_unstable();
    if pairs.iter().any(|(begin, end)| begin > end) {
        return Err(BadResource::Inverted);
    }
    // Sorted, so only neighbours can meet.
    if pairs.windows(2).any(|pair| pair[1].0 <= pair[0].1) {
        return Err(BadResource::Overlapping);
    }
    Ok(Value::Ranges(Ranges::new(pairs)))
}

fn disk_from_v1(name: &str, disk: &DiskInfo) -> Result<Disk, BadResource> {
    if name != DISK {
        return Err(BadResource::DiskElsewhere(text(name)));
    }
    let mut is_indivisible = false;
    if let Some(source) = &disk.source {
        let kind = SourceType::try_from(source.r#type).map_err(|_| BadResource::DiskSource)?;
        is_indivisible = match kind {
            SourceType::Unknown => return Err(BadResource::DiskSource),
            SourceType::Path => false,
            SourceType::Mount | SourceType::Block => true,
            // Raw space without a name of its own is a pool to cut from.
            SourceType::Raw => source.id.is_some(),
        };
        if matches!(kind, SourceType::Block | SourceType::Raw) {
            let source_type = kind.as_str_name();
            if source.mount.is_some() {
                return Err(BadResource::DiskSourceRoot { what: "Mount", source_type });
            }
            if source.path.is_some() {
                return Err(BadResource::DiskSourceRoot { what: "Path", source_type });
            }
        }
    }
    Ok(Disk {
        persistence_id: disk.persistence.as_ref().map(|persistence| text(&persistence.id)),
        is_indivisible,
        body: protobuf::encode(disk),
    })
}

fn reservations_from_v1(resource: &v1::Resource) -> Result<Vec<Reservation>, BadResource> {
    if resource.reservations.is_empty() {
        return old_reservation(resource);
    }
    let mut stack: Vec<Reservation> = Vec::with_capacity(resource.reservations.len());
    for info in &resource.reservations {
        let kind = info.r#type.and_then(|kind| ReservationType::try_from(kind).ok());
        let kind = kind.ok_or(BadResource::Reservation(
            "Invalid reservation: 'Resource.ReservationInfo.type' field must be set.",
        ))?;
        if kind == ReservationType::Unknown {
            return Err(BadResource::Reservation("Unsupported 'Resource.ReservationInfo.Type'"));
        }
        let role = info.role.as_deref().ok_or(BadResource::Reservation(
            "Invalid reservation: 'Resource.ReservationInfo.role' field must be set.",
        ))?;
        let role = Role::parse(role).map_err(BadResource::Role)?;
        if role.is_star() {
            return Err(BadResource::Reservation("Invalid reservation: role \"*\" cannot be reserved"));
        }
        if let Some(above) = stack.last() {
            if kind == ReservationType::Static {
                return Err(BadResource::Reservation(
                    "Invalid refined reservation: A refined reservation cannot be STATIC",
                ));
            }
            if role == above.role || !role.is_within(&above.role) {
                return Err(BadResource::NotRefined { role, above: above.role.clone() });
            }
        }
        stack.push(reservation_from_v1(role, kind == ReservationType::Dynamic, info));
    }
    agree(resource, &stack)?;
    Ok(stack)
}

/// The old form may stand beside the new if both say the same.
fn agree(resource: &v1::Resource, stack: &[Reservation]) -> Result<(), BadResource> {
    let bad = |why| Err(BadResource::Reservation(why));
    let (role, old) = (&resource.role, &resource.reservation);
    let [only] = stack else {
        return match (role, old) {
            (None, None) => Ok(()),
            _ => {
                bad("Invalid resource format: 'Resource.role' and 'Resource.reservation' must not be set if \
                      there is more than one reservation in 'Resource.reservations'")
            }
        };
    };
    if role.as_deref().is_some_and(|role| role != only.role.as_str()) {
        return bad(
            "Invalid resource format: 'Resource.role' does not match the role in 'Resource.reservations'",
        );
    }
    if !only.is_dynamic {
        return match old {
            None => Ok(()),
            Some(_) => bad("Invalid resource format: 'Resource.reservation' must not be set if the single \
                            reservation in 'Resource.reservations' is STATIC"),
        };
    }
    match old {
        None if role.is_none() => Ok(()),
        Some(old) if role.is_some() => {
            let same = reservation_from_v1(only.role.clone(), true, old) == *only;
            if same {
                Ok(())
            } else {
                bad(
                    "Invalid resource format: 'Resource.reservation' does not match the one in 'Resource.reservations'",
                )
            }
        }
        _ => bad(
            "Invalid resource format: 'Resource.role' and 'Resource.reservation' must either be both set \
                  or both not set if the single reservation in 'Resource.reservations' is DYNAMIC",
        ),
    }
}

fn old_reservation(resource: &v1::Resource) -> Result<Vec<Reservation>, BadResource> {
    let role = match resource.role.as_deref() {
        None => Role::star(),
        Some(role) => Role::parse(role).map_err(BadResource::Role)?,
    };
    match &resource.reservation {
        None if role.is_star() => Ok(Vec::new()),
        None => Ok(vec![Reservation { role, is_dynamic: false, principal: None, labels: Vec::new() }]),
        Some(info) if info.r#type.is_some() => Err(BadResource::Reservation(
            "'Resource.ReservationInfo.type' must not be set for the 'Resource.reservation' field",
        )),
        Some(info) if info.role.is_some() => Err(BadResource::Reservation(
            "'Resource.ReservationInfo.role' must not be set for the 'Resource.reservation' field",
        )),
        Some(_) if role.is_star() => {
            Err(BadResource::Reservation("Invalid reservation: role \"*\" cannot be dynamically reserved"))
        }
        Some(info) => Ok(vec![reservation_from_v1(role, true, info)]),
    }
}

fn reservation_from_v1(role: Role, is_dynamic: bool, info: &ReservationInfo) -> Reservation {
    let labels = info.labels.iter().flat_map(|labels| &labels.labels);
    let mut labels: Vec<_> =
        labels.map(|label| (text(&label.key), label.value.as_deref().map(text))).collect();
    // Their order means nothing; sorted, equal reservations are equal values.
    labels.sort();
    Reservation { role, is_dynamic, principal: info.principal.as_deref().map(text), labels }
}

/// Writes every part.
pub fn to_v1(resources: &Resources, format: Format) -> Vec<v1::Resource> {
    resources.iter().map(|part| part_to_v1(part, format)).collect()
}

/// Writes one resource.
pub fn part_to_v1(part: &Resource, format: Format) -> v1::Resource {
    let mut out = v1::Resource {
        name: part.name.to_string(),
        revocable: part.is_revocable.then(RevocableInfo::default),
        shared: part.is_shared.then(SharedInfo::default),
        provider_id: part.provider_id.as_ref().map(|id| v1::ResourceProviderId { value: id.to_string() }),
        // Our own encoding decodes; an empty DiskInfo stands for a damaged one.
        disk: part.disk.as_ref().map(|disk| protobuf::decode(&disk.body).unwrap_or_default()),
        ..v1::Resource::default()
    };
    match &part.value {
        Value::Scalar(amount) => {
            out.set_type(value::Type::Scalar);
            out.scalar = Some(value::Scalar { value: quantity::to_f64(*amount) });
        }
        Value::Ranges(ranges) => {
            out.set_type(value::Type::Ranges);
            let range = ranges.pairs().iter().map(|&(begin, end)| value::Range { begin, end }).collect();
            out.ranges = Some(value::Ranges { range });
        }
        Value::Set(items) => {
            out.set_type(value::Type::Set);
            out.set = Some(value::Set { item: items.iter().map(|item| item.to_string()).collect() });
        }
    }
    if let (Some(role), true) = (&part.allocation, format.has_allocation) {
        out.allocation_info = Some(AllocationInfo { role: Some(role.to_string()) });
    }
    let stack = part.reservations.as_slice();
    let has_old = match format.form {
        Form::New => false,
        Form::Old => stack.len() <= 1,
        Form::Both => true,
    };
    if has_old {
        let inner = stack.last();
        out.role = Some(inner.map_or_else(|| "*".to_owned(), |inner| inner.role.to_string()));
        out.reservation = inner.filter(|inner| inner.is_dynamic).map(|inner| ReservationInfo {
            r#type: None,
            role: None,
            ..reservation_to_v1(inner)
        });
    }
    if format.form == Form::Both || !has_old {
        out.reservations = stack.iter().map(reservation_to_v1).collect();
    }
    out
}

fn reservation_to_v1(reservation: &Reservation) -> ReservationInfo {
    let label = |(key, value): &(Arc<str>, Option<Arc<str>>)| v1::Label {
        key: key.to_string(),
        value: value.as_ref().map(|value| value.to_string()),
    };
    let labels: Vec<_> = reservation.labels.iter().map(label).collect();
    let kind = if reservation.is_dynamic { ReservationType::Dynamic } else { ReservationType::Static };
    ReservationInfo {
        r#type: Some(kind.into()),
        role: Some(reservation.role.to_string()),
        principal: reservation.principal.as_ref().map(|principal| principal.to_string()),
        labels: (!labels.is_empty()).then_some(v1::Labels { labels }),
    }
}
