//! CORE: changes wait here while others are being written, and go to the storage together: one write of a disk, or one
//! round through ZooKeeper's quorum, for all that came meanwhile.

use super::change::{Change, Write};
use super::registry::Registry;
use std::collections::{BTreeMap, VecDeque};

/// Changes written at once, at most: bounds how long the first of them waits for the last.
pub const CHANGES_MAX: usize = 8_192;
/// Bytes of objects written at once, at most, beyond the first.
pub const BYTES_MAX: usize = 8 << 20;

/// Changes on their way. They are numbered by the order in which they came, and become durable in that order.
#[derive(Debug, Default)]
pub struct Batch {
    registry: Registry,
    waiting: VecDeque<Change>,
    in_flight_count: usize,
}

impl Batch {
    /// Goes on from what a storage holds.
    pub fn new(registry: Registry) -> Self {
        Self { registry, ..Self::default() }
    }

    pub fn push(&mut self, change: Change) {
        self.waiting.push_back(change);
    }

    /// Changes that are not durable yet.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len() + self.in_flight_count
    }

    /// What the registry is when everything that was handed out is durable.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The writes of the next changes, one a key; `None` when nothing waits. They may be none at all, where the changes
    /// change nothing. Legal when [`Self::committed`] was called for those before.
    pub fn take(&mut self) -> Option<Vec<Write>> {
        assert_eq!(self.in_flight_count, 0, "one batch at a time");
        // The last write of an object is what it is to be; those before it would be seen by nobody.
        let mut writes: BTreeMap<Box<str>, Write> = BTreeMap::new();
        let mut bytes = 0;
        while self.in_flight_count < CHANGES_MAX
            && bytes < BYTES_MAX
            && let Some(change) = self.waiting.pop_front()
        {
            self.in_flight_count += 1;
            for write in self.registry.apply(&change) {
                bytes += write.bytes();
                writes.insert(write.key.clone(), write);
            }
        }
        (self.in_flight_count > 0).then(|| writes.into_values().collect())
    }

    /// What [`Self::take`] gave last is durable. Returns how many changes that were.
    pub fn committed(&mut self) -> usize {
        std::mem::take(&mut self.in_flight_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::agent_info::AgentInfo;
    use model::body::Body;
    use model::id::AgentId;
    use model::quantity::Quantity;
    use model::role::Role;
    use std::sync::Arc;

    #[test]
    fn what_came_meanwhile_is_written_at_once_and_each_object_once() {
        let mut batch = Batch::default();
        assert_eq!(batch.take(), None);
        let weight = |n: u64| {
            let role = Role::parse("r").expect("a role");
            Change::Weights { weights: vec![(role, Some(Quantity::from_units(n)))] }
        };
        batch.push(weight(1));
        assert_eq!(batch.take().map(|writes| writes.len()), Some(1));
        batch.push(weight(2));
        batch.push(weight(3));
        batch.push(weight(3));
        assert_eq!((batch.waiting_count(), batch.committed()), (4, 1));
        let writes = batch.take().expect("three changes");
        assert_eq!((writes.len(), batch.committed()), (1, 3));
        batch.push(weight(3));
        assert_eq!((batch.take(), batch.committed()), (Some(Vec::new()), 1), "durable already");
        assert_eq!((batch.take(), batch.waiting_count()), (None, 0));
    }

    #[test]
    fn a_batch_has_an_end() {
        let mut batch = Batch::default();
        let large = |n: u16| {
            let info = AgentInfo {
                hostname: "h".into(),
                address: ([127, 0, 0, 1], n).into(),
                total: "cpus:1".parse().expect("resources"),
                boot_id: "b".into(),
                version: "1".into(),
                body: Body::new(vec![0; BYTES_MAX]),
            };
            Change::Admit { agent_id: AgentId::new(n.to_string()), info: Arc::new(info) }
        };
        (0..3).for_each(|n| batch.push(large(n)));
        for _ in 0..3 {
            batch.take().expect("one is left");
            assert_eq!(batch.committed(), 1);
        }
    }
}
