//! Identifiers: plain wrappers on the wire, typed in the model.

use model::id::{
    AgentId, BadId, ContainerId, ExecutorId, FrameworkId, MasterId, OfferId, OperationId, TaskId, UpdateId,
    check_id,
};

use crate::v1;

/// An id that may not be one. The texts are Mesos' (`src/common/validation.cpp`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadIdOf {
    /// `TaskID` and so on: for logs; Mesos' text does not say it.
    pub what: &'static str,
    pub id: String,
    pub why: BadId,
}

impl std::fmt::Display for BadIdOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.why {
            BadId::Character(_) => write!(f, "'{}' contains invalid characters", self.id.escape_default()),
            BadId::DirectoryName => write!(f, "'{}' is disallowed", self.id),
            why => write!(f, "{why}"),
        }
    }
}

impl From<BadIdOf> for super::Error {
    fn from(bad: BadIdOf) -> Self {
        Self::Id(bad)
    }
}

macro_rules! ids {
    ($($message:ident $model:ident $what:literal;)*) => {$(
        impl From<&$model> for v1::$message {
            #[allow(clippy::needless_update, reason = "of these, only ContainerID has more: a parent")]
            fn from(id: &$model) -> Self {
                Self { value: id.as_str().to_owned(), ..Self::default() }
            }
        }

        /// Refuses what could not be a file name, as Mesos does.
        impl TryFrom<&v1::$message> for $model {
            type Error = BadIdOf;

            fn try_from(id: &v1::$message) -> Result<Self, BadIdOf> {
                check_id(&id.value).map_err(|why| BadIdOf { what: $what, id: id.value.clone(), why })?;
                Ok(Self::new(&id.value))
            }
        }
    )*};
}

ids! {
    AgentId AgentId "AgentID";
    ContainerId ContainerId "ContainerID";
    ExecutorId ExecutorId "ExecutorID";
    FrameworkId FrameworkId "FrameworkID";
    OfferId OfferId "OfferID";
    OperationId OperationId "OperationID";
    TaskId TaskId "TaskID";
}

/// The id of a master as `MasterInfo.id` shows it.
pub fn master(id: &MasterId) -> String {
    id.as_str().to_owned()
}

/// The 16 bytes of a status update's uuid; `None` if there are not 16.
pub fn update(bytes: &[u8]) -> Option<UpdateId> {
    bytes.try_into().ok().map(UpdateId)
}
