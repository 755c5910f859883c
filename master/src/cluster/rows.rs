//! Which rows of the usage table are still shown by someone.

use super::Turn;
use super::effect::Effect;
use crate::usage::Row;
use std::collections::BTreeMap;

/// How many tasks, executors and running containers show each row.
#[derive(Debug, Default)]
pub(super) struct Rows(BTreeMap<Row, u32>);

impl Rows {
    pub(super) fn hold(&mut self, row: Row) {
        *self.0.entry(row).or_insert(0) += 1;
    }

    /// One holder less; the last one frees the row.
    pub(super) fn drop(&mut self, row: Option<Row>, turn: &mut Turn<'_>) {
        let Some(row) = row else { return };
        let count = self.0.get_mut(&row).expect("a row is held by whoever drops it");
        *count -= 1;
        if *count == 0 {
            self.0.remove(&row);
            turn.effects.push(Effect::ForgetRow(row));
        }
    }

    /// Moves one holder from what it showed to `row`.
    pub(super) fn replace(&mut self, held: &mut Option<Row>, row: Row, turn: &mut Turn<'_>) {
        if *held != Some(row) {
            self.hold(row);
            self.drop(held.replace(row), turn);
        }
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> &BTreeMap<Row, u32> {
        &self.0
    }
}
