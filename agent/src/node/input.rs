//! Everything that can happen to the node.

use crate::node::effect::{Ending, Ticket};
use bytes::Bytes;
use model::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use model::resources::Resources;
use model::task::{Reason, TaskState, TaskStatus};
use std::sync::Arc;
use wire::message::ToAgent;

/// One connection to the master, from *Dial* until it is lost; numbers are not used again, so that word of an old
/// connection cannot be taken for word of the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session(pub u64);

/// One request of an executor. For a SUBSCRIBE it also names the stream of events that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller(pub u64);

/// See the module's head.
#[derive(Debug)]
pub enum Input {
    /// Checkpoints are read; the outside may be met. Once, first.
    Start,
    /// The connection that *Dial* wanted stands.
    LinkUp {
        session: Session,
    },
    /// It could not be had, or was lost. Once for each *Dial* that was not followed by *HangUp*.
    LinkDown {
        session: Session,
    },
    /// Another master leads than the one that was known last. At any time.
    Elected,
    FromMaster {
        session: Session,
        message: Box<ToAgent>,
    },
    /// The record of that *Persist* is on disk, and so are all before it that concern the same task.
    Durable {
        ticket: Ticket,
    },
    /// The executor of that *Launch* runs.
    Launched {
        container_id: ContainerId,
        pid: u32,
    },
    /// It does not; nothing of it is left, and no *ContainerEnded* will follow.
    LaunchFailed {
        container_id: ContainerId,
        why: Arc<str>,
    },
    /// No process of the container is left and its last figures have been taken. Once for each *Launched*, and for each
    /// *Reattach*.
    ContainerEnded {
        container_id: ContainerId,
        end: ContainerEnd,
    },
    /// The container's sandbox holds more than it was given of disk. May come again while it is being ended.
    DiskOverstepped {
        container_id: ContainerId,
        limit_bytes: u64,
        used_bytes: u64,
    },
    /// What the agent may lend out, used or not, has changed: told to the master now, and to each one that comes after it. At any
    /// time; every part counts as revocable.
    Oversubscribed {
        total: Resources,
    },
    /// The container must go, for what it has on loan is needed: it is ended at once, and its tasks are told `cause` with
    /// `CONTAINER_PREEMPTED`. At any time; ignored where it is ending anyway, or has nothing on loan.
    Preempt {
        container_id: ContainerId,
        cause: Arc<str>,
    },
    /// An executor calls; answered by one *Answer*.
    Executor {
        caller: Caller,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        call: ExecutorCall,
    },
    /// The executor's end of a subscription stream is gone.
    StreamClosed {
        caller: Caller,
    },
    /// End everything that runs here, then exit.
    End(Ending),
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerEnd {
    /// Raw status of waitpid(2); `None` when nobody could see it.
    pub wait_status: Option<i32>,
    /// When the kernel killed processes of it for want of memory.
    pub out_of_memory: Option<OutOfMemory>,
}

/// How a container stood with its memory when the kernel killed in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutOfMemory {
    /// How often its own limit was met and nothing could be reclaimed; 0 where somebody else's want was the reason.
    pub limit_met_count: u64,
    pub kills_count: u64,
    /// `None`: it had none.
    pub limit_bytes: Option<u64>,
    pub peak_bytes: u64,
    /// These three as last measured: by the time of the end what its processes held is gone.
    pub anon_bytes: u64,
    pub file_bytes: u64,
    pub kernel_bytes: u64,
}

/// What becomes of the tasks of an executor that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    pub state: TaskState,
    pub reason: Reason,
    pub message: Arc<str>,
    /// What there was not enough of (`TaskStatus.limitation`).
    pub limited: Resources,
}

/// What executors may ask. Everything else about a call (media types, missing fields) was checked before.
#[derive(Debug)]
pub enum ExecutorCall {
    Subscribe {
        /// Tasks it was given and has not yet had an update acknowledged of.
        unacknowledged_tasks: Vec<TaskId>,
        /// Updates it sent and has not yet had acknowledged; taken as if they came now, in this order.
        unacknowledged_updates: Vec<TaskStatus>,
    },
    /// `status.update_id` is there.
    Update(Box<TaskStatus>),
    /// For its scheduler.
    Message(Bytes),
}
