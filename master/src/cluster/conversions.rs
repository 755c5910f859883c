//! RESERVE, UNRESERVE, CREATE, DESTROY, GROW_VOLUME and SHRINK_VOLUME: what of an agent is turned into what, and whether that may be. Asked for by a
//! framework of what it was offered, or by an operator of what nobody uses. The texts are Mesos' (src/master/validation.cpp,
//! `operation::validate`).
//!
//! What an agent has is its own to keep: it is told of its new total, writes that down, and comes back with it. So a new
//! master learns from the agents who has reserved what, and the registry keeps nothing of it.

use super::agents::Agent;
use super::operations::Hand;
use super::validate::described;
use super::{Cluster, Turn};
use crate::allocator::event::{Event as ToAllocator, Refusal as Filter};
use api::convert::volume;
use api::refusal::Refusal;
use model::framework::{Capabilities, FrameworkInfo};
use model::id::{AgentId, OfferId};
use model::quantity::Quantity;
use model::resources::{Resource, Resources, Value};
use model::role::Role;
use std::collections::BTreeSet;
use std::sync::Arc;
use wire::message::ToAgent;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Reserve,
    Unreserve,
    Create,
    Destroy,
    Grow,
    Shrink,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    pub kind: Kind,
    /// As they are to be reserved, or are; the volumes that are to be, or are.
    pub resources: Resources,
    /// Of RESERVE: reserved for somebody else until now. Empty: as they are without the innermost reservation. Of a volume that
    /// grows or shrinks: the disk that comes to it or from it.
    pub source: Resources,
}

/// What is taken, and what is there instead.
#[derive(Debug, PartialEq, Eq)]
struct Swap {
    consumed: Resources,
    converted: Resources,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Reserve => "RESERVE",
            Self::Unreserve => "UNRESERVE",
            Self::Create => "CREATE",
            Self::Destroy => "DESTROY",
            Self::Grow => "GROW_VOLUME",
            Self::Shrink => "SHRINK_VOLUME",
        }
    }
}

impl Conversion {
    fn allocated_to(&self, role: &Role) -> Self {
        let mark = |resources: &Resources| super::operations::allocated(resources, role);
        Self { kind: self.kind, resources: mark(&self.resources), source: mark(&self.source) }
    }

    /// Whether it makes sense on its own account.
    fn swap(&self) -> Result<Swap, String> {
        let Self { kind, resources, source } = self;
        if resources.is_empty() {
            return Err("Invalid resources: Resource cannot be empty".to_owned());
        }
        if let Kind::Grow | Kind::Shrink = kind {
            return resized(*kind, resources, source);
        }
        let each = |check: &dyn Fn(&Resource) -> Result<(), String>| resources.iter().try_for_each(check);
        let other: Resources = match kind {
            Kind::Reserve | Kind::Unreserve => {
                each(&is_dynamic)?;
                resources.iter().map(without_innermost).collect()
            }
            _ => {
                each(&volume::check)?;
                resources.iter().map(volume::plain).collect()
            }
        };
        Ok(match kind {
            Kind::Reserve if source.is_empty() => Swap { consumed: other, converted: resources.clone() },
            Kind::Reserve => {
                same_amounts(source, resources)?;
                Swap { consumed: source.clone(), converted: resources.clone() }
            }
            Kind::Create => Swap { consumed: other, converted: resources.clone() },
            _ => Swap { consumed: resources.clone(), converted: other },
        })
    }

    /// Whether the framework may. `role`: what its offers are allocated to.
    fn check_framework(&self, framework: &FrameworkInfo, role: &Role) -> Result<(), String> {
        if let Some(other) =
            self.resources.iter().find_map(|part| part.allocation.as_ref().filter(|it| *it != role))
        {
            return Err(format!(
                "Invalid resources: they are allocated to role '{other}', and the offers to role '{role}'"
            ));
        }
        match self.kind {
            Kind::Reserve => self.resources.iter().try_for_each(|part| {
                let reserved = part.reserved_for().expect("checked: it is reserved");
                if reserved != role {
                    return Err(format!(
                        "A reserve operation was attempted for a resource with role '{reserved}', but the resource was \
                         allocated to role '{role}'"
                    ));
                }
                check_principal(part, framework.principal.as_deref())
            }),
            Kind::Create if self.resources.iter().any(|part| part.is_shared) => {
                if framework.capabilities.has(Capabilities::SHARED_RESOURCES) {
                    return Err("shared persistent volumes are not supported by this master".to_owned());
                }
                Err("Create volume operation has been attempted by a framework with no SHARED_RESOURCES capability".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether an operator may, who is of no role.
    fn check_operator(&self) -> Result<(), String> {
        if self.resources.iter().any(|part| part.allocation.is_some()) {
            return Err("A reserve operation was attempted with an allocated resource, but the operator API only allows \
                        reservations to be made to unallocated resources"
                .to_owned());
        }
        match self.kind {
            Kind::Create if self.resources.iter().any(|part| part.is_shared) => {
                Err("shared persistent volumes are not supported by this master".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// A volume with more or less of the disk that it is on; its content stays.
fn resized(kind: Kind, volume: &Resources, change: &Resources) -> Result<Swap, String> {
    let (field, doing, amount) = match kind {
        Kind::Grow => ("GrowVolume", "Growing", "The size of 'GrowVolume.addition' field"),
        _ => ("ShrinkVolume", "Shrinking", "Value of 'ShrinkVolume.subtract'"),
    };
    let mut volumes = volume.iter();
    let (Some(part), None) = (volumes.next(), volumes.next()) else {
        return Err(format!("Invalid resource in the '{field}.volume' field: one volume is expected"));
    };
    volume::check(part)
        .map_err(|why| format!("Invalid persistent volume in the '{field}.volume' field: {why}"))?;
    if part.is_shared {
        return Err(format!("{doing} a shared persistent volume is not supported"));
    }
    if part.disk.as_ref().is_some_and(|disk| disk.is_indivisible) {
        return Err(format!("{doing} a volume on a MOUNT disk is not supported"));
    }
    let mut changes = change.iter();
    let (Some(change), None) = (changes.next(), changes.next()) else {
        return Err(format!("{amount} must be greater than zero"));
    };
    let disk = volume::plain(part);
    if (Resource { value: disk.value.clone(), ..change.clone() }) != disk {
        return Err(format!("Incompatible resources in the '{field}.volume' and '{field}.addition' fields"));
    }
    let (Value::Scalar(has), Value::Scalar(by)) = (&part.value, &change.value) else {
        return Err(format!("Invalid resource in the '{field}.volume' field: disk is a scalar"));
    };
    let of = |amount: Quantity| Resource { value: Value::Scalar(amount), ..part.clone() };
    let both = |one: Resource| -> Resources { [one, change.clone()].into_iter().collect() };
    match kind {
        Kind::Grow => {
            Ok(Swap { consumed: both(part.clone()), converted: [of(*has + *by)].into_iter().collect() })
        }
        _ if by >= has => Err(format!("{amount} must be smaller than the size of 'ShrinkVolume.volume'")),
        _ => Ok(Swap { consumed: volume.clone(), converted: both(of(has.saturating_sub(*by))) }),
    }
}

fn is_dynamic(part: &Resource) -> Result<(), String> {
    let shown = || described(&[part.clone()].into_iter().collect());
    if part.reservations.last().is_none_or(|reservation| !reservation.is_dynamic) {
        return Err(format!("Resource {} is not dynamically reserved", shown()));
    }
    if part.is_revocable {
        return Err(format!(
            "Dynamically reserved resource {} cannot be created from revocable resources",
            shown()
        ));
    }
    match part.disk.as_ref().is_some_and(|disk| disk.persistence_id.is_some()) {
        true => Err(format!(
            "A dynamically reserved persistent volume {} cannot be unreserved directly. Please destroy the persistent \
             volume first then unreserve the resource",
            shown()
        )),
        false => Ok(()),
    }
}

fn without_innermost(part: &Resource) -> Resource {
    let mut part = part.clone();
    part.reservations.pop();
    part
}

/// Both are the same things, whoever they are reserved for; and each for one only.
fn same_amounts(source: &Resources, target: &Resources) -> Result<(), String> {
    for (what, resources) in [("source", source), ("resources", target)] {
        let mut stacks = resources.iter().map(|part| &part.reservations);
        let first = stacks.next();
        if stacks.any(|other| Some(other) != first) {
            return Err(format!(
                "Invalid {what}: Mixed reservations are not supported{}",
                described(resources)
            ));
        }
    }
    let free = |resources: &Resources| -> Resources {
        resources.iter().map(|part| Resource { reservations: Vec::new(), ..part.clone() }).collect()
    };
    let (source, target) = (free(source), free(target));
    if source == target {
        return Ok(());
    }
    Err(format!(
        "Source and target resources should refer to identical resource quantities: {} vs. {}",
        described(&source),
        described(&target)
    ))
}

/// Who has a principal reserves in its name.
fn check_principal(part: &Resource, principal: Option<&str>) -> Result<(), String> {
    let Some(principal) = principal else { return Ok(()) };
    let set = part.reservations.last().and_then(|reservation| reservation.principal.as_deref());
    match set {
        None => Err(format!(
            "A reserve operation was attempted by principal '{principal}', but there is a reserved resource in the \
             request with no principal set"
        )),
        Some(set) if set != principal => Err(format!(
            "A reserve operation was attempted by authenticated principal '{principal}', which does not match a \
             reserved resource in the request with principal '{set}'"
        )),
        Some(_) => Ok(()),
    }
}

/// A volume's name is its role's on that agent.
fn unique_volumes(has: &Resources, new: &Resources) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for part in has.iter().chain(new.iter()) {
        let Some(id) = part.disk.as_ref().and_then(|disk| disk.persistence_id.clone()) else { continue };
        if !seen.insert((part.reserved_for().cloned(), id.clone())) {
            return Err(format!("Persistence ID '{id}' is not unique"));
        }
    }
    Ok(())
}

impl Agent {
    /// What it will have; nothing is changed.
    fn total_after(&self, swap: &Swap, kind: Kind) -> Result<Resources, String> {
        let (consumed, converted) = (swap.consumed.unallocated(), swap.converted.unallocated());
        if kind == Kind::Create {
            unique_volumes(&self.info.total, &converted)?;
        }
        let Some(mut total) = self.info.total.checked_sub(&consumed) else {
            let (has, name) = (described(&self.info.total), kind.name());
            return Err(format!("Invalid {name} Operation: {has} does not contain {}", described(&consumed)));
        };
        total.add(&converted);
        Ok(total)
    }

    /// It has that now, and is to write it down.
    fn turn_into(&mut self, total: Resources, turn: &mut Turn<'_>) {
        Arc::make_mut(&mut self.info).total.clone_from(&total);
        turn.agent(self.session.expect("checked: it is connected"), ToAgent::UpdateTotal { total });
    }
}

impl Cluster {
    /// By a framework, out of what is left in hand, which has the result instead.
    pub(super) fn convert(
        &mut self,
        hand: &mut Hand,
        conversion: &Conversion,
        turn: &mut Turn<'_>,
    ) -> Result<(), String> {
        let conversion = conversion.allocated_to(&hand.role);
        let swap = conversion.swap()?;
        let framework = self.frameworks.get(&hand.framework_id).expect("the caller is subscribed");
        conversion.check_framework(&framework.info, &hand.role)?;
        let Some(mut left) = hand.left.checked_sub(&swap.consumed) else {
            return Err(format!(
                "Invalid {} Operation: {} does not contain {}",
                conversion.kind.name(),
                described(&hand.left),
                described(&swap.consumed)
            ));
        };
        let framework = framework.key;
        let agent = self.agents.get_mut(&hand.agent_id).expect("an offer's agent is registered");
        let total = agent.total_after(&swap, conversion.kind)?;
        agent.turn_into(total, turn);
        let Swap { consumed, converted } = swap;
        left.add(&converted);
        hand.left = left;
        turn.allocator(ToAllocator::Convert { framework, agent: agent.key, consumed, converted });
        Ok(())
    }

    /// By an operator, out of what no task uses. Offers that stand against it are taken back.
    pub(super) fn convert_for_operator(
        &mut self,
        agent_id: &AgentId,
        conversion: &Conversion,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let invalid = |why: String| {
            Refusal::Bad(format!("Invalid {} operation on agent {agent_id}: {why}", conversion.kind.name()))
        };
        let swap = conversion.check_operator().and_then(|()| conversion.swap()).map_err(invalid)?;
        let agent = self.agents.get(agent_id).filter(|agent| agent.session.is_some());
        let agent = agent.ok_or_else(|| Refusal::Bad("No agent found with specified ID".to_owned()))?;
        let total = agent.total_after(&swap, conversion.kind).map_err(invalid)?;
        let mut free = agent.info.total.saturating_sub(&agent.used.unallocated());
        if !free.contains(&swap.consumed) {
            let why = format!(
                "Invalid {} Operation: {} does not contain {}",
                conversion.kind.name(),
                described(&free),
                described(&swap.consumed)
            );
            return Err(Refusal::Conflict(why));
        }
        free = free.saturating_sub(&agent.offered.unallocated());
        let meant: Vec<(OfferId, Resources)> =
            agent.offers.values().map(|offer| (offer.id.clone(), offer.resources.unallocated())).collect();
        for (id, resources) in meant {
            if free.contains(&swap.consumed) {
                break;
            }
            if swap.consumed.saturating_sub(&resources) != swap.consumed {
                free.add(&resources);
                self.rescind(&id, Filter::None, turn);
            }
        }
        let agent = self.agents.get_mut(agent_id).expect("looked up above");
        agent.turn_into(total, turn);
        let total = agent.total();
        // What the allocator has on its way to us is of what there was.
        agent.is_contested = true;
        turn.allocator(ToAllocator::UpdateAgent { agent: agent.key, total });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::resources::Reservation;

    fn resources(text: &str) -> Resources {
        text.parse().expect("resources")
    }

    /// Reserved dynamically, on top of what they are reserved already.
    fn reserved(text: &str, role: &str) -> Resources {
        let role = Role::parse(role).expect("a role");
        let layer = Reservation { role, is_dynamic: true, principal: None, labels: Vec::new() };
        let reserve = |mut part: Resource| {
            part.reservations.push(layer.clone());
            part
        };
        resources(text).into_iter().map(reserve).collect()
    }

    fn framework() -> FrameworkInfo {
        api::convert::framework::from_v1(&api::v1::FrameworkInfo::default()).expect("a framework")
    }

    fn of(kind: Kind, resources: Resources) -> Conversion {
        Conversion { kind, resources, source: Resources::default() }
    }

    #[test]
    fn a_reservation_is_made_of_what_is_not_reserved_and_becomes_that_again() {
        let (free, eng) = (resources("cpus:2;mem:64"), reserved("cpus:2;mem:64", "eng"));
        let made = of(Kind::Reserve, eng.clone()).swap().expect("a swap");
        assert_eq!(made, Swap { consumed: free.clone(), converted: eng.clone() });
        let undone = of(Kind::Unreserve, eng.clone()).swap().expect("a swap");
        assert_eq!(undone, Swap { consumed: eng.clone(), converted: free });
        // A refined one is made of the role's that it refines.
        let refined: Resources = eng
            .iter()
            .cloned()
            .map(|mut part| {
                let role = Role::parse("eng/web").expect("a role");
                part.reservations.push(Reservation {
                    role,
                    is_dynamic: true,
                    principal: None,
                    labels: Vec::new(),
                });
                part
            })
            .collect();
        assert_eq!(of(Kind::Reserve, refined).swap().expect("a swap").consumed, eng);
        // From one role to another.
        let moved = Conversion { source: eng.clone(), ..of(Kind::Reserve, reserved("cpus:2;mem:64", "ops")) };
        assert_eq!(moved.swap().expect("a swap").consumed, eng);
    }

    #[test]
    fn what_is_no_conversion_is_told_why() {
        let told = |conversion: Conversion| conversion.swap().expect_err("a refusal");
        assert!(told(of(Kind::Reserve, resources("cpus:1"))).ends_with("is not dynamically reserved"));
        assert!(told(of(Kind::Unreserve, resources("cpus(eng):1"))).ends_with("is not dynamically reserved"));
        assert!(told(of(Kind::Reserve, Resources::default())).contains("cannot be empty"));
        assert!(told(of(Kind::Create, reserved("disk:1", "eng"))).contains("does not have DiskInfo"));
        let more =
            Conversion { source: reserved("cpus:1", "eng"), ..of(Kind::Reserve, reserved("cpus:2", "ops")) };
        assert!(told(more).contains("identical resource quantities"));
        let other = of(Kind::Reserve, reserved("cpus:1", "ops"));
        let eng = Role::parse("eng").expect("a role");
        let why = other.allocated_to(&eng).check_framework(&framework(), &eng);
        assert!(why.expect_err("a refusal").contains("was allocated to role 'eng'"));
        assert!(check_principal(other.resources.iter().next().expect("one"), Some("me")).is_err());
    }

    /// Disk of eng's with a volume on it, or without.
    fn disk(mib: u32, id: Option<&str>) -> Resources {
        use api::convert::resources::{Format, part_from_v1, part_to_v1};
        use api::v1;
        let part = reserved(&format!("disk:{mib}"), "eng").into_iter().next().expect("one");
        let mut sent = part_to_v1(&part, Format::PLAIN);
        sent.disk = id.map(|id| v1::resource::DiskInfo {
            persistence: Some(v1::resource::disk_info::Persistence { id: id.into(), principal: None }),
            volume: Some(v1::Volume {
                container_path: "data".into(),
                mode: v1::volume::Mode::Rw as i32,
                ..v1::Volume::default()
            }),
            ..v1::resource::DiskInfo::default()
        });
        [part_from_v1(&sent).expect("a resource")].into_iter().collect()
    }

    #[test]
    fn volumes_grow_and_shrink_by_the_disk_that_they_are_on() {
        let resize = |kind, volume: &Resources, source: &Resources| {
            Conversion { kind, resources: volume.clone(), source: source.clone() }.swap()
        };
        let (small, large, more) = (disk(40, Some("v")), disk(60, Some("v")), disk(20, None));
        let both = |one: &Resources| one.iter().chain(more.iter()).cloned().collect::<Resources>();
        let grown = Swap { consumed: both(&small), converted: large.clone() };
        assert_eq!(resize(Kind::Grow, &small, &more), Ok(grown));
        let shrunk = Swap { consumed: large.clone(), converted: both(&small) };
        assert_eq!(resize(Kind::Shrink, &large, &more), Ok(shrunk));
        for (kind, volume, source, says) in [
            (Kind::Grow, &more, &more, "Invalid persistent volume in the 'GrowVolume.volume' field"),
            (Kind::Grow, &small, &resources("disk:20"), "Incompatible resources"),
            (Kind::Grow, &small, &Resources::default(), "must be greater than zero"),
            (
                Kind::Shrink,
                &small,
                &Resources::default(),
                "'ShrinkVolume.subtract' must be greater than zero",
            ),
            (Kind::Shrink, &small, &disk(40, None), "must be smaller than the size of 'ShrinkVolume.volume'"),
        ] {
            let why = resize(kind, volume, source).expect_err(says);
            assert!(why.contains(says), "{why}");
        }
        let shared = small.iter().map(|part| Resource { is_shared: true, ..part.clone() }).collect();
        let why = resize(Kind::Grow, &shared, &more).expect_err("shared");
        assert_eq!(why, "Growing a shared persistent volume is not supported");
    }
}
