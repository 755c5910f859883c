//! Checks and health checks of tasks: probes from time to time, and what their results mean. For whichever executor runs
//! the task: nothing here knows one.
//!
//! ```text
//!   executor --Started, Paused, Resumed--> [ core ] --Probe, Cancel--> [ runner ] --HTTP, TCP, or as the executor
//!   executor <-----Checked, Health-------- [ core ] <----Probed------- [ runner ]   runs commands where the task is
//! ```
//! An executor holds a [`core::Checks`] and a [`runner::Runner`] for each task. It hands the core's *Probe* and *Cancel* to
//! the runner, and what the runner answers to the core; it turns *Checked* and *Health* into updates, and calls the core
//! when its deadline has come. Where a command is to run is all that it has to say itself ([`runner::Commands`]).

pub(crate) mod core;
mod http;
pub(crate) mod probe;
pub(crate) mod runner;
#[cfg(test)]
mod scenarios;
