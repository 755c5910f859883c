//! Typed identifiers. Each kind is its own type, so that a task id cannot stand where an executor id is due.

use std::sync::Arc;

macro_rules! string_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

string_ids! {
    /// Made by the master at registration: `<master id>-S<n>`.
    AgentId;
    /// Made by the master at the first subscription (`<master id>-<nnnn>`), or chosen by the client.
    FrameworkId;
    /// Chosen by the framework; unique among the framework's executors on one agent.
    ExecutorId;
    /// Chosen by the framework; unique among its unfinished tasks.
    TaskId;
    /// Made by the master: `<master id>-O<n>`.
    OfferId;
    /// Made by the agent, a random UUID; one for each run of an executor.
    ContainerId;
    /// Chosen by the framework for an operation whose outcome it wants to hear of.
    OperationId;
    /// A random UUID made by a master when it starts.
    MasterId;
}

/// Why a text may not be an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadId {
    Empty,
    /// Longer than [`crate::limits::ID_BYTES_MAX`].
    TooLong,
    /// `.` or `..`, which would name another directory.
    DirectoryName,
    /// A character that may not stand in a file name: `/`, `\`, a control character.
    Character(char),
}

impl std::fmt::Display for BadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => write!(f, "ID must not be empty"),
            Self::TooLong => {
                write!(f, "ID must not be greater than {} characters", crate::limits::ID_BYTES_MAX)
            }
            Self::DirectoryName => write!(f, "'.' and '..' are disallowed"),
            Self::Character(c) => write!(f, "'{}' contains invalid characters", c.escape_default()),
        }
    }
}

/// Ids become directory names on the agent; these are the names that can (Mesos: `src/common/validation.cpp`).
pub fn check_id(text: &str) -> Result<(), BadId> {
    match text {
        "" => return Err(BadId::Empty),
        "." | ".." => return Err(BadId::DirectoryName),
        _ if text.len() > crate::limits::ID_BYTES_MAX => return Err(BadId::TooLong),
        _ => {}
    }
    match text.chars().find(|&c| c.is_control() || c == '/' || c == '\\') {
        Some(c) => Err(BadId::Character(c)),
        None => Ok(()),
    }
}

/// Names one status update of a task; 16 random bytes, made by the executor (or by whoever makes the update).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpdateId(pub [u8; 16]);

impl std::fmt::Debug for UpdateId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_leave_its_directory_is_refused() {
        assert_eq!(check_id(".."), Err(BadId::DirectoryName));
        assert_eq!(check_id("a/b"), Err(BadId::Character('/')));
        assert_eq!(check_id(""), Err(BadId::Empty));
        assert_eq!(check_id(&"x".repeat(256)), Err(BadId::TooLong));
        assert_eq!(check_id("task 7 (of 10)"), Ok(()));
    }
}
