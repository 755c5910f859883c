//! Executors as frameworks describe them.

use model::executor::ExecutorInfo;
use model::id::{ExecutorId, FrameworkId};

use super::resources::{self, Format};
use super::{Error, body, open, text};
use crate::v1;

pub fn from_v1(info: &v1::ExecutorInfo) -> Result<ExecutorInfo, Error> {
    // Some clients send an empty framework id where they have none to give.
    let framework_id = info.framework_id.as_ref().filter(|id| !id.value.is_empty());
    let grace = info.shutdown_grace_period.as_ref().map(|grace| grace.nanoseconds.max(0).cast_unsigned());
    Ok(ExecutorInfo {
        executor_id: ExecutorId::try_from(&info.executor_id)?,
        framework_id: framework_id.map(FrameworkId::try_from).transpose()?,
        name: info.name.as_deref().map(text),
        resources: resources::from_v1(&info.resources)?,
        shutdown_grace_ns: grace,
        body: body(info),
    })
}

/// As agents, executors and operators see it.
pub fn to_v1(info: &ExecutorInfo) -> Result<v1::ExecutorInfo, Error> {
    let mut out: v1::ExecutorInfo = open(&info.body)?;
    out.executor_id = (&info.executor_id).into();
    out.framework_id = info.framework_id.as_ref().map(Into::into);
    out.name = info.name.as_ref().map(|name| name.to_string());
    out.resources = resources::to_v1(&info.resources, Format::PLAIN);
    out.shutdown_grace_period = info.shutdown_grace_ns.map(super::time::duration);
    Ok(out)
}
