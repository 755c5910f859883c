//! What can go wrong between a client and a daemon. Each names the address, so that its text can be shown as it is.

use std::time::Duration;

use crate::Address;

/// Why a request or a stream failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect to {address}")]
    Connect { address: Address, source: std::io::Error },
    #[error("no answer from {address} to {request} within {} s", limit.as_secs_f32())]
    Slow { address: Address, request: String, limit: Duration },
    #[error("the connection to {address} broke during {request}")]
    Broken { address: Address, request: String, source: hyper::Error },
    /// An answer that is neither success nor a redirect. The text is the daemon's own.
    #[error("{address} refused {request}: {}", refusal(*status, text))]
    Refused { address: Address, request: String, status: http::StatusCode, text: String },
    #[error("{address} redirects {request} without end")]
    RedirectLoop { address: Address, request: String },
    #[error("{address} answered {request} with something else than was asked for: {why}")]
    Nonsense { address: Address, request: String, why: String },
    /// The daemon closed an event stream that should not end.
    #[error("{address} ended the event stream")]
    StreamEnded { address: Address },
    /// Nothing came, not even a heartbeat.
    #[error("{address} was silent for {} s", silence.as_secs_f32())]
    Silent { address: Address, silence: Duration },
    /// A call was made while no event stream stood.
    #[error("not subscribed")]
    NotSubscribed,
    #[error("the user with id {0} has no name")]
    NamelessUser(u32),
    #[error("the environment lacks {0}, or it is malformed: executors are started by an agent")]
    Environment(&'static str),
}

/// Some refusals begin with their status, most do not.
fn refusal(status: http::StatusCode, text: &str) -> String {
    if text.starts_with(status.as_str()) { text.to_owned() } else { format!("{status} {text}") }
}

impl Error {
    /// Whether the same request may succeed later, on this address or another.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.is_server_error(),
            Self::Environment(_) | Self::NamelessUser(_) | Self::Nonsense { .. } => false,
            Self::Connect { .. }
            | Self::Slow { .. }
            | Self::Broken { .. }
            | Self::RedirectLoop { .. }
            | Self::StreamEnded { .. }
            | Self::Silent { .. }
            | Self::NotSubscribed => true,
        }
    }
}
