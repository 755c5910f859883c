//! Quota: what a role is kept free of others' use, and what it may have at most. Both are of the role with all below it, and
//! of scalars only (as in Mesos: `mesos.v1.quota.QuotaConfig`).

use crate::quantity::Quantity;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Amounts by the names of scalars. A name that is missing says nothing; zero says none.
pub type Amounts = BTreeMap<Arc<str>, Quantity>;

/// Nothing guaranteed and nothing limited unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// While a role has less, so much stays free for it that it could have this.
    pub guarantees: Amounts,
    /// It never has more than this: offered, used, and reserved for it, but for what may be revoked.
    pub limits: Amounts,
}

impl Quota {
    /// Whether it says nothing: a role without quota.
    pub fn is_default(&self) -> bool {
        self.guarantees.is_empty() && self.limits.is_empty()
    }

    /// The first scalar of which more is guaranteed than allowed.
    pub fn contradiction(&self) -> Option<&str> {
        let is_more = |(name, amount): &(&Arc<str>, &Quantity)| {
            self.limits.get(*name).is_some_and(|limit| limit < *amount)
        };
        self.guarantees.iter().find(is_more).map(|(name, _)| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarantee_above_the_limit_is_found() {
        let amounts = |list: &[(&str, u64)]| {
            list.iter()
                .map(|(name, units)| (Arc::from(*name), Quantity::from_units(*units)))
                .collect::<Amounts>()
        };
        let quota = |guarantees, limits| Quota { guarantees: amounts(guarantees), limits: amounts(limits) };
        assert_eq!(quota(&[("cpus", 2), ("mem", 5)], &[("cpus", 2)]).contradiction(), None);
        assert_eq!(quota(&[("cpus", 2), ("mem", 5)], &[("mem", 4)]).contradiction(), Some("mem"));
        assert!(quota(&[], &[]).is_default() && !quota(&[], &[("cpus", 0)]).is_default());
    }
}
