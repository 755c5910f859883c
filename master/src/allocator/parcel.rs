//! Resources as the allocator computes with them: the plain scalars and ports that nearly every agent has in columns,
//! all else (reserved, revocable, shared, disks, sets, named scalars) in `rest`. Converts from and to
//! [`Resources`] at the edges; in between no name is compared and no allocation mark carried.

use super::quantities::{COLUMN_COUNT, Quantities, Scalar, column};
use super::quota;
use model::quantity::Quantity;
use model::ranges::Ranges;
use model::resources::{CPUS, DISK, GPUS, MEM, PORTS, Resource, Resources, Value};
use model::role::Role;
use std::sync::Arc;

/// A multiset of resources without allocation marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parcel {
    /// Unreserved, not revocable, of no provider.
    plain: [Quantity; COLUMN_COUNT],
    /// Likewise.
    ports: Ranges,
    rest: Resources,
}

/// Nothing.
static EMPTY: Parcel =
    Parcel { plain: [Quantity::ZERO; COLUMN_COUNT], ports: Ranges::EMPTY, rest: Resources::EMPTY };

/// A parcel shared by all who have the same: agents of one make, their offers and their refusals.
pub(super) type Stock = Arc<Parcel>;

impl Parcel {
    pub(super) fn empty() -> &'static Self {
        &EMPTY
    }

    /// Allocation marks are dropped.
    pub(super) fn from_resources(resources: Resources) -> Self {
        let mut parcel = Self::default();
        for part in resources {
            match (place(&part), part.value) {
                (Place::Column(column), Value::Scalar(amount)) => parcel.plain[column] += amount,
                (Place::Ports, Value::Ranges(ranges)) if parcel.ports.is_empty() => parcel.ports = ranges,
                (Place::Ports, Value::Ranges(ranges)) => parcel.ports = parcel.ports.union(&ranges),
                (_, value) => parcel.rest.add_part(&Resource { value, allocation: None, ..part }),
            }
        }
        parcel
    }

    /// In the order cpus, mem, disk, gpus, ports, then the rest as it came.
    pub(super) fn to_resources(&self, role: &Role, names: &Names) -> Resources {
        let mark = |name: &Arc<str>, value| Resource {
            name: name.clone(),
            value,
            allocation: Some(role.clone()),
            reservations: Vec::new(),
            disk: None,
            is_revocable: false,
            is_shared: false,
            provider_id: None,
        };
        let mut parts = Vec::with_capacity(COLUMN_COUNT + 1 + self.rest.iter().count());
        for (name, amount) in names.columns.iter().zip(self.plain) {
            if !amount.is_zero() {
                parts.push(mark(name, Value::Scalar(amount)));
            }
        }
        if !self.ports.is_empty() {
            parts.push(mark(&names.ports, Value::Ranges(self.ports.clone())));
        }
        let rest = self.rest.iter();
        parts.extend(rest.map(|part| Resource { allocation: Some(role.clone()), ..part.clone() }));
        Resources::of_distinct(parts)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plain.iter().all(|amount| amount.is_zero()) && self.ports.is_empty() && self.rest.is_empty()
    }

    /// What is not in columns.
    pub(super) fn rest(&self) -> &Resources {
        &self.rest
    }

    /// The same without those parts of the rest for which `keep` is false.
    pub(super) fn with_rest(&self, keep: impl Fn(&Resource) -> bool) -> Self {
        Self { plain: self.plain, ports: self.ports.clone(), rest: self.rest.filter(keep) }
    }

    /// No more than that: of the columns, as many ports, the lowest first, and what `cap_rest` leaves of each other part.
    pub(super) fn at_most(
        &self,
        caps: [Quantity; COLUMN_COUNT],
        port_count: u64,
        cap_rest: impl Fn(&Resource) -> Resource,
    ) -> Self {
        let plain = std::array::from_fn(|column| self.plain[column].min(caps[column]));
        let mut left = port_count;
        let mut ports = Vec::new();
        for &(begin, end) in self.ports.pairs() {
            if left == 0 {
                break;
            }
            let last = end.min(begin.saturating_add(left - 1));
            left -= last - begin + 1;
            ports.push((begin, last));
        }
        let rest = self.rest.iter().map(cap_rest).collect();
        Self { plain, ports: Ranges::new(ports), rest }
    }

    pub(super) fn ports(&self) -> &Ranges {
        &self.ports
    }

    /// The sum of that scalar over all parts, plain or not.
    pub(super) fn amount(&self, scalar: Scalar<'_>) -> Quantity {
        match scalar {
            Scalar::Column(column) => self.scalar(column),
            Scalar::Named(name) => self.rest.scalar(name),
        }
    }

    /// Of what is in columns alone.
    pub(super) fn plain(&self, column: usize) -> Quantity {
        self.plain[column]
    }

    /// Whether the columns hold anything, ports included.
    pub(super) fn has_plain(&self) -> bool {
        self.plain.iter().any(|amount| !amount.is_zero()) || !self.ports.is_empty()
    }

    /// Likewise, by column.
    pub(super) fn scalar(&self, at: usize) -> Quantity {
        let plain = self.plain[at];
        if self.rest.is_empty() { plain } else { plain + self.rest.scalar(super::quantities::COLUMNS[at]) }
    }

    /// What quota speaks of: see [`quota::is_quotable`].
    pub(super) fn quotable(&self) -> Quantities {
        let mut sums = Quantities::of_columns(self.plain);
        for part in self.rest.iter().filter(|part| quota::is_quotable(part)) {
            if let Value::Scalar(amount) = part.value {
                sums.add_named(&part.name, amount);
            }
        }
        sums
    }

    /// Takes at least so much of what quota speaks of out of it; more where it would have to cut what is whole.
    pub(super) fn cut(&mut self, scalar: Scalar<'_>, amount: Quantity) {
        let mut left = amount;
        if let Scalar::Column(column) = scalar {
            let plain = &mut self.plain[column];
            (*plain, left) = (plain.saturating_sub(left), left.saturating_sub(*plain));
        }
        if left.is_zero() {
            return;
        }
        let mut kept = Vec::new();
        for part in std::mem::take(&mut self.rest) {
            let is_meant = quota::is_quotable(&part) && *part.name == *scalar.name();
            match part.value {
                Value::Scalar(amount) if is_meant && !left.is_zero() => {
                    let is_whole = part.disk.is_some() || part.is_shared;
                    let rest = if is_whole { Quantity::ZERO } else { amount.saturating_sub(left) };
                    left = left.saturating_sub(amount);
                    if !rest.is_zero() {
                        kept.push(Resource { value: Value::Scalar(rest), ..part });
                    }
                }
                _ => kept.push(part),
            }
        }
        self.rest = Resources::of_distinct(kept);
    }

    /// The scalars that are reserved, and for whom.
    pub(super) fn reserved(&self) -> Vec<(Role, Quantities)> {
        let reserved = self.rest.iter().filter_map(|part| match part.value {
            Value::Scalar(amount) => {
                let mut amounts = Quantities::default();
                amounts.add_named(&part.name, amount);
                Some((part.reserved_for()?.clone(), amounts))
            }
            _ => None,
        });
        reserved.collect()
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        self.plain.iter().zip(&other.plain).all(|(mine, theirs)| mine >= theirs)
            && (other.ports.is_empty() || self.ports.contains(&other.ports))
            && (other.rest.is_empty() || self.rest.contains(&other.rest))
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.plain.iter_mut().zip(&other.plain).for_each(|(mine, theirs)| *mine += *theirs);
        add_ranges(&mut self.ports, &other.ports);
        if !other.rest.is_empty() {
            self.rest.add(&other.rest);
        }
    }

    /// Takes `other` out; what of it is not there is left out. To be sure of it all, ask [`Self::contains`] first.
    pub(super) fn subtract(&mut self, other: &Self) {
        let columns = self.plain.iter_mut().zip(&other.plain);
        columns.for_each(|(mine, theirs)| *mine = mine.saturating_sub(*theirs));
        if self.ports == other.ports {
            self.ports = Ranges::default();
        } else if !other.ports.is_empty() {
            self.ports = self.ports.difference(&other.ports);
        }
        if !other.rest.is_empty() {
            self.rest = self.rest.saturating_sub(&other.rest);
        }
    }

    /// Amounts of every scalar, whatever it is reserved for or may be revoked.
    pub(super) fn quantities(&self) -> Quantities {
        let mut sums = Quantities::of_columns(self.plain);
        for part in self.rest.iter() {
            if let Value::Scalar(amount) = part.value {
                sums.add_named(&part.name, amount);
            }
        }
        sums
    }
}

/// Names as they stand in [`Resource`], made once.
pub(super) struct Names {
    columns: [Arc<str>; COLUMN_COUNT],
    ports: Arc<str>,
}

impl Default for Names {
    fn default() -> Self {
        Self { columns: [CPUS, MEM, DISK, GPUS].map(Arc::from), ports: Arc::from(PORTS) }
    }
}

/// Where a part belongs.
enum Place {
    Column(usize),
    Ports,
    Rest,
}

fn place(part: &Resource) -> Place {
    let is_plain = part.reservations.is_empty()
        && part.disk.is_none()
        && !part.is_revocable
        && !part.is_shared
        && part.provider_id.is_none();
    match part.value {
        Value::Scalar(_) if is_plain => column(&part.name).map_or(Place::Rest, Place::Column),
        Value::Ranges(_) if is_plain && &*part.name == PORTS => Place::Ports,
        _ => Place::Rest,
    }
}

fn add_ranges(mine: &mut Ranges, theirs: &Ranges) {
    if mine.is_empty() {
        mine.clone_from(theirs);
    } else if !theirs.is_empty() {
        *mine = mine.union(theirs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(text: &str) -> Resources {
        text.parse().expect("a resource text")
    }

    fn parcel(text: &str) -> Parcel {
        Parcel::from_resources(r(text))
    }

    const TEXTS: [&str; 6] = [
        "cpus:4;mem:1024;disk:10;gpus:1;ports:[1-9]",
        "cpus:1;cpus(eng):2;ports:[3-4]",
        "cpus:0.5;ports(eng):[1-2];zones:{a,b};licences:3",
        "mem:3;licences:2",
        "ports:[1-2, 8-9]",
        "",
    ];

    #[test]
    fn resources_survive_the_way_in_and_out() {
        let role = Role::parse("eng/web").expect("a role");
        for text in TEXTS {
            let out = parcel(text).to_resources(&role, &Names::default());
            assert_eq!(out, r(text).allocated_to(&role), "{text}");
        }
    }

    /// The algebra is that of [`Resources`], which has tests of its own.
    #[test]
    fn parcels_compute_as_resources_do() {
        let role = Role::star();
        for a in TEXTS {
            for b in TEXTS {
                assert_eq!(parcel(a).contains(&parcel(b)), r(a).contains(&r(b)), "{a} contains {b}");
                let mut sum = parcel(a);
                sum.add(&parcel(b));
                let mut expect = r(a);
                expect.add(&r(b));
                assert_eq!(
                    sum.to_resources(&role, &Names::default()),
                    expect.allocated_to(&role),
                    "{a} + {b}"
                );
                let mut left = parcel(a);
                left.subtract(&parcel(b));
                let expect = r(a).saturating_sub(&r(b)).allocated_to(&role);
                assert_eq!(left.to_resources(&role, &Names::default()), expect, "{a} - {b}");
            }
        }
    }

    #[test]
    fn cutting_takes_enough_and_only_of_that() {
        let mut revocable = Resource::scalar(CPUS, Quantity::from_units(9));
        revocable.is_revocable = true;
        let mut all = r("cpus:4;mem:100;cpus(eng):2;licences:3");
        all.add_part(&revocable);
        let mut left = Parcel::from_resources(all);
        left.cut(Scalar::Column(0), Quantity::from_units(3));
        left.cut(Scalar::Named("licences"), Quantity::from_units(1));
        assert_eq!(left.quotable(), parcel("cpus:1;mem:100;licences:2").quotable());
        left.cut(Scalar::Column(0), Quantity::from_units(5));
        left.cut(Scalar::Named("licences"), Quantity::from_units(2));
        assert_eq!(left.quotable(), parcel("mem:100").quotable());
        assert_eq!(left.scalar(0), Quantity::from_units(11), "reserved and revocable ones stay");
        assert_eq!(left.reserved(), [(Role::parse("eng").expect("a role"), parcel("cpus:2").quantities())]);
    }

    #[test]
    fn quantities_count_what_is_reserved_too() {
        let sums = parcel("cpus:1;cpus(eng):2;licences:3;ports:[1-9]").quantities();
        let expect = Parcel::from_resources(r("cpus:3;licences:3")).quantities();
        assert_eq!(sums, expect);
    }
}
