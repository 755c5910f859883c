//! Offer constraints of a call, compiled. Errors are Mesos' texts, and name the field
//! (src/master/allocator/mesos/offer_constraints_filter.cpp).

use crate::allocator::constraints::{Constraint, Constraints, Predicate, RoleConstraints, Selector};
use crate::allocator::pattern::{Limits, Pattern};
use api::convert::constraints::body_of;
use api::v1::scheduler::attribute_constraint::{self, selector::PseudoattributeType};
use api::v1::scheduler::{AttributeConstraint, OfferConstraints};
use model::role::Role;
use std::sync::Arc;

/// Those of a framework with these roles; `None` asks for none.
pub(super) fn read(
    asked: Option<&OfferConstraints>,
    roles: &[Role],
    limits: Limits,
) -> Result<Arc<Constraints>, String> {
    let Some(asked) = asked else { return Ok(Arc::default()) };
    let mut constraints = Constraints { asked: body_of(asked), ..Constraints::default() };
    for (name, of_role) in &asked.role_constraints {
        let role = roles.iter().find(|role| role.as_str() == name).ok_or_else(|| {
            format!("Offer constraints specify `role_constraints` for a role '{name}' not contained in the set of roles")
        })?;
        let groups = of_role.groups.iter().map(|group| &group.attribute_constraints[..]);
        let groups: Vec<_> = groups.collect();
        let read = role_constraints(role, &groups, limits)
            .map_err(|why| format!("Offer constraints are not valid: {why}"))?;
        constraints.roles.insert(role.clone(), read);
    }
    Ok(Arc::new(constraints))
}

fn role_constraints(
    role: &Role,
    groups: &[&[AttributeConstraint]],
    limits: Limits,
) -> Result<RoleConstraints, String> {
    if groups.is_empty() {
        return Err(format!(
            "'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role {role}"
        ));
    }
    let read = |group: &&[AttributeConstraint]| -> Result<Vec<Constraint>, String> {
        if group.is_empty() {
            return Err(format!(
                "'OfferConstraints::RoleConstraints::groups' for role {role} contains an empty RoleConstraints::Group"
            ));
        }
        let invalid = |why| format!("A role {role} has an invalid 'AttributeConstraint': {why}");
        group.iter().map(|one| constraint(one, limits).map_err(invalid)).collect()
    };
    let groups: Vec<_> = groups.iter().map(read).collect::<Result<_, _>>()?;
    Ok(RoleConstraints(groups.into()))
}

fn constraint(asked: &AttributeConstraint, limits: Limits) -> Result<Constraint, String> {
    let selector = selector_of(&asked.selector)?;
    Ok(Constraint { selector, predicate: predicate_of(&asked.predicate, limits)? })
}

fn selector_of(asked: &attribute_constraint::Selector) -> Result<Selector, String> {
    match (&asked.attribute_name, asked.pseudoattribute_type) {
        (Some(name), None) => Ok(Selector::Attribute(Arc::from(&**name))),
        (None, Some(kind)) => match PseudoattributeType::try_from(kind) {
            Ok(PseudoattributeType::Hostname) => Ok(Selector::Hostname),
            Ok(PseudoattributeType::Region) => Ok(Selector::Region),
            Ok(PseudoattributeType::Zone) => Ok(Selector::Zone),
            Ok(PseudoattributeType::Unknown) | Err(_) => Err("Unknown pseudoattribute type".to_owned()),
        },
        (None, None) | (Some(_), Some(_)) => Err("Exactly one of 'AttributeConstraint::Selector::name' or \
                 'AttributeConstraint::Selector::pseudoattribute_type' must be set"
            .to_owned()),
    }
}

/// The one predicate that is set.
fn predicate_of(asked: &attribute_constraint::Predicate, limits: Limits) -> Result<Predicate, String> {
    let pattern = |regex: &str| Pattern::new(regex, limits).map_err(|error| error.to_string());
    let attribute_constraint::Predicate {
        exists,
        not_exists,
        text_equals,
        text_not_equals,
        text_matches,
        text_not_matches,
    } = asked;
    let set = [
        exists.as_ref().map(|_| Ok(Predicate::Exists)),
        not_exists.as_ref().map(|_| Ok(Predicate::NotExists)),
        text_equals.as_ref().map(|of| Ok(Predicate::TextEquals(Arc::from(&*of.value)))),
        text_not_equals.as_ref().map(|of| Ok(Predicate::TextNotEquals(Arc::from(&*of.value)))),
        text_matches.as_ref().map(|of| pattern(&of.regex).map(Predicate::TextMatches)),
        text_not_matches.as_ref().map(|of| pattern(&of.regex).map(Predicate::TextNotMatches)),
    ];
    let mut set = set.into_iter().flatten();
    match (set.next(), set.next()) {
        (Some(predicate), None) => predicate,
        (None, _) => Err("Unknown predicate type".to_owned()),
        (Some(_), Some(_)) => Err("More than one predicate is set".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(text: &str) -> Result<Arc<Constraints>, String> {
        let asked: OfferConstraints = api::json::from_slice(text.as_bytes()).expect("JSON of that message");
        read(Some(&asked), &[Role::parse("eng").expect("a role")], Limits::default())
    }

    fn one(constraint: &str) -> String {
        let group = format!(r#"{{"attribute_constraints": [{constraint}]}}"#);
        format!(r#"{{"role_constraints": {{"eng": {{"groups": [{group}]}}}}}}"#)
    }

    #[test]
    fn what_is_asked_is_read_and_kept() {
        let text =
            one(r#"{"selector": {"attribute_name": "rack"}, "predicate": {"text_equals": {"value": "r1"}}},
                          {"selector": {"pseudoattribute_type": "ZONE"}, "predicate": {"not_exists": {}}}"#);
        let constraints = read_json(&text).expect("good");
        let rack = Selector::Attribute("rack".into());
        let expect = [
            Constraint { selector: rack, predicate: Predicate::TextEquals("r1".into()) },
            Constraint { selector: Selector::Zone, predicate: Predicate::NotExists },
        ];
        let eng = &constraints.roles[&Role::parse("eng").expect("a role")];
        assert_eq!(*eng.0, [expect.to_vec()]);
        let asked = api::convert::constraints::to_v1(&constraints.asked).expect("readable");
        assert_eq!(asked.role_constraints["eng"].groups[0].attribute_constraints.len(), 2);
        assert_eq!(read(None, &[], Limits::default()), Ok(Arc::default()));
        assert!(read_json("{}").expect("good").roles.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let exists = r#""predicate": {"exists": {}}"#;
        let host = r#""selector": {"pseudoattribute_type": "HOSTNAME"}"#;
        for (text, says) in [
            (r#"{"role_constraints": {"ops": {"groups": []}}}"#, "a role 'ops' not contained"),
            (
                r#"{"role_constraints": {"eng": {"groups": []}}}"#,
                "empty 'RoleConstraints::groups' for role eng",
            ),
            (
                r#"{"role_constraints": {"eng": {"groups": [{}]}}}"#,
                "contains an empty RoleConstraints::Group",
            ),
            (&one(&format!(r#"{{"selector": {{}}, {exists}}}"#)), "Exactly one of"),
            (
                &one(&format!(r#"{{"selector": {{"pseudoattribute_type": "UNKNOWN"}}, {exists}}}"#)),
                "Unknown pseudoattribute type",
            ),
            (&one(&format!(r#"{{{host}, "predicate": {{}}}}"#)), "Unknown predicate type"),
            (
                &one(&format!(r#"{{{host}, "predicate": {{"text_matches": {{"regex": "("}}}}}}"#)),
                "A role eng has an invalid 'AttributeConstraint': Failed to construct regex from pattern '('",
            ),
            (
                &one(&format!(
                    r#"{{{host}, "predicate": {{"text_not_matches": {{"regex": "a{{2000}}"}}}}}}"#
                )),
                "more than 4096 bytes",
            ),
        ] {
            let why = read_json(text).expect_err(says);
            assert!(why.starts_with("Offer constraints ") && why.contains(says), "{why}");
        }
    }
}
