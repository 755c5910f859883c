//! What a role with a quota has of it, counted for all workers together. Charging tries every ancestor's account; one
//! that has no room undoes the others ([`RoleTree::try_charge`](super::role_tree::RoleTree::try_charge)). Compiled
//! against loom too (`master/tests/loom.rs`).
//!
//! **Law 3, limits hold at every instant.** A count is raised by compare-and-exchange from what it was when the limit
//! was held against it, so no two workers can use the same room. What is on its way to an ancestor that will refuse
//! counts meanwhile: that may keep somebody from room for a moment, and never gives it twice.
//!
//! **Law 4, published is immutable.** Limits never change: another quota is another account. It is closed until every
//! worker has *joined*, that is, has added what it had given before and charges here from then on; until the last one
//! has, the others offer nothing that it limits, and the last charges the old account under the old limits.

use super::quantities::{Quantities, Scalar};
use super::sync::{AtomicU64, AtomicUsize, Ordering, Seed, is_seeded};
use model::quantity::Quantity;
use model::quota::Quota;
use std::sync::Arc;

const UNLIMITED: Quantity = Quantity::from_milli(u64::MAX);

/// Of one role, for one quota.
#[derive(Debug)]
pub(super) struct Account {
    /// By name, each scalar that is limited or guaranteed.
    lines: Box<[Line]>,
    /// Workers that have yet to join. Written by each, once (release: what it has added is seen); read before a limit
    /// is trusted (acquire).
    absent: AtomicUsize,
}

#[derive(Debug)]
struct Line {
    name: Arc<str>,
    limit: Quantity,
    /// Thousandths, of all workers that have joined: offered, used, and reserved. Written and read by all; relaxed, since
    /// nothing else is found by it, and what one worker reads of it another may have changed already.
    used_milli: AtomicU64,
}

impl Account {
    /// Closed until so many workers have joined.
    pub(super) fn new(quota: &Quota, worker_count: usize) -> Self {
        let guaranteed = quota.guarantees.keys().filter(|name| !quota.limits.contains_key(*name));
        let lines = quota.limits.keys().chain(guaranteed).map(|name| Line {
            name: name.clone(),
            limit: quota.limits.get(name).copied().unwrap_or(UNLIMITED),
            used_milli: AtomicU64::new(0),
        });
        Self { lines: lines.collect(), absent: AtomicUsize::new(worker_count) }
    }

    /// Adds what a worker had given before; it charges here from now on.
    pub(super) fn join(&self, consumed: &Quantities) {
        self.charge(consumed);
        self.absent.fetch_sub(1, Ordering::Release);
    }

    /// What is given, offered or used, and what is reserved; of scalars that are limited or guaranteed.
    #[cfg(test)]
    pub(super) fn used(&self) -> Quantities {
        let mut sums = Quantities::default();
        self.lines.iter().for_each(|line| sums.add_named(&line.name, line.used()));
        sums
    }

    /// Likewise of one scalar; none where it is neither limited nor guaranteed.
    pub(super) fn amount(&self, scalar: Scalar<'_>) -> Quantity {
        self.line(scalar).map_or(Quantity::ZERO, Line::used)
    }

    /// How much more of it may be given, as of now.
    pub(super) fn room(&self, scalar: Scalar<'_>) -> Quantity {
        match self.line(scalar) {
            Some(line) if line.limit != UNLIMITED => {
                if self.is_open() {
                    line.limit.saturating_sub(line.used())
                } else {
                    Quantity::ZERO
                }
            }
            _ => UNLIMITED,
        }
    }

    /// Counts so much as given, if there is room for all of it; else nothing.
    pub(super) fn try_charge(&self, amounts: &Quantities) -> bool {
        let is_open = self.is_open();
        let refused = self.lines.iter().position(|line| {
            let amount = amounts.amount(line.scalar());
            !amount.is_zero() && (line.limit != UNLIMITED && !is_open || !line.try_add(amount))
        });
        if let Some(refused) = refused
            && !is_seeded(Seed::NoRollback)
        {
            self.lines[..refused].iter().for_each(|line| line.subtract(amounts));
        }
        refused.is_none()
    }

    /// Likewise whatever the limits say: it is in use already.
    pub(super) fn charge(&self, amounts: &Quantities) {
        for line in &self.lines {
            let amount = amounts.amount(line.scalar()).milli();
            line.used_milli.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// So much was given back.
    pub(super) fn discharge(&self, amounts: &Quantities) {
        self.lines.iter().for_each(|line| line.subtract(amounts));
    }

    /// What must hold between events: so much was charged.
    pub(super) fn invariant_used(&self, consumed: &Quantities) {
        for line in &self.lines {
            assert_eq!(line.used(), consumed.amount(line.scalar()), "{}", line.name);
        }
    }

    fn is_open(&self) -> bool {
        self.absent.load(Ordering::Acquire) == 0 || is_seeded(Seed::OpenAtOnce)
    }

    fn line(&self, scalar: Scalar<'_>) -> Option<&Line> {
        self.lines.iter().find(|line| *line.name == *scalar.name())
    }
}

impl Line {
    fn scalar(&self) -> Scalar<'_> {
        Scalar::of(&self.name)
    }

    fn used(&self) -> Quantity {
        Quantity::from_milli(self.used_milli.load(Ordering::Relaxed))
    }

    /// Ends: an exchange fails only when another's has succeeded meanwhile.
    fn try_add(&self, amount: Quantity) -> bool {
        let mut used = self.used_milli.load(Ordering::Relaxed);
        loop {
            let sum = used + amount.milli();
            if Quantity::from_milli(sum) > self.limit {
                return false;
            }
            if is_seeded(Seed::CheckThenAdd) {
                self.used_milli.fetch_add(amount.milli(), Ordering::Relaxed);
                return true;
            }
            let exchange =
                self.used_milli.compare_exchange_weak(used, sum, Ordering::Relaxed, Ordering::Relaxed);
            match exchange {
                Ok(_) => return true,
                Err(now) => used = now,
            }
        }
    }

    fn subtract(&self, amounts: &Quantities) {
        let amount = amounts.amount(self.scalar()).milli();
        let before = self.used_milli.fetch_sub(amount, Ordering::Relaxed);
        assert!(before >= amount, "only what was charged is discharged");
    }
}

/// Natively these hammer it; under loom (`master/tests/loom.rs`) every interleaving is tried.
#[cfg(test)]
mod tests {
    use super::super::sync::{ROUND_COUNT, model, thread};
    use super::*;

    fn amounts(text: &str) -> Quantities {
        super::super::parcel::Parcel::from_resources(text.parse().expect("a resource text")).quantities()
    }

    fn limits(text: &str) -> Quota {
        let mut quota = Quota::default();
        amounts(text).each(|scalar, amount| {
            quota.limits.insert(scalar.name().into(), amount);
        });
        quota
    }

    /// Of two who want two each of three, one gets it; and who fails at the second scalar leaves nothing in the first.
    #[test]
    fn no_room_is_given_twice() {
        // Under loom one round each is all that can be tried in every order.
        const ROUNDS: usize = ROUND_COUNT / 3;
        model(|| {
            let account = Arc::new(Account::new(&limits("cpus:3;mem:100"), 1));
            account.join(&Quantities::default());
            let theirs = account.clone();
            let other = thread::spawn(move || {
                let mut count = 0;
                for _ in 0..ROUNDS {
                    if theirs.try_charge(&amounts("cpus:2;mem:60")) {
                        assert!(theirs.amount(Scalar::Column(0)) <= Quantity::from_units(3));
                        theirs.discharge(&amounts("cpus:2;mem:60"));
                        count += 1;
                    }
                }
                count
            });
            for _ in 0..ROUNDS {
                if account.try_charge(&amounts("cpus:2")) {
                    assert!(account.amount(Scalar::Column(0)) <= Quantity::from_units(3));
                    account.discharge(&amounts("cpus:2"));
                }
                assert!(!account.try_charge(&amounts("cpus:1;mem:101")), "more than there ever is");
            }
            other.join().expect("the other ends");
            assert_eq!(account.used(), Quantities::default());
        });
    }

    #[test]
    fn what_is_closed_gives_nothing_that_it_limits() {
        model(|| {
            let mut quota = limits("cpus:3");
            quota.guarantees.insert("mem".into(), Quantity::from_units(5));
            let account = Account::new(&quota, 2);
            account.join(&amounts("cpus:1"));
            assert!(!account.try_charge(&amounts("cpus:1")));
            assert!(account.try_charge(&amounts("mem:9;disk:2")), "only guaranteed, or not spoken of");
            account.join(&amounts("cpus:4"));
            assert!(!account.try_charge(&amounts("cpus:1")), "above its limit when it came");
            account.discharge(&amounts("cpus:3"));
            assert!(account.try_charge(&amounts("cpus:1")));
            assert_eq!(account.used(), amounts("cpus:3;mem:9"));
            assert_eq!(account.room(Scalar::Column(0)), Quantity::ZERO);
            assert_eq!(account.room(Scalar::Named("licences")), UNLIMITED);
        });
    }
}
