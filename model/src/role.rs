//! Roles: who resources are shared among. A path such as `eng/web`; `*` is the role of those who name none.

use std::sync::Arc;

/// A role's name. Made only through [`Role::parse`], so that a `Role` in hand is a well-formed path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Role(Arc<str>);

/// Why a text is not a role (Mesos: `src/common/roles.cpp`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRole {
    Empty,
    StartsWithSlash(String),
    EndsWithSlash(String),
    /// A part is empty, `.`, `..`, `*` inside a path, or starts with `-`.
    Part(String),
    /// White space or a control character.
    Character(String),
}

/// The texts are Mesos': they reach frameworks in ERROR events.
impl std::fmt::Display for BadRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => write!(f, "Role names cannot be the empty string"),
            Self::StartsWithSlash(role) => write!(f, "Role '{role}' cannot start with a slash"),
            Self::EndsWithSlash(role) => write!(f, "Role '{role}' cannot end with a slash"),
            Self::Part(role) => match role.split('/').find(|part| is_bad_part(part)).unwrap_or_default() {
                "" => write!(f, "Role '{role}' cannot contain two adjacent slashes"),
                part if part.starts_with('-') => {
                    write!(f, "Role component '{part}' is invalid because it starts with a dash")
                }
                part => write!(f, "Role '{role}' cannot include '{part}' as a component"),
            },
            Self::Character(role) => {
                let part = role.split('/').find(|part| part.contains(is_bad_character)).unwrap_or(role);
                write!(f, "Role component '{part}' is invalid because it contains backspace or whitespace")
            }
        }
    }
}

fn is_bad_part(part: &str) -> bool {
    matches!(part, "" | "." | ".." | "*") || part.starts_with('-')
}

fn is_bad_character(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

impl Role {
    /// `*`, everyone's role.
    pub fn star() -> Self {
        Self(Arc::from("*"))
    }

    pub fn parse(text: &str) -> Result<Self, BadRole> {
        if text == "*" {
            return Ok(Self::star());
        }
        if text.is_empty() {
            return Err(BadRole::Empty);
        }
        if text.starts_with('/') {
            return Err(BadRole::StartsWithSlash(text.into()));
        }
        if text.ends_with('/') {
            return Err(BadRole::EndsWithSlash(text.into()));
        }
        if text.contains(is_bad_character) {
            return Err(BadRole::Character(text.into()));
        }
        if text.split('/').any(is_bad_part) {
            Err(BadRole::Part(text.into()))
        } else {
            Ok(Self(Arc::from(text)))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_star(&self) -> bool {
        &*self.0 == "*"
    }

    /// The role above, if any: `eng` for `eng/web`.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(Arc::from(parent)))
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self == other || self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl Default for Role {
    fn default() -> Self {
        Self::star()
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_paths_of_plain_parts() {
        for good in ["*", "eng", "eng/web", "a.b/c-d"] {
            assert_eq!(Role::parse(good).map(|role| role.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "/eng", "eng/", "eng//web", "eng/..", "eng/*", "-eng", "a b", "a\tb"] {
            assert!(Role::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn refusals_have_mesos_words() {
        for (text, expect) in [
            ("", "Role names cannot be the empty string"),
            ("a//b", "Role 'a//b' cannot contain two adjacent slashes"),
            ("a/../b", "Role 'a/../b' cannot include '..' as a component"),
            ("x/-a", "Role component '-a' is invalid because it starts with a dash"),
            ("x/a b", "Role component 'a b' is invalid because it contains backspace or whitespace"),
        ] {
            assert_eq!(Role::parse(text).map_err(|bad| bad.to_string()), Err(expect.to_owned()));
        }
    }

    #[test]
    fn a_role_lies_within_its_ancestors_but_not_within_a_longer_name() {
        let role = |text| Role::parse(text).expect("well-formed");
        assert!(role("eng/web").is_within(&role("eng")));
        assert!(!role("engine").is_within(&role("eng")));
        assert_eq!(role("eng/web").parent(), Some(role("eng")));
    }
}
