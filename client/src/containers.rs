//! An executor's calls to its agent about containers nested in its own: launch, wait, signal, remove. Each goes on a connection of
//! its own, so that many can be waited for at once, and is answered at last: where the agent is away, or not ready, it is
//! made again. All bear that; one that launched before says so and launches nothing.

use std::time::Duration;

use api::v1;
use api::v1::agent::{Call, Response, call, response};
use http::StatusCode;
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::http::Connection;
use crate::stream::post;
use crate::{Address, Encoding, Error};

const PATH: &str = "/api/v1";
/// A container may run for as long as it likes; the question after its end is asked anew this often.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);
/// An agent fetches a container's files before it answers.
const LAUNCH_MAX: Duration = Duration::from_secs(60 * 60);
/// The longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Calls one agent.
#[derive(Clone, Debug)]
pub struct Containers {
    agent: Address,
    /// Whether it is there: an agent that is back knows our containers when it has taken our subscription.
    is_there: watch::Receiver<bool>,
}

impl Containers {
    /// Calls are made while `is_there` says so.
    pub fn new(agent: Address, is_there: watch::Receiver<bool>) -> Self {
        Self { agent, is_there }
    }

    /// Returns when the container runs. An error is the agent's refusal.
    pub async fn launch(self, launch: call::LaunchContainer) -> Result<(), Error> {
        let call = Call { launch_container: Some(launch), ..of(call::Type::LaunchContainer) };
        self.answered(call, LAUNCH_MAX).await.map(drop)
    }

    /// How the container ended, when it has; `None` where the agent knows no such container.
    pub async fn wait(self, id: v1::ContainerId) -> Result<Option<response::WaitContainer>, Error> {
        let wait = call::WaitContainer { container_id: id };
        let call = Call { wait_container: Some(wait), ..of(call::Type::WaitContainer) };
        match self.answered(call, WAIT_MAX).await {
            Ok(response) => Ok(Some(response.wait_container.unwrap_or_default())),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to the container's program, SIGKILL to all of it. One that has ended takes any signal.
    pub async fn signal(self, id: v1::ContainerId, signal: i32) -> Result<(), Error> {
        let kill = call::KillContainer { container_id: id, signal: Some(signal) };
        let call = Call { kill_container: Some(kill), ..of(call::Type::KillContainer) };
        match self.answered(call, crate::http::ANSWER_MAX).await {
            Err(error) if !is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets a container that has ended, and deletes its sandbox. One that the agent does not know is no error.
    pub async fn remove(self, id: v1::ContainerId) -> Result<(), Error> {
        let remove = call::RemoveContainer { container_id: id };
        let call = Call { remove_container: Some(remove), ..of(call::Type::RemoveContainer) };
        match self.answered(call, crate::http::ANSWER_MAX).await {
            Err(error) if !is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks until there is an answer.
    async fn answered(mut self, call: Call, patience: Duration) -> Result<Response, Error> {
        let request = post(call.r#type().as_str_name(), PATH, Encoding::Protobuf, &call);
        let mut connection = Connection::new(self.agent.clone()).with_patience(patience);
        let mut backoff = Backoff::up_to(BACKOFF_MAX);
        loop {
            // Whoever would say so is gone only when nobody waits for this any more.
            _ = self.is_there.wait_for(|is_there| *is_there).await;
            match connection.fetch(&request).await {
                Ok(body) => {
                    return Encoding::Protobuf
                        .decode(body)
                        .map_err(|error| connection.nonsense(&request, error.to_string()));
                }
                Err(Error::Refused { status, .. }) if status == StatusCode::SERVICE_UNAVAILABLE => {}
                Err(error @ Error::Refused { .. }) => return Err(error),
                Err(error) if !error.may_pass() => return Err(error),
                Err(_) => {}
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }
}

fn of(r#type: call::Type) -> Call {
    Call { r#type: Some(r#type.into()), ..Call::default() }
}

fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
}
