//! Agents as they describe themselves.

use crate::body::Body;
use crate::resources::Resources;
use std::sync::Arc;

/// An agent's own account of itself. `body` is the complete v1 `AgentInfo` (attributes, domain, ...), without an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentInfo {
    /// Name or address under which others reach it; offers carry it.
    pub hostname: Arc<str>,
    /// Address and port of its HTTP server.
    pub address: std::net::SocketAddr,
    /// Everything it has, reservations from its flags included.
    pub total: Resources,
    /// Of this boot of the machine: another one means that no task of before can be running.
    pub boot_id: Arc<str>,
    pub version: Arc<str>,
    pub body: Body,
}
