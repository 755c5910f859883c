//! `ingot top --once`: one list as text, for scripts and for who has no terminal.
#![expect(clippy::disallowed_methods, reason = "the shell that reads the clock")]

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::draw::{Glyphs, draw};
use super::fetch::{Source, look};
use super::input::Input;
use super::layout::Layout;
use super::state::State;
use super::{Args, terminal};
use crate::Cluster;

/// Characters a line where nobody says how many there are: all columns fit.
const WIDTH: u16 = 220;
/// Lines around the rows.
const AROUND: u16 = 7;

pub(super) async fn run(
    cluster: &Cluster,
    args: &Args,
    mut state: State,
    glyphs: Glyphs,
) -> Result<ExitCode> {
    let source = Source {
        cluster: cluster.clone(),
        interval: args.interval,
        limit: args.limit,
        epoch: Instant::now(),
    };
    let mut operator = cluster.operator();
    let height = args.rows.saturating_add(AROUND);
    let told = std::env::var("COLUMNS").ok().and_then(|it| it.parse().ok());
    let width = told.or_else(terminal_width).unwrap_or(WIDTH).clamp(20, 1_000);
    let (mut effects, mut known) = (Vec::new(), None);
    state.handle(Input::Resized { width, height }, &mut effects);
    // Rates are between two looks.
    for number in 0..2 {
        if number > 0 {
            tokio::time::sleep(args.interval).await;
        }
        let reading = source.read(&mut operator).await?;
        state.handle(Input::Reading(Box::new(reading)), &mut effects);
        if let Some(id) = &state.wanted {
            bail!("{} knows no task `{id}` (see: ingot tasks)", cluster.master);
        }
        if let Some(watch) = state.detail.as_ref().and_then(|it| it.watch.clone()) {
            let said = look(&watch, &mut known).await.map(Box::new).map_err(|error| format!("{error:#}"));
            state.handle(Input::Insight(watch, said), &mut effects);
        }
    }
    let mut buffer = Buffer::empty(Rect { x: 0, y: 0, width, height });
    draw(&state, source.now(), glyphs, &mut buffer);
    // Keys do nothing here: without the last line.
    let text = text(&buffer, Layout::of(width, height).hints.y);
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The width of the terminal that is written to; a pipe has none.
fn terminal_width() -> Option<u16> {
    std::io::IsTerminal::is_terminal(&std::io::stdout()).then(terminal::width).flatten()
}

/// The first lines of a picture as text, without blanks at the ends.
fn text(buffer: &Buffer, height: u16) -> String {
    let line = |y| {
        let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    let lines: Vec<String> = (0..height).map(line).collect();
    format!("{}\n", lines.join("\n").trim_end())
}
