//! The terminal: taken over, given back whatever happens, and its keys. The only file that names crossterm.

use std::io::{self, Stdout, stdout};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute, queue};
use tokio::sync::mpsc::UnboundedSender;

use super::input::{Input, Key};

/// The terminal while it is ours. Dropped, also by a panic that unwinds, it is as it was.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(super) fn take() -> io::Result<Self> {
        // What a panic says is to be read on the ordinary screen.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
        let taken = enter().and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match taken {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Takes the terminal over once more, after somebody else had it.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        enter()?;
        self.repaint()
    }

    /// Lets somebody else have it for a while.
    pub(super) fn lend(&mut self) {
        give_back();
    }

    /// Draws all of the next picture, not only what changed. `Terminal::clear` would ask the terminal where its cursor is,
    /// and wait seconds for an answer that the keyboard's thread has got.
    pub(super) fn repaint(&mut self) -> io::Result<()> {
        execute!(stdout(), Clear(ClearType::All))?;
        self.terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }

    /// Shows a picture in one piece, where the terminal can do that.
    pub(super) fn show(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        queue!(stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| draw(frame.buffer_mut()))?;
        execute!(stdout(), EndSynchronizedUpdate)
    }

    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, cursor::Hide)
}

/// There is nothing to do about a terminal that cannot be given back: it is gone.
fn give_back() {
    let _ = execute!(stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}

/// The terminal's keys while they are handed on as they are typed. Dropped, it is as it was.
pub(crate) struct Raw;

impl Raw {
    pub(crate) fn take() -> io::Result<Self> {
        enable_raw_mode().map(|()| Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}

/// Columns and rows of the terminal, if there is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    ratatui::crossterm::terminal::size().ok().filter(|(columns, rows)| *columns > 0 && *rows > 0)
}

/// How wide the terminal is, if there is one.
pub(super) fn width() -> Option<u16> {
    ratatui::crossterm::terminal::size().ok().map(|(width, _)| width).filter(|it| *it > 0)
}

/// Hands on keys and sizes from a thread of its own, which ends with the process: nothing can call it off while it waits
/// for a key. A terminal that is gone is told as the wish to quit.
pub(super) fn listen(inputs: UnboundedSender<Input>) -> io::Result<()> {
    let run = move || {
        loop {
            let input = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => key_of(key).map(Input::Key),
                Ok(Event::Resize(width, height)) => Some(Input::Resized { width, height }),
                Ok(_) => None,
                Err(_) => Some(Input::Key(Key::Control('c'))),
            };
            let is_over = input.is_some_and(|input| inputs.send(input).is_err());
            if is_over {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keyboard".into()).spawn(run).map(drop)
}

fn key_of(key: KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char(letter) if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Control(letter),
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}
