//! Offer constraints: what a framework says of the agents of which it wants to be offered something, role by role, and
//! whether an agent meets it. Semantics are Mesos' (`src/master/allocator/mesos/offer_constraints_filter.cpp`).
//!
//! Nothing here is asked while offers are decided: `barred.rs` keeps a bit for each answer.

use super::pattern::Pattern;
use model::body::Body;
use model::role::Role;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What constraints are about: an agent as it describes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub hostname: Arc<str>,
    /// Region and zone, where it has said in which it is.
    pub place: Option<Place>,
    /// In their order; a name may be there twice.
    pub attributes: Vec<(Arc<str>, Attribute)>,
}

/// Where a machine stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub region: Arc<str>,
    pub zone: Arc<str>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    Text(Arc<str>),
    /// A scalar, ranges or a set: predicates about text say yes to it, for its framework to look at itself.
    Other,
}

/// A framework's, of all its roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// Roles that are not here take any agent.
    pub roles: BTreeMap<Role, RoleConstraints>,
    /// As they were asked for.
    pub asked: Body,
}

/// Alternatives; of each, everything must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleConstraints(pub Arc<[Vec<Constraint>]>);

/// One of an agent's values, and what must be true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    pub selector: Selector,
    pub predicate: Predicate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Hostname,
    Region,
    Zone,
    /// The first attribute of that name.
    Attribute(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    Exists,
    NotExists,
    TextEquals(Arc<str>),
    TextNotEquals(Arc<str>),
    TextMatches(Pattern),
    TextNotMatches(Pattern),
}

/// What a selector finds.
enum Found<'a> {
    Nothing,
    Text(&'a str),
    Other,
}

impl RoleConstraints {
    pub(super) fn admit(&self, agent: &Description) -> bool {
        self.0.iter().any(|group| group.iter().all(|constraint| constraint.holds(agent)))
    }
}

impl Constraint {
    fn holds(&self, agent: &Description) -> bool {
        let found = self.selector.find(agent);
        match (&self.predicate, found) {
            (Predicate::Exists, found) => !matches!(found, Found::Nothing),
            (Predicate::NotExists, found) => matches!(found, Found::Nothing),
            (_, Found::Other) => true,
            (Predicate::TextEquals(_) | Predicate::TextMatches(_), Found::Nothing) => false,
            (Predicate::TextNotEquals(_) | Predicate::TextNotMatches(_), Found::Nothing) => true,
            (Predicate::TextEquals(value), Found::Text(text)) => **value == *text,
            (Predicate::TextNotEquals(value), Found::Text(text)) => **value != *text,
            (Predicate::TextMatches(pattern), Found::Text(text)) => pattern.is_match(text),
            (Predicate::TextNotMatches(pattern), Found::Text(text)) => !pattern.is_match(text),
        }
    }
}

impl Selector {
    fn find<'a>(&self, agent: &'a Description) -> Found<'a> {
        let place = || agent.place.as_ref();
        match self {
            Self::Hostname => Found::Text(&agent.hostname),
            Self::Region => place().map_or(Found::Nothing, |place| Found::Text(&place.region)),
            Self::Zone => place().map_or(Found::Nothing, |place| Found::Text(&place.zone)),
            Self::Attribute(name) => match agent.attributes.iter().find(|(known, _)| known == name) {
                None => Found::Nothing,
                Some((_, Attribute::Text(text))) => Found::Text(text),
                Some((_, Attribute::Other)) => Found::Other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::Limits;
    use super::*;

    fn agent() -> Description {
        Description {
            hostname: "node-7".into(),
            place: Some(Place { region: "eu".into(), zone: "eu-1".into() }),
            attributes: vec![
                ("rack".into(), Attribute::Text("r1".into())),
                ("rack".into(), Attribute::Text("r2".into())),
                ("cores".into(), Attribute::Other),
            ],
        }
    }

    /// For an attribute that is there as text, one that is something else, and one that is not there.
    #[test]
    fn predicates_answer_as_mesos_does() {
        let pattern = |text: &str| Pattern::new(text, Limits::default()).expect("a pattern");
        let name = |name: &str| Selector::Attribute(name.into());
        for (predicate, expect) in [
            (Predicate::Exists, [true, true, false]),
            (Predicate::NotExists, [false, false, true]),
            (Predicate::TextEquals("r1".into()), [true, true, false]),
            (Predicate::TextEquals("r2".into()), [false, true, false]),
            (Predicate::TextNotEquals("r1".into()), [false, true, true]),
            (Predicate::TextNotEquals("r2".into()), [true, true, true]),
            (Predicate::TextMatches(pattern("r[12]")), [true, true, false]),
            (Predicate::TextMatches(pattern("[12]")), [false, true, false]),
            (Predicate::TextNotMatches(pattern("r.")), [false, true, true]),
        ] {
            let holds = |selector| Constraint { selector, predicate: predicate.clone() }.holds(&agent());
            assert_eq!([name("rack"), name("cores"), name("disks")].map(holds), expect, "{predicate:?}");
        }
    }

    #[test]
    fn groups_are_alternatives_and_what_is_in_one_holds_together() {
        let equals = |selector: &Selector, value: &str| Constraint {
            selector: selector.clone(),
            predicate: Predicate::TextEquals(value.into()),
        };
        let (host, region, zone) = (Selector::Hostname, Selector::Region, Selector::Zone);
        let admit = |groups: Vec<Vec<Constraint>>, of: &Description| RoleConstraints(groups.into()).admit(of);
        let here = vec![equals(&region, "eu"), equals(&zone, "eu-1")];
        let there = vec![equals(&region, "eu"), equals(&zone, "eu-2")];
        assert!(admit(vec![here.clone()], &agent()) && !admit(vec![there.clone()], &agent()));
        assert!(admit(vec![there.clone(), vec![equals(&host, "node-7")]], &agent()));
        let nowhere = Description { place: None, ..agent() };
        assert!(!admit(vec![here], &nowhere));
        let no_region = Constraint { selector: Selector::Region, predicate: Predicate::NotExists };
        assert!(admit(vec![there, vec![no_region]], &nowhere));
    }
}
