//! `ingot exec` and `ingot attach`: a command in a running task's container, or what the task itself shows on its terminal.
//! Output is copied as it comes, a terminal of ours is handed over as it is: keys, size and all.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use api::v1;
use api::v1::agent::call::LaunchNestedContainerSession;
use bytes::Bytes;
use client::session::{Input, Output, Piece, Sessions, Window};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::Cluster;
use crate::sandbox::{Task, container_of};
use crate::top::terminal::{Raw, size};

/// A command in a task's container.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Pass our standard input on.
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal, as large as ours.
    #[arg(long, short)]
    tty: bool,
    /// As this user of the agent's machine (default: the task's).
    #[arg(long, short)]
    user: Option<String>,
    /// The task's id, as `ingot tasks` lists it.
    task: String,
    /// The command: one word is a shell's command line, several are a program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// A task that has a terminal.
#[derive(clap::Args)]
pub(crate) struct AttachArgs {
    /// Only look on.
    #[arg(long)]
    no_stdin: bool,
    /// The task's id, as `ingot tasks` lists it.
    task: String,
}

/// Added to a signal's number, as shells do.
const SIGNALLED: i32 = 128;
/// Ctrl-P Ctrl-Q, typed one after the other, leave a task that goes on.
const DETACH: [u8; 2] = [0x10, 0x11];
/// What is read of our input at once, bytes.
const PIECE_BYTES: usize = 16 << 10;
/// Pieces of our input read ahead.
const INPUT_AHEAD: usize = 4;

pub(crate) async fn run(cluster: &Cluster, args: &Args) -> Result<ExitCode> {
    let (sessions, parent) = find(cluster, &args.task).await?;
    if args.tty && !std::io::stdin().is_terminal() {
        bail!("--tty passes our terminal on, but our standard input is none");
    }
    let id = v1::ContainerId { value: uuid::Uuid::new_v4().to_string(), parent: Some(Box::new(parent)) };
    let output = sessions.launch(launch(args, id.clone())).await?;
    let wants_input = args.interactive || args.tty;
    let with =
        With { input: wants_input.then(|| id.clone()), has_terminal: args.tty, keys: args.interactive };
    let shown = show(&sessions, output, with, None).await;
    // Whatever became of our side, the command's own end is what counts, if there is one.
    let status = sessions.wait(id.clone()).await;
    let _ = sessions.remove(id).await;
    shown?;
    let status = status?.context("the command has ended, but how is not known")?;
    Ok(exit_code(status))
}

pub(crate) async fn attach(cluster: &Cluster, args: &AttachArgs) -> Result<ExitCode> {
    let (sessions, id) = find(cluster, &args.task).await?;
    let output = sessions.attach_output(id.clone()).await;
    let output = output.with_context(|| {
        format!(
            "only a task that was given a terminal (container.tty_info) can be attached to; `{}`",
            args.task
        )
    })?;
    let has_terminal = std::io::stdin().is_terminal();
    let input = (!args.no_stdin).then_some(id);
    let with = With { input, has_terminal, keys: true };
    show(&sessions, output, with, Some(DETACH)).await?;
    Ok(ExitCode::SUCCESS)
}

async fn find(cluster: &Cluster, id: &str) -> Result<(Sessions, v1::ContainerId)> {
    let task = Task::find(cluster, id).await?;
    if task.has_ended() {
        bail!("task {} has ended ({})", task.id, task.state);
    }
    let (address, container) = container_of(cluster, &task).await?;
    let container =
        container.with_context(|| format!("task {} ({}) has no container", task.id, task.state))?;
    Ok((Sessions::new(address), container))
}

fn launch(args: &Args, container_id: v1::ContainerId) -> LaunchNestedContainerSession {
    let mut command = v1::CommandInfo { user: args.user.clone(), ..v1::CommandInfo::default() };
    match &args.command[..] {
        [line] => command.value = Some(line.clone()),
        words => {
            command.shell = Some(false);
            command.value = words.first().cloned();
            command.arguments = words.to_vec();
        }
    }
    let container = args.tty.then(|| {
        // Which keys and colours it knows, only we can say.
        let term = std::env::var("TERM").ok().map(|value| v1::environment::Variable {
            name: "TERM".to_owned(),
            value: Some(value),
            ..v1::environment::Variable::default()
        });
        command.environment = Some(v1::Environment { variables: term.into_iter().collect() });
        v1::ContainerInfo {
            r#type: v1::container_info::Type::Mesos.into(),
            tty_info: Some(v1::TtyInfo { window_size: window() }),
            ..v1::ContainerInfo::default()
        }
    });
    LaunchNestedContainerSession { container_id, command: Some(command), container }
}

fn window() -> Option<Window> {
    size().map(|(columns, rows)| Window { rows: rows.into(), columns: columns.into() })
}

/// What goes the other way.
struct With {
    /// Into this container.
    input: Option<v1::ContainerId>,
    /// Ours is handed over.
    has_terminal: bool,
    /// Our standard input is, not only our terminal's size.
    keys: bool,
}

/// Copies until the output ends, or the two keys of `detach` are typed.
async fn show(sessions: &Sessions, mut output: Output, with: With, detach: Option<[u8; 2]>) -> Result<()> {
    let Some(id) = with.input else { return copy(&mut output).await };
    let (input, end) = sessions.attach_input(id).await?;
    let raw = with.has_terminal.then(Raw::take).transpose().context("our terminal")?;
    let watch = Detach { keys: detach.filter(|_| with.has_terminal), is_half: false };
    let done = {
        // At the same time, each at its own pace: a command may write before it has read what we have for it.
        let forward = forward(input, with.keys.then(listen), with.has_terminal, watch);
        let way_in = async {
            match end.await {
                // It was closed from there: the command has ended, and its last output may be on its way.
                Ok(()) => std::future::pending().await,
                Err(error) => Err(anyhow::Error::from(error)),
            }
        };
        tokio::select! {
            done = copy(&mut output) => done,
            done = forward => done,
            done = way_in => done,
        }
    };
    drop(raw);
    done
}

async fn copy(output: &mut Output) -> Result<()> {
    while let Some(piece) = output.next().await? {
        put(&piece)?;
    }
    Ok(())
}

/// What is typed, and the terminal's size. Returns when the keys to detach are typed.
async fn forward(
    input: Input,
    mut keys: Option<mpsc::Receiver<Bytes>>,
    has_terminal: bool,
    mut watch: Detach,
) -> Result<()> {
    let mut resized = signal(SignalKind::window_change()).context("SIGWINCH")?;
    let resize = async || {
        if let Some(size) = window().filter(|_| has_terminal) {
            input.resize(size).await;
        }
    };
    resize().await;
    loop {
        tokio::select! {
            typed = next(&mut keys) => {
                if watch.sees(&typed) {
                    return Ok(());
                }
                // The end of our input is that of theirs, and there is no more of it to be listened for.
                if typed.is_empty() {
                    keys = None;
                }
                input.write(typed).await;
            },
            _ = resized.recv() => resize().await,
        }
    }
}

async fn next(keys: &mut Option<mpsc::Receiver<Bytes>>) -> Bytes {
    match keys {
        Some(keys) => keys.recv().await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

/// Our standard input, from a thread that ends with the process: nothing can call it off while it reads. The last piece
/// is empty.
fn listen() -> mpsc::Receiver<Bytes> {
    let (sender, keys) = mpsc::channel(INPUT_AHEAD);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            // What cannot be read has ended.
            let count = stdin.read(&mut piece).unwrap_or(0);
            if sender.blocking_send(Bytes::copy_from_slice(&piece[..count])).is_err() || count == 0 {
                return;
            }
        }
    });
    keys
}

fn put(piece: &Piece) -> Result<()> {
    match piece {
        Piece::Stdout(bytes) => {
            let mut out = std::io::stdout();
            out.write_all(bytes)?;
            out.flush()?;
        }
        Piece::Stderr(bytes) => std::io::stderr().write_all(bytes)?,
    }
    Ok(())
}

/// Whether two keys come one after the other.
struct Detach {
    keys: Option<[u8; 2]>,
    is_half: bool,
}

impl Detach {
    fn sees(&mut self, typed: &[u8]) -> bool {
        let Some([first, second]) = self.keys else { return false };
        typed.iter().any(|&key| {
            let is_both = self.is_half && key == second;
            self.is_half = key == first;
            is_both
        })
    }
}

/// As a shell would have it.
fn exit_code(wait_status: i32) -> ExitCode {
    let code = match wait_status & 0x7f {
        0 => wait_status >> 8 & 0xff,
        number => SIGNALLED + number,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_us_as_it_ended() {
        let shown = |code: ExitCode| format!("{code:?}");
        for (status, code) in [(0, 0), (3 << 8, 3), (255 << 8, 255), (9, 137), (11 | 0x80, 139)] {
            assert_eq!(shown(exit_code(status)), shown(ExitCode::from(code)), "{status}");
        }
    }

    #[test]
    fn two_keys_detach_however_they_arrive() {
        let watch = || Detach { keys: Some(DETACH), is_half: false };
        assert!(watch().sees(b"ab\x10\x11c"));
        let mut halves = watch();
        assert!(!halves.sees(b"\x10") && halves.sees(b"\x11"));
        let mut between = watch();
        assert!(!between.sees(b"\x10x\x11\x10") && !between.sees(b"\x10") && between.sees(b"\x11"));
        assert!(!Detach { keys: None, is_half: false }.sees(b"\x10\x11"));
    }
}
