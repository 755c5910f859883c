//! Resources one by one, and by whom they are reserved for.

use super::each::{Each, Pairs};
use crate::convert::resources::{Format, part_to_v1};
use crate::json;
use model::resources::{Resource, Resources};
use model::role::Role;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Those that anybody may use.
pub fn unreserved(total: &Resources) -> impl Iterator<Item = &Resource> {
    total.iter().filter(|part| part.reservations.is_empty())
}

/// By the role that may use them.
pub fn reserved(total: &Resources) -> BTreeMap<&Role, Vec<&Resource>> {
    let mut roles: BTreeMap<&Role, Vec<&Resource>> = BTreeMap::new();
    for part in total.iter() {
        if let Some(role) = part.reserved_for() {
            roles.entry(role).or_default().push(part);
        }
    }
    roles
}

fn full(part: &Resource) -> json::Encoded {
    json::value(&part_to_v1(part, Format::OPERATOR))
}

/// A list of them with all that is known of each; for `serialize_with`.
pub fn in_full<S: Serializer>(parts: &[&Resource], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(parts.iter().map(|part| full(part)))
}

/// Lists like those of [`in_full`], by role.
pub fn by_role<S: Serializer>(
    roles: &BTreeMap<&Role, Vec<&Resource>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let lists =
        roles.iter().map(|(role, parts)| (role.as_str(), Each(|| parts.iter().map(|part| full(part)))));
    Pairs(|| lists.clone()).serialize(serializer)
}
