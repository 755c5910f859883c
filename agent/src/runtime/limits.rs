//! Limits of a container that runs, as an operator changes them: tried on the kernel, then written down, then told. Whatever
//! fails leaves them as they were.

use crate::cgroup::Enforced;
use crate::cgroup::knobs::{Controller, Limits};
use crate::checkpoint::layout::{LIMITS_INFO, Meta};
use crate::checkpoint::store;
use crate::containerizer::limits::{Ceiling, EGRESS, Share, limits};
use crate::containerizer::overrides::{Change, Overrides, PIDS};
use crate::containerizer::service::Running;
use crate::runtime::Agent;
use crate::runtime::containers::{Container, chain};
use model::id::ContainerId;
use model::quantity::Quantity;
use model::resources::{CPUS, MEM};
use std::path::PathBuf;
use std::rc::Rc;
use wire::checkpoint::LimitsFile;

/// Why the limits are as they were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitsRefused {
    #[error("Container '{container_id}' cannot be found")]
    Unknown { container_id: ContainerId },
    #[error("{0}")]
    Invalid(String),
    /// Not now, or not here.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Failed(String),
}

impl LimitsRefused {
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::Unknown { .. } => 404,
            Self::Invalid(_) => 400,
            Self::Conflict(_) => 409,
            Self::Failed(_) => 500,
        }
    }
}

impl Agent {
    /// What a container is held to.
    pub(super) fn limits_of(&self, container: &Container) -> Limits {
        let shares = self.shares(&container.run.container_id);
        limits(&shares, &self.limit_policy(), &container.overrides.borrow())
    }

    /// Sets limits of a container that runs, beyond what follows from its tasks; they hold until its end, also as tasks come
    /// and go, and under the next agent.
    pub(crate) async fn update_limits(
        self: &Rc<Self>,
        container_id: &ContainerId,
        change: &Change,
    ) -> Result<(), LimitsRefused> {
        let unknown = || LimitsRefused::Unknown { container_id: container_id.clone() };
        let container = self.containers.borrow().get(container_id).cloned().ok_or_else(unknown)?;
        let running = container.running.get().ok_or_else(unknown)?;
        // One change at a time: the kernel's files and ours must not tell of two.
        let _turn = container.changing.lock().await;
        let old = container.overrides.borrow().clone();
        let total = self.look(|node| node.info().total.clone());
        let new = old.changed(change, &total).map_err(|bad| LimitsRefused::Invalid(bad.to_string()))?;
        self.check_enforced(change)?;
        let (before, after) = (self.limits_with(&container, &old), self.limits_with(&container, &new));
        self.check_memory(running, &before, &after).await?;
        let applied = self.containerizer.override_limits(running, after, (&old, &new)).await;
        let kept = match applied {
            Ok(()) => self.keep(&container, &new).await,
            Err(error) => Err(LimitsRefused::Invalid(chain(&error))),
        };
        if let Err(why) = kept {
            if let Err(error) = self.containerizer.override_limits(running, before, (&new, &old)).await {
                let cause = &error as &dyn std::error::Error;
                tracing::error!(cause, container = %container_id, "limits are neither the old nor the new ones");
            }
            return Err(why);
        }
        tracing::info!(container = %container_id, ?change, "limits changed");
        container.overrides.replace(new);
        // Tasks may have come or gone meanwhile.
        self.resize(container_id);
        Ok(())
    }

    fn limits_with(&self, container: &Container, overrides: &Overrides) -> Limits {
        let shares: Vec<Share> = self.shares(&container.run.container_id);
        limits(&shares, &self.limit_policy(), overrides)
    }

    /// A limit that would be written down and hold nobody is refused.
    fn check_enforced(&self, change: &Change) -> Result<(), LimitsRefused> {
        let controller = |name: &str| match name {
            CPUS => Some(Controller::Cpu),
            MEM => Some(Controller::Memory),
            PIDS => Some(Controller::Pids),
            EGRESS => Some(Controller::Egress),
            _ => None,
        };
        let named = change.limits.iter().map(|(name, _)| name.as_str());
        let of_limits = named.filter_map(|name| Some((name, controller(name)?)));
        let of_io = (!change.io_max.is_empty()).then_some(("io_max", Controller::Io));
        for (name, controller) in of_limits.chain(of_io) {
            if let Enforced::No { reason } = self.containerizer.enforcement().of(controller) {
                return Err(LimitsRefused::Conflict(format!(
                    "'{name}' is not enforced on this agent: {reason}"
                )));
            }
        }
        Ok(())
    }

    /// A limit below what is in use would end the container: first the kernel takes back what it can, then it is refused.
    async fn check_memory(
        &self,
        running: &Running,
        before: &Limits,
        after: &Limits,
    ) -> Result<(), LimitsRefused> {
        let Some(limit) =
            after.memory_max_bytes.filter(|_| after.memory_max_bytes != before.memory_max_bytes)
        else {
            return Ok(());
        };
        match self.containerizer.reclaim(running, limit).await {
            Some(used) if used > limit => Err(LimitsRefused::Conflict(format!(
                "'limits.mem': the container uses {}MB, which cannot be reclaimed",
                used.div_ceil(1 << 20)
            ))),
            _ => Ok(()),
        }
    }

    fn limits_file(&self, container: &Container) -> PathBuf {
        let agent_id =
            self.look(|node| node.agent_id().cloned()).expect("only an agent with an id runs containers");
        Meta::of(&self.config.work_dir).run(&agent_id, &container.run).join(LIMITS_INFO)
    }

    /// On disk, where the container outlives the agent.
    async fn keep(&self, container: &Container, overrides: &Overrides) -> Result<(), LimitsRefused> {
        let path = self.limits_file(container);
        // A run that is not checkpointed has no folder.
        if !path.parent().is_some_and(|folder| folder.is_dir()) {
            return Ok(());
        }
        let milli = |ceiling| match ceiling {
            Ceiling::Unlimited => None,
            Ceiling::At(amount) => Some(Quantity::milli(amount)),
        };
        let file = LimitsFile {
            limits: overrides.limits().map(|(name, ceiling)| (name.to_owned(), milli(ceiling))).collect(),
            io_max: overrides.io_max().iter().map(|line| line.as_str().to_owned()).collect(),
        };
        store::replace_durably(&path, &file.encode())
            .await
            .map_err(|error| LimitsRefused::Failed(chain(&error)))
    }

    /// What was written down for a container of an earlier agent.
    pub(super) fn remember_limits(&self, container: &Container) {
        let path = self.limits_file(container);
        let Ok(bytes) = std::fs::read(&path) else { return };
        match LimitsFile::decode(&bytes) {
            Ok(file) => {
                let ceiling = |milli: Option<u64>| {
                    milli.map_or(Ceiling::Unlimited, |milli| Ceiling::At(Quantity::from_milli(milli)))
                };
                let limits = file.limits.into_iter().map(|(name, milli)| (name, ceiling(milli)));
                container.overrides.replace(Overrides::remembered(limits, &file.io_max));
            }
            // The kernel holds the container to them all the same.
            Err(error) => {
                let cause = &error as &dyn std::error::Error;
                tracing::error!(cause, path = %path.display(), "limits that were set are not understood");
            }
        }
    }
}
