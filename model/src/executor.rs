//! Executors: the processes that run tasks.

use crate::body::Body;
use crate::id::{ExecutorId, FrameworkId};
use crate::resources::Resources;
use std::sync::Arc;

/// An executor as a framework describes it. `body` is the complete v1 `ExecutorInfo`; two with one id must be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorInfo {
    pub executor_id: ExecutorId,
    /// Filled in by the master where the framework left it out.
    pub framework_id: Option<FrameworkId>,
    pub name: Option<Arc<str>>,
    /// Its own, beside those of its tasks.
    pub resources: Resources,
    /// From SHUTDOWN to its end by force, nanoseconds, where it names one.
    pub shutdown_grace_ns: Option<u64>,
    pub body: Body,
}
