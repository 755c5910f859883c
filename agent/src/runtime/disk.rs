//! Sandboxes, held to the disk that their executors and tasks were given: measured one after the other, and who holds more
//! is told to the node.

use crate::containerizer::used;
use crate::node::input::Input;
use crate::runtime::Agent;
use model::id::ContainerId;
use model::quantity::Quantity;
use model::resources::DISK;
use std::rc::Rc;
use std::time::Duration;

impl Agent {
    /// For ever; nothing where the operator does not want it.
    pub(super) async fn keep_watching_disk(self: Rc<Self>) {
        let limits = &self.config.limits;
        if !limits.enforce_container_disk_quota {
            return;
        }
        let interval = Duration::from_millis(limits.container_disk_watch_interval);
        loop {
            tokio::time::sleep(interval).await;
            let known: Vec<ContainerId> = self.containers.borrow().keys().cloned().collect();
            for container_id in known {
                self.look_at_sandbox(container_id).await;
            }
        }
    }

    async fn look_at_sandbox(self: &Rc<Self>, container_id: ContainerId) {
        let given: Quantity =
            self.shares(&container_id).iter().map(|share| share.resources.scalar(DISK)).sum();
        // As in Mesos: who was given none is held to none.
        if given == Quantity::ZERO {
            return;
        }
        let limit_bytes = given.milli() * (1 << 20) / 1000;
        let container = self.containers.borrow().get(&container_id).cloned();
        let Some(sandbox) = container.and_then(|it| Some(it.sandbox()?.to_owned())) else { return };
        let measured = tokio::task::spawn_blocking(move || used::bytes(&sandbox)).await;
        match measured.expect("measuring does not panic") {
            Ok(used_bytes) if used_bytes > limit_bytes => {
                tracing::info!(container = %container_id, used_bytes, limit_bytes, "sandbox is over its limit");
                self.input(Input::DiskOverstepped { container_id, limit_bytes, used_bytes });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, container = %container_id, "sandbox cannot be measured"),
        }
    }
}
