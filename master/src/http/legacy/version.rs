//! `/flags`.

use crate::cluster::snapshot::Snapshot;
use api::legacy::each::Pairs;
use serde::{Serialize, Serializer};

/// `{"flags": {"name": "value", ...}}`
pub(super) struct Flags<'a>(&'a Snapshot);

impl<'a> Flags<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        Self(snapshot)
    }

    /// The inner object alone.
    pub(super) fn pairs(snapshot: &'a Snapshot) -> impl Serialize + 'a {
        Pairs(move || snapshot.master.flags.iter().map(|(name, value)| (&**name, &**value)))
    }
}

impl Serialize for Flags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([("flags", Self::pairs(self.0))])
    }
}
