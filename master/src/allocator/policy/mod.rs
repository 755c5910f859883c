//! Policies: by what rank roles, and the frameworks of a role, are served; the least rank first. docs/allocator.md shows
//! how to write one.

use super::quantities::Quantities;
use super::share::Share;
use model::quantity::Quantity;
use std::fmt;

mod drf;
mod priority;
mod random;

/// Where somebody stands in the queue of their role, or a role among its siblings. Compared field by field; what a policy
/// does not use it leaves as it is by default. Among equals frameworks go by when they came, roles by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) class: u64,
    pub(super) share: Share,
    /// How many allocations they were ever given.
    pub(super) count: u64,
}

impl Rank {
    /// Whether all of it is the same; equal shares may be written differently.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.count == other.count && self.class == other.class && self.share.is_same(&other.share)
    }

    /// A number by which most ranks can be told apart: one rank's is less than another's only if the rank is.
    pub(super) fn prefix(&self) -> u64 {
        const HALF: u64 = 1 << 63;
        if self.class == 0 { self.share.prefix().min(HALF - 1) } else { HALF | self.class.min(HALF - 1) }
    }
}

/// Who is to be ranked: a role with all below it, the frameworks of one role together, or a framework in a role.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) allocated: &'a Quantities,
    /// Of the whole cluster, as of some moment not long ago.
    pub(super) totals: &'a Quantities,
    /// A role's; 1 for all else.
    pub(super) weight: Quantity,
    /// How many allocations they were ever given.
    pub(super) count: u64,
    /// In which order frameworks came; 0 for roles.
    pub(super) sequence: u64,
}

/// Why somebody is ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// They want offers, and did not before.
    Joined,
    /// They were given something while they stood at this rank.
    Served(Rank),
    /// They gave something back, or totals or a weight have changed, while they stood at this rank.
    Changed(Rank),
}

/// Ranks somebody. It is asked again whenever something changes that a [`Candidate`] shows, about those whom that concerns
/// and nobody else. No clock, no randomness of its own but from a seed: a history is decided alike every time.
pub(super) trait Policy: fmt::Debug + Send {
    fn rank(&mut self, candidate: &Candidate<'_>, why: Why) -> Rank;

    /// The same again, if a rank follows from the candidate alone: for the invariants.
    fn again(&self, _: &Candidate<'_>) -> Option<Rank> {
        None
    }
}

/// A rank is what the policy says of the candidate as it is now, for policies that say the same each time.
pub(super) fn assert_rank(policy: &dyn Policy, rank: Rank, candidate: &Candidate<'_>) {
    if let Some(due) = policy.again(candidate) {
        assert_eq!(rank, due);
    }
}

/// The policies there are, by the names that `--role-policy` and `--framework-policy` know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The smallest dominant share first, divided by the weight.
    #[default]
    Drf,
    /// At random, by weight.
    Random,
    /// Roles by weight, the heaviest first and those of one weight by dominant share; frameworks as they came.
    Priority,
}

impl Kind {
    pub const NAMES: [(&'static str, Self); 3] =
        [("drf", Self::Drf), ("random", Self::Random), ("priority", Self::Priority)];

    pub(super) fn policy(self) -> Box<dyn Policy> {
        match self {
            Self::Drf => Box::new(drf::Drf),
            Self::Random => Box::new(random::Random::default()),
            Self::Priority => Box::new(priority::Priority),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, kind)| kind == self).map(|(name, _)| *name);
        f.write_str(name.expect("every kind has a name"))
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        known.ok_or_else(|| format!("'{text}' is not a policy: drf, random or priority"))
    }
}
