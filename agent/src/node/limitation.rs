//! Containers that held more than they were given: which are ended for it, and what their tasks are told.

use crate::node::Node;
use crate::node::effect::Effect;
use crate::node::executors::Phase;
use crate::node::input::{OutOfMemory, Termination};
use model::id::ContainerId;
use model::quantity::Quantity;
use model::resources::{DISK, MEM, Resource, Resources};
use model::task::{Reason, TaskState};
use std::fmt::Write;

/// A container ended after the kernel had killed in it. That is an overstepped limit only where its own was met; else the
/// machine was out of memory, or a limit that a task had set below its container's was met.
pub(crate) fn out_of_memory(end: &OutOfMemory) -> Termination {
    match end.limit_met_count {
        0 => Termination {
            state: TaskState::Failed,
            reason: Reason::EXECUTOR_TERMINATED,
            message: format!(
                "Executor terminated; for want of memory the kernel killed {} of its processes, though its own limit \
                 was not met",
                end.kills_count
            )
            .into(),
            limited: Resources::default(),
        },
        _ => Termination {
            state: TaskState::Failed,
            reason: Reason::CONTAINER_LIMITATION_MEMORY,
            message: overstepped(end).into(),
            limited: end.limit_bytes.map(|bytes| Resource::scalar(MEM, mebibytes(bytes))).into_iter().collect(),
        },
    }
}

/// In the words and the order in which Mesos tells it, with what the container held when it was last measured, if it was.
fn overstepped(end: &OutOfMemory) -> String {
    let mut text = "Memory limit exceeded:".to_owned();
    if let Some(limit) = end.limit_bytes {
        _ = write!(text, " Requested: {}MB", mebibytes(limit));
    }
    _ = write!(text, " Maximum Used: {}MB", mebibytes(end.peak_bytes));
    let held = [("anon", end.anon_bytes), ("file", end.file_bytes), ("kernel", end.kernel_bytes)];
    if held.iter().any(|(_, bytes)| *bytes > 0) {
        text.push_str("\n\nMEMORY STATISTICS:");
        held.iter().for_each(|(name, bytes)| _ = write!(text, "\n{name} {bytes}"));
    }
    text
}

fn mebibytes(bytes: u64) -> Quantity {
    Quantity::from_milli(bytes.saturating_mul(1000) >> 20)
}

impl Node {
    /// It is ended at once; its tasks are told when nothing of it is left.
    pub(super) fn disk_overstepped(
        &mut self,
        container_id: &ContainerId,
        limit_bytes: u64,
        used_bytes: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(executor) = self.executor_mut(container_id) else { return };
        // One that is ending already ends for its own reason.
        if !matches!(executor.phase, Phase::Registering | Phase::Running) {
            return;
        }
        executor.phase = Phase::Ending;
        let (used, limit) = (mebibytes(used_bytes), mebibytes(limit_bytes));
        executor.termination = Some(Termination {
            state: TaskState::Failed,
            reason: Reason::CONTAINER_LIMITATION_DISK,
            message: format!("Disk usage ({used}MB) exceeds quota ({limit}MB)").into(),
            limited: [Resource::scalar(DISK, limit)].into_iter().collect(),
        });
        self.timers.clear(container_id);
        effects.push(Effect::Destroy { container_id: container_id.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> OutOfMemory {
        OutOfMemory {
            limit_met_count: 3,
            kills_count: 2,
            limit_bytes: Some(96 << 20),
            peak_bytes: (96 << 20) - (1 << 19),
            anon_bytes: 70_000_000,
            file_bytes: 1_000,
            kernel_bytes: 2_000,
        }
    }

    #[test]
    fn a_limit_that_was_met_is_told_with_the_containers_figures() {
        let told = out_of_memory(&end());
        assert_eq!(told.reason, Reason::CONTAINER_LIMITATION_MEMORY);
        let expect = "Memory limit exceeded: Requested: 96MB Maximum Used: 95.5MB\n\n\
                      MEMORY STATISTICS:\nanon 70000000\nfile 1000\nkernel 2000";
        assert_eq!(&*told.message, expect);
        assert_eq!(told.limited.to_string(), "mem:96");
        let unmeasured = OutOfMemory { anon_bytes: 0, file_bytes: 0, kernel_bytes: 0, ..end() };
        let expect = "Memory limit exceeded: Requested: 96MB Maximum Used: 95.5MB";
        assert_eq!(&*out_of_memory(&unmeasured).message, expect);
    }

    #[test]
    fn a_kill_below_the_limit_is_not_the_containers_fault() {
        let told = out_of_memory(&OutOfMemory { limit_met_count: 0, ..end() });
        assert_eq!(told.reason, Reason::EXECUTOR_TERMINATED);
        assert!(told.message.contains("killed 2 of its processes, though its own limit was not met"));
        assert!(told.limited.is_empty());
    }
}
