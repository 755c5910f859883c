//! The agent's HTTP side: executors' calls and their streams (`call`, `events`), what operators ask (`state`, `monitor`,
//! `metrics`, `files`), and the server and routes that lead there.

pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod events;
mod files;
mod metrics;
mod monitor;
mod route;
mod sandbox;
pub(crate) mod server;
mod show;
mod state;
