//! What a container's program reads and writes, as it is asked for. Decides: `io` makes it.

use api::v1;

/// What a program reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Nothing to read; the sandbox's files.
    Files,
    /// Pipes, whose other ends are the agent's.
    Pipes,
    /// A terminal, whose other end is the agent's.
    Terminal(Option<Window>),
}

/// The size of a terminal's window, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub rows: u16,
    pub columns: u16,
}

impl Window {
    /// What is too large for the kernel is as large as it can be.
    pub fn of(size: v1::tty_info::WindowSize) -> Self {
        let number = |number| u16::try_from(number).unwrap_or(u16::MAX);
        Self { rows: number(size.rows), columns: number(size.columns) }
    }
}

/// Who asks for a terminal gets one.
pub fn terminal(container: Option<&v1::ContainerInfo>) -> Option<Io> {
    let info = container?.tty_info.as_ref()?;
    Some(Io::Terminal(info.window_size.map(Window::of)))
}
