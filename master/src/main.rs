//! `ingot-master`: reads its configuration, starts a [`master::Master`], and runs it until it is told to stop.

use anyhow::Context;
use master::Master;
use master::config::Config;
use std::io::IsTerminal;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let config = match Config::parse(std::env::args_os(), &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        // Help, the version, or a flag that cannot be: clap writes each where it belongs.
        Err(error) => error.exit(),
    };
    log_to_stderr(&config.log);
    crash_as_a_whole();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ingot-master: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        let listen = |kind| signal(kind).context("cannot listen for signals");
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?)
    };
    let mut master = Master::start(config)?;
    let end = runtime.block_on(async {
        tokio::select! {
            end = master.ended() => return Some(end),
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
        None
    });
    match end {
        // Crash-only: there is nothing to tidy up that a new start would not.
        Some(end) => Err(end.into()),
        None => {
            master.stop();
            Ok(())
        }
    }
}

fn log_to_stderr(filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .init();
}

/// A master with a dead thread is worse than none: agents and frameworks are safe with the next one.
fn crash_as_a_whole() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::abort();
    }));
}
