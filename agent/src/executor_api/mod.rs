//! The agent's HTTP side: executors' calls and their streams (`call`, `events`), the server and the routes that lead there
//! or to `crate::http`, and bodies.

pub(crate) mod body;
pub(crate) mod call;
mod containers;
mod download;
pub(crate) mod events;
mod input;
mod route;
pub(crate) mod server;
