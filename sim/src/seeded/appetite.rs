//! What schedulers do with an offer besides launching: they reserve of it, make volumes of what is reserved, and undo both.

use super::world::World;
use api::v1::resource::{DiskInfo, disk_info};
use api::v1::volume::Mode;
use api::{protobuf, v1};
use ingot_master::cluster::conversions::{Conversion, Kind};
use ingot_master::cluster::input::Operation;
use ingot_master::cluster::offers::Offer;
use model::id::OperationId;
use model::quantity::Quantity;
use model::resources::{CPUS, DISK, Disk, Reservation, Resource, Resources, Value};
use model::role::Role;
use std::sync::Arc;

/// What is reserved at a time, and how large a volume is.
const RESERVED: &str = "cpus:0.5;mem:64;disk:20";
const VOLUME_UNITS: u64 = 10;

impl World {
    /// Operations for the offer, each on what the ones before it leave; mostly none. Now and then one that asks for what is
    /// not there: it must change nothing.
    pub(super) fn conversions(&mut self, offer: &Offer) -> Vec<Operation> {
        let (role, mut left) = (offer.role.clone(), offer.resources.clone());
        let mut operations = Vec::new();
        while operations.len() < 3 && self.rng.u8(..4) == 0 {
            let Some(conversion) = self.conversion(&role, &left) else { break };
            let Conversion { kind, resources, .. } = &conversion;
            self.next_number += 1;
            let id = self.rng.bool().then(|| OperationId::new(format!("op-{}", self.next_number)));
            if *kind == Kind::Reserve {
                left.add(resources);
            }
            self.outcome.conversions += 1;
            operations.push(Operation::Convert { name: kind.name(), conversion: Ok(conversion), id });
        }
        operations
    }

    /// What is reserved in the offer, if that is enough for a task, with the volumes there.
    pub(super) fn promised(offer: &Offer) -> Option<Resources> {
        let all = offer.resources.filter(|part| part.reserved_for() == Some(&offer.role));
        let cpus = Quantity::from_milli(500);
        let cpus = all.iter().find_map(|part| match part.value {
            Value::Scalar(has) if *part.name == *CPUS && has >= cpus => {
                Some(Resource { value: Value::Scalar(cpus), ..part.clone() })
            }
            _ => None,
        })?;
        let volumes = all.iter().filter(|part| part.disk.is_some()).cloned();
        Some(volumes.chain([cpus]).collect())
    }

    fn conversion(&mut self, role: &Role, left: &Resources) -> Option<Conversion> {
        let of = |kind, part: Resource| {
            let resources = [part].into_iter().collect();
            Some(Conversion { kind, resources, source: Resources::default() })
        };
        let is_volume = |part: &&Resource| part.disk.is_some();
        let is_reserved = |part: &&Resource| part.reserved_for() == Some(role) && part.disk.is_none();
        match self.rng.u8(..6) {
            0 => of(Kind::Destroy, left.iter().find(is_volume)?.clone()),
            1 => of(Kind::Unreserve, left.iter().find(is_reserved)?.clone()),
            2 | 3 => {
                let disk = left.iter().find(|part| is_reserved(part) && *part.name == *DISK)?.clone();
                self.next_number += 1;
                let units = VOLUME_UNITS * if self.rng.u8(..8) == 0 { 1_000 } else { 1 };
                let value = Value::Scalar(Quantity::from_units(units));
                let body = volume(self.next_number, Mode::Rw);
                of(Kind::Create, Resource { value, disk: Some(Arc::new(body)), ..disk })
            }
            _ => {
                let resources: Resources = RESERVED.parse().expect("resources");
                let layer =
                    Reservation { role: role.clone(), is_dynamic: true, principal: None, labels: Vec::new() };
                let reserved = resources.iter().map(|part| Resource {
                    reservations: vec![layer.clone()],
                    allocation: Some(role.clone()),
                    ..part.clone()
                });
                let resources = reserved.collect();
                Some(Conversion { kind: Kind::Reserve, resources, source: Resources::default() })
            }
        }
    }
}

/// A persistent volume with a name of its own.
fn volume(number: u64, mode: Mode) -> Disk {
    let id = format!("v{number}");
    let mut volume = v1::Volume { container_path: "data".into(), ..v1::Volume::default() };
    volume.set_mode(mode);
    let persistence = Some(disk_info::Persistence { id: id.clone(), principal: None });
    let info = DiskInfo { persistence, volume: Some(volume), ..DiskInfo::default() };
    Disk { persistence_id: Some(id.into()), is_indivisible: false, body: protobuf::encode(&info) }
}
