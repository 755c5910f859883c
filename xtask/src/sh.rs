//! Running other programs, and where this checkout is. No chore's own logic.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The workspace's root folder. Cargo says at run time where the package is; the path seen at compile time would be
/// wrong in a checkout that was moved after it was built.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().expect("the package lies in a folder of the workspace").to_owned()
}

/// The cargo that runs us, else the one on PATH.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// What `cargo metadata` says of the workspace's own packages; reads nothing from the network.
pub(crate) fn metadata() -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    serde_json::from_str(&output(&mut command)?).context("cargo metadata printed something that is not JSON")
}

/// Cargo's target folder, wherever the user has put it.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let metadata = metadata()?;
    let path = metadata["target_directory"].as_str().context("cargo metadata names no target_directory")?;
    Ok(PathBuf::from(path))
}

/// Runs a command with our own terminal, after saying what it is. Fails unless it exits 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    say(&format!("$ {}", shown(command)));
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs a command and returns what it wrote to stdout. Fails, with its stderr, unless it exits 0.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !done.status.success() {
        bail!(
            "`{}` failed: {}\n{}",
            shown(command),
            done.status,
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    String::from_utf8(done.stdout)
        .with_context(|| format!("`{}` printed something that is not UTF-8", shown(command)))
}

/// Whether a program can be started and exits 0.
pub(crate) fn works(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A line of our own on stderr, set apart from what the programs we run print.
pub(crate) fn say(line: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("\x1b[2m{line}\x1b[0m");
    } else {
        eprintln!("{line}");
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(short).collect::<Vec<_>>().join(" ")
}

/// Programs are shown by their names: their folders tell the reader nothing.
fn short(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    match Path::new(word).file_name() {
        Some(name) if text.starts_with('/') && text.ends_with("/cargo") => {
            name.to_string_lossy().into_owned()
        }
        _ => text.into_owned(),
    }
}

/// Whether this process may install packages and load BPF programs.
pub(crate) fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Whether a skipped test or check counts as failed (`REQUIRE=all`, as CI sets it).
pub(crate) fn everything_required() -> bool {
    std::env::var("REQUIRE").is_ok_and(|value| value == "all")
}
