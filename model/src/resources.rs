//! Resources: what agents have, offers carry, and tasks use. A multiset with addition and subtraction.
//!
//! Two resources *add* when all but their amounts agree (name, role stack, disk, revocable, shared, allocation). Shared
//! resources never merge: each copy counts. The order of the parts is that of first appearance, so that what a
//! framework is shown is stable; equality ignores it.

use crate::quantity::Quantity;
use crate::ranges::Ranges;
use crate::role::Role;
use std::collections::BTreeSet;
use std::sync::Arc;

pub const CPUS: &str = "cpus";
pub const MEM: &str = "mem";
pub const DISK: &str = "disk";
pub const GPUS: &str = "gpus";
pub const PORTS: &str = "ports";

/// An amount of something. The kind (scalar, ranges, set) belongs to the name for the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    Scalar(Quantity),
    Ranges(Ranges),
    Set(BTreeSet<Arc<str>>),
}

impl Value {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(amount) => amount.is_zero(),
            Self::Ranges(ranges) => ranges.is_empty(),
            Self::Set(items) => items.is_empty(),
        }
    }

    /// False when the kinds differ.
    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => a >= b,
            (Self::Ranges(a), Self::Ranges(b)) => a.contains(b),
            (Self::Set(a), Self::Set(b)) => a.is_superset(b),
            _ => false,
        }
    }

    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => *a += *b,
            (Self::Ranges(a), Self::Ranges(b)) => *a = a.union(b),
            (Self::Set(a), Self::Set(b)) => a.extend(b.iter().cloned()),
            _ => {}
        }
    }

    /// What is left; what `other` has beyond `self` is ignored.
    fn subtract(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => *a = a.saturating_sub(*b),
            (Self::Ranges(a), Self::Ranges(b)) => *a = a.difference(b),
            (Self::Set(a), Self::Set(b)) => a.retain(|item| !b.contains(item)),
            _ => {}
        }
    }

    fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// One layer of a reservation; a stack of them refines from role to subrole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reservation {
    pub role: Role,
    /// Static: given by the agent's flags. Dynamic: made by a RESERVE.
    pub is_dynamic: bool,
    pub principal: Option<Arc<str>>,
    pub labels: Vec<(Arc<str>, Option<Arc<str>>)>,
}

/// What kind of disk, and whether it holds a persistent volume. The encoded v1 `DiskInfo` is its identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    pub persistence_id: Option<Arc<str>>,
    /// Disk sources such as a mount or a raw block are whole: they are used or not, never split.
    pub is_indivisible: bool,
    pub body: bytes::Bytes,
}

/// One resource: a name, an amount, and everything that sets it apart from others of that name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    pub name: Arc<str>,
    pub value: Value,
    /// Whom it is allocated to; set in offers and in what tasks use.
    pub allocation: Option<Role>,
    /// Outermost first; empty means unreserved.
    pub reservations: Vec<Reservation>,
    pub disk: Option<Arc<Disk>>,
    pub is_revocable: bool,
    pub is_shared: bool,
    pub provider_id: Option<Arc<str>>,
}

impl Resource {
    pub fn scalar(name: &str, amount: Quantity) -> Self {
        Self::new(name, Value::Scalar(amount))
    }

    pub fn new(name: &str, value: Value) -> Self {
        Self {
            name: Arc::from(name),
            value,
            allocation: None,
            reservations: Vec::new(),
            disk: None,
            is_revocable: false,
            is_shared: false,
            provider_id: None,
        }
    }

    /// The role that may use it: the innermost reservation's, or `None` when anyone may.
    pub fn reserved_for(&self) -> Option<&Role> {
        self.reservations.last().map(|reservation| &reservation.role)
    }

    /// Whether the two differ in nothing but the amount.
    fn same_stuff(&self, other: &Self) -> bool {
        self.name == other.name
            && self.value.same_kind(&other.value)
            && self.allocation == other.allocation
            && self.reservations == other.reservations
            && self.disk == other.disk
            && self.is_revocable == other.is_revocable
            && self.is_shared == other.is_shared
            && self.provider_id == other.provider_id
    }

    /// Whether amounts of it may be cut and joined. A volume or a whole disk is all or nothing; so is a shared resource.
    fn is_divisible(&self) -> bool {
        !self.is_shared && self.disk.as_ref().is_none_or(|d| d.persistence_id.is_none() && !d.is_indivisible)
    }

    fn contains(&self, other: &Self) -> bool {
        self.same_stuff(other)
            && if self.is_divisible() { self.value.contains(&other.value) } else { self.value == other.value }
    }
}

/// A multiset of resources, kept merged and without empty parts. Cloning it costs one count: the parts are shared until one
/// of the clones changes (the allocator hands the same resources to thousands, and gets them back as they were).
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// `None` is empty.
    shared: Option<Arc<Vec<Resource>>>,
}

impl PartialEq for Resources {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.contains(other) && other.contains(self)
    }
}

impl Eq for Resources {}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(parts: I) -> Self {
        let parts = parts.into_iter();
        let mut all = Vec::with_capacity(parts.size_hint().0);
        parts.for_each(|part| push(&mut all, part));
        Self::of_parts(all)
    }
}

/// The parts, in their order.
impl IntoIterator for Resources {
    type Item = Resource;
    type IntoIter = std::vec::IntoIter<Resource>;

    fn into_iter(self) -> Self::IntoIter {
        let parts =
            self.shared.map(|shared| Arc::try_unwrap(shared).unwrap_or_else(|shared| (*shared).clone()));
        parts.unwrap_or_default().into_iter()
    }
}

impl Resources {
    pub const EMPTY: Self = Self { shared: None };

    /// From parts that are known to be alike in nothing, and not empty: none has to be compared with the others.
    pub fn of_distinct(parts: Vec<Resource>) -> Self {
        debug_assert!(parts.iter().all(|part| !part.value.is_empty()));
        debug_assert_eq!(parts.iter().cloned().collect::<Self>().parts().len(), parts.len());
        Self::of_parts(parts)
    }

    fn of_parts(parts: Vec<Resource>) -> Self {
        Self { shared: (!parts.is_empty()).then(|| Arc::new(parts)) }
    }

    fn parts(&self) -> &[Resource] {
        self.shared.as_ref().map_or(&[], |shared| shared.as_slice())
    }

    /// Its own copy of the parts, if they are shared.
    fn parts_mut(&mut self) -> &mut Vec<Resource> {
        Arc::make_mut(self.shared.get_or_insert_default())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.parts().iter()
    }

    pub fn is_empty(&self) -> bool {
        self.parts().is_empty()
    }

    /// Whether one is a clone of the other and neither has changed: equal, and found so without a look at the parts.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.shared, &other.shared) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            (mine, theirs) => mine.is_none() && theirs.is_none(),
        }
    }

    /// The sum over all parts of that name; zero for other kinds.
    pub fn scalar(&self, name: &str) -> Quantity {
        let amount = |part: &Resource| match part.value {
            Value::Scalar(amount) if &*part.name == name => Some(amount),
            _ => None,
        };
        self.parts().iter().filter_map(amount).sum()
    }

    /// Every number offered under that name.
    pub fn ranges(&self, name: &str) -> Ranges {
        let named = self.parts().iter().filter(|part| &*part.name == name);
        named.fold(Ranges::default(), |all, part| match &part.value {
            Value::Ranges(ranges) => all.union(ranges),
            _ => all,
        })
    }

    pub fn add_part(&mut self, part: &Resource) {
        if part.value.is_empty() {
            return;
        }
        let parts = self.parts_mut();
        match alike(parts, part) {
            Some(mine) => mine.value.add(&part.value),
            None => parts.push(part.clone()),
        }
    }

    pub fn add(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
        } else {
            other.parts().iter().for_each(|part| self.add_part(part));
        }
    }

    /// Whether all of `other` can be taken out of `self` at once.
    pub fn contains(&self, other: &Self) -> bool {
        self.checked_sub(other).is_some()
    }

    /// What is left, or `None` when `other` is not contained: nothing is taken in part.
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        let mut left = self.clone();
        for part in other.parts() {
            let at = left.parts().iter().position(|mine| mine.contains(part))?;
            left.take(at, part);
        }
        Some(left)
    }

    /// Takes out what of `other` is there, leaving out what is not.
    pub fn saturating_sub(&self, other: &Self) -> Self {
        let mut left = self.clone();
        for part in other.parts() {
            let same =
                |mine: &Resource| if part.is_divisible() { mine.same_stuff(part) } else { mine == part };
            if let Some(at) = left.parts().iter().position(same) {
                left.take(at, part);
            }
        }
        left
    }

    fn take(&mut self, at: usize, part: &Resource) {
        let parts = self.parts_mut();
        parts[at].value.subtract(&part.value);
        if parts[at].value.is_empty() {
            parts.remove(at);
        }
    }

    /// The same resources, each marked as allocated to `role`.
    pub fn allocated_to(&self, role: &Role) -> Self {
        self.with_allocation(Some(role))
    }

    /// The same resources with no allocation marks: as the agent has them.
    pub fn unallocated(&self) -> Self {
        self.with_allocation(None)
    }

    /// The same resources as they may be lent out: each part may be taken back.
    pub fn revocable(&self) -> Self {
        self.parts().iter().map(|part| Resource { is_revocable: true, ..part.clone() }).collect()
    }

    fn with_allocation(&self, role: Option<&Role>) -> Self {
        let mark = |part: &Resource| Resource { allocation: role.cloned(), ..part.clone() };
        self.parts().iter().map(mark).collect()
    }

    /// The parts for which `keep` holds.
    pub fn filter(&self, keep: impl Fn(&Resource) -> bool) -> Self {
        if self.parts().iter().all(&keep) {
            return self.clone();
        }
        Self::of_parts(self.parts().iter().filter(|part| keep(part)).cloned().collect())
    }
}

/// The part into which another merges, if there is one.
fn alike<'a>(parts: &'a mut [Resource], part: &Resource) -> Option<&'a mut Resource> {
    parts.iter_mut().find(|mine| part.is_divisible() && mine.same_stuff(part))
}

fn push(parts: &mut Vec<Resource>, part: Resource) {
    match alike(parts, &part) {
        Some(mine) => mine.value.add(&part.value),
        None if part.value.is_empty() => {}
        None => parts.push(part),
    }
}

/// Mesos' text form: `cpus:4; mem:1024; ports:[31000-32000]`, reserved parts as `cpus(eng):4`.
impl std::fmt::Display for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, part) in self.parts().iter().enumerate() {
            let comma = if i > 0 { "; " } else { "" };
            write!(f, "{comma}{}", part.name)?;
            if let Some(role) = part.reserved_for() {
                write!(f, "({role})")?;
            }
            if part.is_revocable {
                write!(f, "{{REV}}")?;
            }
            match &part.value {
                Value::Scalar(amount) => write!(f, ":{amount}")?,
                Value::Ranges(ranges) => write!(f, ":{ranges}")?,
                Value::Set(items) => {
                    let items: Vec<_> = items.iter().map(|item| &**item).collect();
                    write!(f, ":{{{}}}", items.join(", "))?;
                }
            }
        }
        Ok(())
    }
}

/// A text that is not resources, and where it goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadResources {
    pub part: String,
    pub why: &'static str,
}

impl std::fmt::Display for BadResources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "'{}' is not a resource: {} (such as 'cpus:4;mem:1024;ports:[31000-32000]')",
            self.part, self.why
        )
    }
}

impl std::error::Error for BadResources {}

/// Mesos' text form, as in `--resources`. `name(role):value` is a static reservation.
impl std::str::FromStr for Resources {
    type Err = BadResources;

    fn from_str(text: &str) -> Result<Self, BadResources> {
        text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(parse_part).collect()
    }
}

fn parse_part(part: &str) -> Result<Resource, BadResources> {
    let bad = |why| BadResources { part: part.to_owned(), why };
    let (name, value) = part.split_once(':').ok_or_else(|| bad("no ':' between name and amount"))?;
    let (name, role) = match name.trim().strip_suffix(')').map(|name| name.split_once('(')) {
        Some(Some((name, role))) => (name, Some(role)),
        Some(None) => return Err(bad("')' without '('")),
        None => (name.trim(), None),
    };
    if name.is_empty() {
        return Err(bad("no name before the ':'"));
    }
    let mut resource = Resource::new(name, parse_value(value.trim()).map_err(bad)?);
    match role.map(Role::parse) {
        Some(Ok(role)) if !role.is_star() => {
            resource.reservations =
                vec![Reservation { role, is_dynamic: false, principal: None, labels: Vec::new() }];
        }
        Some(Err(_)) => return Err(bad("the role in parentheses is not one")),
        _ => {}
    }
    Ok(resource)
}

fn parse_value(text: &str) -> Result<Value, &'static str> {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let pair = |part: &str| {
            let (begin, end) = part.split_once('-').ok_or("a range is BEGIN-END")?;
            let number =
                |text: &str| text.trim().parse::<u64>().map_err(|_| "a range's ends are whole numbers");
            let (begin, end) = (number(begin)?, number(end)?);
            if begin > end { Err("a range begins after its end") } else { Ok((begin, end)) }
        };
        let pairs: Result<Vec<_>, _> =
            inner.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect();
        return Ok(Value::Ranges(Ranges::new(pairs?)));
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
        return Ok(Value::Set(items.map(Arc::from).collect()));
    }
    text.parse().map(Value::Scalar).map_err(|_| "the amount is not a number, a [range] or a {set}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(text: &str) -> Resources {
        text.parse().expect("a resource text")
    }

    #[test]
    fn what_is_taken_and_given_back_leaves_nothing_missing() {
        let total = r("cpus:4;mem:1024;ports:[31000-32000];zones:{a,b}");
        let taken = r("cpus:0.1;mem:32;ports:[31005-31006];zones:{b}");
        let mut left = total.checked_sub(&taken).expect("contained");
        assert_eq!(left.to_string(), "cpus:3.9; mem:992; ports:[31000-31004, 31007-32000]; zones:{a}");
        assert!(!left.contains(&taken), "the ports and zone are gone");
        left.add(&taken);
        assert_eq!(left, total);
    }

    #[test]
    fn subtraction_is_all_or_nothing() {
        assert_eq!(r("cpus:4;mem:10").checked_sub(&r("cpus:1;mem:11")), None);
        assert_eq!(r("cpus:4").checked_sub(&r("gpus:1")), None);
        assert_eq!(r("cpus:4;mem:10").saturating_sub(&r("cpus:1;mem:11")), r("cpus:3"));
    }

    #[test]
    fn reserved_cpus_are_not_anyones_cpus() {
        let both = r("cpus(eng):2;cpus:1");
        assert!(!both.contains(&r("cpus:2")));
        assert!(both.contains(&r("cpus(eng):2")));
        assert_eq!(both.scalar(CPUS), Quantity::from_units(3));
    }

    #[test]
    fn allocation_marks_keep_roles_apart_and_come_off() {
        let eng = Role::parse("eng").expect("a role");
        let offered = r("cpus:1;mem:5").allocated_to(&eng);
        assert_ne!(offered, r("cpus:1;mem:5"));
        assert_eq!(offered.unallocated(), r("cpus:1;mem:5"));
    }

    #[test]
    fn a_volume_is_whole_and_a_shared_one_counts_each_copy() {
        let disk =
            Disk { persistence_id: Some("v".into()), is_indivisible: false, body: bytes::Bytes::new() };
        let mut volume = Resource::scalar(DISK, Quantity::from_units(10));
        volume.disk = Some(Arc::new(disk));
        let mut part = volume.clone();
        part.value = Value::Scalar(Quantity::from_units(4));
        let have: Resources = [volume.clone()].into_iter().collect();
        assert!(!have.contains(&[part].into_iter().collect()), "cut from a volume");
        volume.is_shared = true;
        let twice: Resources = [volume.clone(), volume.clone()].into_iter().collect();
        assert_eq!(twice.iter().count(), 2);
        assert!(!Resources::from_iter([volume]).contains(&twice));
    }

    #[test]
    fn bad_texts_say_what_is_wrong() {
        for (text, why) in [
            ("cpus", "no ':'"),
            ("cpus:x", "not a number"),
            (":4", "no name"),
            ("ports:[9-1]", "begins after"),
            ("cpus(a b):1", "role"),
        ] {
            let error = text.parse::<Resources>().expect_err(text).to_string();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
    }
}
