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

/// Never negative: taking away more than is there is a bug, and asserts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Quantities {
    columns: [Quantity; COLUMN_COUNT],
    /// None is zero.
    named: BTreeMap<Arc<str>, Quantity>,
}

impl Quantities {
    pub(super) fn of_columns(columns: [Quantity; COLUMN_COUNT]) -> Self {
        Self { columns, named: BTreeMap::new() }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.columns.iter().all(|amount| amount.is_zero()) && self.named.is_empty()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.columns.iter_mut().zip(&other.columns).for_each(|(mine, theirs)| *mine += *theirs);
        other.named.iter().for_each(|(name, amount)| self.add_named(name, *amount));
    }

    /// Adds to a column where the name has one.
    pub(super) fn add_named(&mut self, name: &Arc<str>, amount: Quantity) {
        match column(name) {
            Some(column) => self.columns[column] += amount,
            None if amount.is_zero() => {}
            None => match self.named.get_mut(name) {
                Some(mine) => *mine += amount,
                None => drop(self.named.insert(name.clone(), amount)),
            },
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        let less =
            |mine: Quantity, theirs| mine.checked_sub(theirs).expect("only what was added is taken away");
        for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
            *mine = less(*mine, *theirs);
        }
        for (name, amount) in &other.named {
            let left = less(self.named.get(name).copied().unwrap_or_default(), *amount);
            if left.is_zero() {
                self.named.remove(name);
            } else {
                self.named.insert(name.clone(), left);
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
        for (name, mine) in &self.named {
            show(*mine, other.named.get(name).copied().unwrap_or_default());
        }
        let only_there = other.named.iter().filter(|(name, _)| !self.named.contains_key(*name));
        only_there.for_each(|(_, theirs)| show(Quantity::ZERO, *theirs));
    }
}
