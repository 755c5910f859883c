//! Resources.

use super::{arc, arc_option, list_len, text};
use crate::error::WireError;
use crate::generated::common_capnp::{disk, reservation, resource, value};
use capnp::struct_list;
use model::quantity::Quantity;
use model::ranges::Ranges;
use model::resources::{Disk, Reservation, Resource, Resources, Value};
use model::role::Role;
use std::sync::Arc;

type Readers<'a> = struct_list::Reader<'a, resource::Owned>;
type Builders<'a> = struct_list::Builder<'a, resource::Owned>;

pub(crate) fn read_all(list: Readers<'_>) -> Result<Resources, WireError> {
    list.iter().map(read).collect()
}

/// Writes into a list that was made with [`count`] places.
pub(crate) fn write_all(resources: &Resources, mut list: Builders<'_>) {
    for (i, part) in (0..).zip(resources.iter()) {
        write(part, list.reborrow().get(i));
    }
}

pub(crate) fn count(resources: &Resources) -> u32 {
    list_len(resources.iter().count())
}

pub(crate) fn role(text: &str, field: &'static str) -> Result<Role, WireError> {
    Role::parse(text).map_err(|bad| WireError::field(field, bad))
}

fn read(part: resource::Reader<'_>) -> Result<Resource, WireError> {
    let name = text(part.get_name(), "resource.name")?;
    let mut resource = Resource::new(name, read_value(part.get_value()?)?);
    resource.allocation = match text(part.get_allocation_role(), "resource.allocationRole")? {
        "" => None,
        name => Some(role(name, "resource.allocationRole")?),
    };
    resource.reservations =
        part.get_reservations()?.iter().map(read_reservation).collect::<Result<_, _>>()?;
    if part.has_disk() {
        resource.disk = Some(Arc::new(read_disk(part.get_disk()?)?));
    }
    resource.is_revocable = part.get_is_revocable();
    resource.is_shared = part.get_is_shared();
    resource.provider_id = arc_option(part.get_provider_id(), "resource.providerId")?;
    Ok(resource)
}

fn read_value(amount: value::Reader<'_>) -> Result<Value, WireError> {
    Ok(match amount.which()? {
        value::ScalarMilli(milli) if milli > Quantity::MILLI_MAX => {
            return Err(WireError::field(
                "value.scalarMilli",
                format_args!("is over {}", Quantity::MILLI_MAX),
            ));
        }
        value::ScalarMilli(milli) => Value::Scalar(Quantity::from_milli(milli)),
        value::Ranges(ranges) => {
            Value::Ranges(Ranges::new(ranges?.iter().map(|range| (range.get_begin(), range.get_end()))))
        }
        value::Set(items) => {
            Value::Set(items?.iter().map(|item| arc(item, "value.set")).collect::<Result<_, _>>()?)
        }
    })
}

fn read_reservation(layer: reservation::Reader<'_>) -> Result<Reservation, WireError> {
    let label = |label: crate::generated::common_capnp::label::Reader<'_>| {
        let value = if label.get_has_value() { Some(arc(label.get_value(), "label.value")?) } else { None };
        Ok((arc(label.get_key(), "label.key")?, value))
    };
    Ok(Reservation {
        role: role(text(layer.get_role(), "reservation.role")?, "reservation.role")?,
        is_dynamic: layer.get_is_dynamic(),
        principal: arc_option(layer.get_principal(), "reservation.principal")?,
        labels: layer.get_labels()?.iter().map(label).collect::<Result<_, WireError>>()?,
    })
}

fn read_disk(disk: disk::Reader<'_>) -> Result<Disk, WireError> {
    Ok(Disk {
        persistence_id: arc_option(disk.get_persistence_id(), "disk.persistenceId")?,
        is_indivisible: disk.get_is_indivisible(),
        body: super::data(disk.get_body())?,
    })
}

fn write(part: &Resource, mut out: resource::Builder<'_>) {
    out.set_name(&part.name);
    write_value(&part.value, out.reborrow().init_value());
    if let Some(role) = &part.allocation {
        out.set_allocation_role(role.as_str());
    }
    if !part.reservations.is_empty() {
        let mut layers = out.reborrow().init_reservations(list_len(part.reservations.len()));
        for (i, layer) in (0..).zip(&part.reservations) {
            write_reservation(layer, layers.reborrow().get(i));
        }
    }
    if let Some(disk) = &part.disk {
        let mut to = out.reborrow().init_disk();
        to.set_persistence_id(disk.persistence_id.as_deref().unwrap_or_default());
        to.set_is_indivisible(disk.is_indivisible);
        to.set_body(&disk.body);
    }
    out.set_is_revocable(part.is_revocable);
    out.set_is_shared(part.is_shared);
    if let Some(provider) = &part.provider_id {
        out.set_provider_id(&**provider);
    }
}

fn write_value(amount: &Value, mut out: value::Builder<'_>) {
    match amount {
        Value::Scalar(amount) => out.set_scalar_milli(amount.milli()),
        Value::Ranges(ranges) => {
            let mut list = out.init_ranges(list_len(ranges.pairs().len()));
            for (i, &(begin, end)) in (0..).zip(ranges.pairs()) {
                let mut range = list.reborrow().get(i);
                range.set_begin(begin);
                range.set_end(end);
            }
        }
        Value::Set(items) => {
            let mut list = out.init_set(list_len(items.len()));
            for (i, item) in (0..).zip(items) {
                list.set(i, &**item);
            }
        }
    }
}

fn write_reservation(layer: &Reservation, mut out: reservation::Builder<'_>) {
    out.set_role(layer.role.as_str());
    out.set_is_dynamic(layer.is_dynamic);
    out.set_principal(layer.principal.as_deref().unwrap_or_default());
    let mut labels = out.init_labels(list_len(layer.labels.len()));
    for (i, (key, value)) in (0..).zip(&layer.labels) {
        let mut label = labels.reborrow().get(i);
        label.set_key(&**key);
        label.set_has_value(value.is_some());
        label.set_value(value.as_deref().unwrap_or_default());
    }
}
