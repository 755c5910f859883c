//! Commands of checks: each a container in the task's, which the agent makes, and which is killed and removed with its end or
//! with the patience of who waits for it.

use api::v1;
use api::v1::agent::call::LaunchContainer;
use client::containers::Containers;

use super::launch::beside;
use crate::checks::core::Outcome;
use crate::checks::runner::Commands;
use crate::sys::pidfd::Exit;

/// Of the task that is launched by this.
pub(super) fn commands(containers: Containers, task: &LaunchContainer) -> Commands {
    let task_id = task.container_id.clone();
    let environment = task.command.as_ref().and_then(|it| it.environment.clone()).unwrap_or_default();
    std::sync::Arc::new(move |asked| {
        let value = format!("check-{}", uuid::Uuid::new_v4());
        let id = v1::ContainerId { value, parent: Some(Box::new(task_id.clone())) };
        let launch = beside(&environment, id.clone(), asked);
        let probe = Nested { containers: containers.clone(), id };
        Box::pin(async move { probe.run(launch).await })
    })
}

/// A container that is over when this is dropped.
struct Nested {
    containers: Containers,
    id: v1::ContainerId,
}

impl Nested {
    async fn run(&self, launch: LaunchContainer) -> Outcome {
        if let Err(error) = self.containers.clone().launch(launch).await {
            return Outcome::Failed { why: super::refusal(error) };
        }
        match self.containers.clone().wait(self.id.clone()).await {
            Ok(Some(told)) => match told.exit_status.map(Exit::from_wait_status) {
                Some(Exit::Code(code)) => Outcome::Exit(code),
                Some(other) => Outcome::Failed { why: format!("the command {other}") },
                None => Outcome::Hindered { why: "nobody knows how the command ended".to_owned() },
            },
            Ok(None) => Outcome::Hindered { why: "the agent does not know the command any more".to_owned() },
            Err(error) => Outcome::Hindered { why: super::refusal(error) },
        }
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        let (containers, id) = (self.containers.clone(), self.id.clone());
        // None where the executor itself is ending, and all its containers with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            // One that has ended, or was never made, takes all three. What cannot be said to an agent ends with the task.
            _ = containers.clone().signal(id.clone(), nix::sys::signal::SIGKILL as i32).await;
            _ = containers.clone().wait(id.clone()).await;
            _ = containers.remove(id).await;
        });
    }
}
