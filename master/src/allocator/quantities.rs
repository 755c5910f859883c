//! Amounts of every scalar, by name: what shares are computed from. Well-known names have columns, others a map.

use model::quantity::Quantity;
use model::resources::{CPUS, DISK, GPUS, MEM};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const COLUMN_COUNT: usize = 4;
/// Scalars with a column of their own.
pub(super) const COLUMNS: [&str; COLUMN_COUNT] = [CPUS, MEM, DISK, GPUS];
pub(super) const CPUS_COLUMN: usize = 0;
pub(super) const MEM_COLUMN: usize = 1;
pub(super) const GPUS_COLUMN: usize = 3;

/// The column of a scalar, if it has one.
pub(super) fn column(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|known| *known == name)
}

/// Which scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    Column(usize),
    Named(&'a str),
}

impl<'a> Scalar<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        column(name).map_or(Self::Named(name), Self::Column)
    }

    pub(super) fn name(self) -> &'a str {
        match self {
            Self::Column(column) => COLUMNS[column],
            Self::Named(name) => name,
        }
    }
}

/// Never negative: taking away more than is there is a bug, and asserts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Quantities {
    columns: [Quantity; COLUMN_COUNT],
    named: Named,
}

/// Scalars without a column, mostly none: then it is one word, which is made, asked and dropped for nothing; a map of its
/// own in every sum was a tenth of what a decision cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "a map is three words, and has to be looked at to be dropped")]
struct Named(Option<Box<BTreeMap<Arc<str>, Quantity>>>);

impl Named {
    fn get(&self, name: &str) -> Quantity {
        self.0.as_ref().and_then(|map| map.get(name).copied()).unwrap_or_default()
    }

    /// Nothing of something is not kept, and an empty map neither: equal amounts are equal values.
    fn set(&mut self, name: &Arc<str>, amount: Quantity) {
        if !amount.is_zero() {
            let map = self.0.get_or_insert_default();
            match map.get_mut(name) {
                Some(mine) => *mine = amount,
                None => drop(map.insert(name.clone(), amount)),
            }
        } else if let Some(map) = &mut self.0 {
            map.remove(name);
            if map.is_empty() {
                self.0 = None;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Quantity)> {
        self.0.iter().flat_map(|map| map.iter().map(|(name, amount)| (name, *amount)))
    }
}

impl Quantities {
    pub(super) fn of_columns(columns: [Quantity; COLUMN_COUNT]) -> Self {
        Self { columns, named: Named(None) }
    }

    pub(super) fn amount(&self, scalar: Scalar<'_>) -> Quantity {
        match scalar {
            Scalar::Column(column) => self.columns[column],
            Scalar::Named(name) => self.named.get(name),
        }
    }

    pub(super) fn amount_named(&self, name: &str) -> Quantity {
        self.amount(column(name).map_or(Scalar::Named(name), Scalar::Column))
    }

    /// Shows every scalar of which there is something.
    pub(super) fn each(&self, mut show: impl FnMut(Scalar<'_>, Quantity)) {
        let columns = self.columns.iter().enumerate().filter(|(_, amount)| !amount.is_zero());
        columns.for_each(|(column, amount)| show(Scalar::Column(column), *amount));
        self.named.iter().for_each(|(name, amount)| show(Scalar::Named(name), amount));
    }

    /// Scalar by scalar, those of both.
    pub(super) fn combine(&self, other: &Self, with: impl Fn(Quantity, Quantity) -> Quantity) -> Self {
        let columns = std::array::from_fn(|column| with(self.columns[column], other.columns[column]));
        let mut named = Named::default();
        for (name, _) in self.named.iter().chain(other.named.iter()) {
            named.set(name, with(self.named.get(name), other.named.get(name)));
        }
        Self { columns, named }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.columns.iter().all(|amount| amount.is_zero()) && self.named.is_empty()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.columns.iter_mut().zip(&other.columns).for_each(|(mine, theirs)| *mine += *theirs);
        if !other.named.is_empty() {
            other.named.iter().for_each(|(name, amount)| self.add_named(name, amount));
        }
    }

    pub(super) fn add_scalar(&mut self, scalar: Scalar<'_>, amount: Quantity) {
        match scalar {
            Scalar::Column(column) => self.columns[column] += amount,
            Scalar::Named(name) => self.add_named(&name.into(), amount),
        }
    }

    /// Adds to a column where the name has one.
    pub(super) fn add_named(&mut self, name: &Arc<str>, amount: Quantity) {
        match column(name) {
            Some(column) => self.columns[column] += amount,
            None => self.named.set(name, self.named.get(name) + amount),
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        let less =
            |mine: Quantity, theirs| mine.checked_sub(theirs).expect("only what was added is taken away");
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            *mine = less(*mine, *theirs);
        }
        if !other.named.is_empty() {
            for (name, amount) in other.named.iter() {
                self.named.set(name, less(self.named.get(name), amount));
            }
        }
    }

    /// Shows what is here beside what is in `other`, for every scalar that either has.
    pub(super) fn each_beside(&self, other: &Self, mut show: impl FnMut(Quantity, Quantity)) {
        for (mine, theirs) in self.columns.iter().zip(&other.columns) {
            show(*mine, *theirs);
        }
        if self.named.is_empty() && other.named.is_empty() {
            return;
        }
        for (name, mine) in self.named.iter() {
            show(mine, other.named.get(name));
        }
        let only_there = other.named.iter().filter(|(name, _)| self.named.get(name).is_zero());
        only_there.for_each(|(_, theirs)| show(Quantity::ZERO, theirs));
    }
}
