//! The agent's program: flags, log, run. It is also the executors of commands and of task groups and the container logger,
//! which it starts itself, and the doctor of its machine.

use agent::command_executor;
use agent::config::Config;
use agent::default_executor;
use agent::doctor;
use agent::logger;
use agent::runtime;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Before anything is set up: this is started for every command task, and its time is the task's.
    if std::env::args().nth(1).as_deref() == Some("command-executor") {
        return command_executor::run();
    }
    if std::env::args().nth(1).as_deref() == Some("default-executor") {
        return default_executor::run();
    }
    if std::env::args().nth(1).as_deref() == Some(logger::SUBCOMMAND) {
        return match std::env::args_os().nth(2) {
            Some(work_dir) => logger::run(work_dir.as_ref()),
            None => ExitCode::from(2),
        };
    }
    if std::env::args().nth(1).as_deref() == Some("doctor") {
        return doctor::run();
    }
    let config = Config::of(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let filter = match EnvFilter::try_new(&config.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!(
                "error: invalid value '{}' for '--log': {error} (such as 'info' or 'agent=debug,warn')",
                config.log
            );
            return ExitCode::from(2);
        }
    };
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .init();
    match runtime::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{:#}", anyhow::Error::from(error)), "the agent ends");
            ExitCode::FAILURE
        }
    }
}
