//! A container's input and output, where they pass through the agent: a terminal's, or a session's pipes. What comes out
//! goes to the sandbox's files and to everybody who is attached; what one of them sends goes in.
//!
//! ```text
//!   program --> [terminal or pipes] --> pump --> stdout, stderr (files of the sandbox)
//!      ^                                  +----> line, line, ...    (answers of ATTACH_CONTAINER_OUTPUT)
//!      +------------------------------------------- input           (one request of ATTACH_CONTAINER_INPUT at a time)
//! ```
//! Init has the terminal open, too (`spec::KEEP_FD`): without an agent nothing is lost and nothing ends, the program waits as
//! soon as the kernel's buffer is full.
//!
//! Who owns a session holds its program back by not reading; who merely looks on does not, and is dropped instead.

use crate::containerizer::io::{Ends, Switched};
use crate::containerizer::streams::Window;
use crate::runtime::nested::Owner;
use crate::sys::watch::Watch;
use crate::sys::{SysError, terminal};
use api::media::{self, Encoding};
use api::v1::DurationInfo;
use api::v1::agent::{ProcessIo, process_io};
use bytes::Bytes;
use nix::errno::Errno;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;
use tokio::sync::{Notify, mpsc};

/// What is read at once, bytes.
const PIECE_BYTES: usize = 16 << 10;
/// An owner that lets this much wait, bytes, holds its program back.
const OWNED_BYTES_MAX: usize = 256 << 10;
/// An onlooker that lets this much wait, bytes, is dropped.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Who is attached hears something at least this often (Mesos: `DEFAULT_CONTAINER_INPUT_HEARTBEAT` is as long).
const HEARTBEAT: Duration = Duration::from_secs(30);

pub(crate) use process_io::data::Type as Stream;

/// See the module's head.
pub(crate) struct Switchboard {
    lines: RefCell<Vec<Rc<Line>>>,
    /// Where input goes; `None` when it was closed.
    input: RefCell<Option<Rc<Watch>>>,
    has_terminal: bool,
    is_input_taken: Cell<bool>,
    /// Nothing is read before somebody is attached: a session's owner is to miss nothing.
    waits: Cell<bool>,
    attached: Notify,
    /// What is still to end: sources, and the container.
    open_count: Cell<usize>,
    is_closed: Cell<bool>,
    over: Notify,
}

/// To one of those who are attached.
struct Line {
    records: mpsc::UnboundedSender<Bytes>,
    waiting_bytes: Cell<usize>,
    read: Notify,
    encoding: Encoding,
    is_owner: bool,
}

impl Switchboard {
    /// `waits`: until somebody is attached.
    pub(super) fn start(switched: Switched, waits: bool) -> io::Result<Rc<Self>> {
        let Switched { ends, stdout, stderr } = switched;
        let watch = |fd: OwnedFd| Watch::new(fd, Interest::READABLE);
        let (input, sources, has_terminal) = match ends {
            Ends::Pipes { stdin, stdout: out, stderr: err } => (
                stdin,
                vec![(Stream::Stdout, watch(out)?, stdout), (Stream::Stderr, watch(err)?, stderr)],
                false,
            ),
            Ends::Terminal(end) => (end.try_clone()?, vec![(Stream::Stdout, watch(end)?, stdout)], true),
        };
        let board = Rc::new(Self {
            lines: RefCell::default(),
            input: RefCell::new(Some(Rc::new(Watch::new(input, Interest::WRITABLE)?))),
            has_terminal,
            is_input_taken: Cell::new(false),
            waits: Cell::new(waits),
            attached: Notify::new(),
            open_count: Cell::new(sources.len() + 1),
            is_closed: Cell::new(false),
            over: Notify::new(),
        });
        for (stream, source, file) in sources {
            tokio::task::spawn_local(board.clone().pump(stream, source, file));
        }
        Ok(board)
    }

    /// The container has ended, and how is known: who sees the end of its output may ask.
    pub(super) fn close(&self) {
        if !self.is_closed.replace(true) {
            self.count_down();
        }
    }

    /// Nobody is waited for any more.
    pub(super) fn let_go(&self) {
        self.waits.set(false);
        self.attached.notify_waiters();
    }

    async fn pump(self: Rc<Self>, stream: Stream, source: Watch, file: File) {
        while self.waits.get() {
            self.attached.notified().await;
        }
        let file = tokio_uring::fs::File::from_std(file);
        let mut is_whole = true;
        while let Some(piece) = read(&source).await {
            // Before it is told, so that what somebody saw is there after any end of the agent. The file was opened for
            // appending: the place does not matter.
            let (written, piece) = file.write_all_at(piece, 0).await;
            self.tell(stream, &piece).await;
            if let Err(error) = written
                && std::mem::take(&mut is_whole)
            {
                tracing::warn!(%error, "output of a container cannot be written to its sandbox");
            }
        }
        self.count_down();
    }

    fn count_down(&self) {
        self.open_count.set(self.open_count.get() - 1);
        if self.open_count.get() == 0 {
            self.input.borrow_mut().take();
            self.lines.borrow_mut().clear();
            self.over.notify_waiters();
        }
    }

    /// Returns when the container has ended and all that came out was handed on.
    pub(crate) async fn until_over(&self) {
        loop {
            let over = self.over.notified();
            if self.open_count.get() == 0 {
                return;
            }
            over.await;
        }
    }

    async fn tell(&self, stream: Stream, piece: &[u8]) {
        let lines: Vec<Rc<Line>> = self.lines.borrow().clone();
        let mut records = [None, None];
        for line in lines {
            let record: &mut Option<Bytes> = &mut records[usize::from(line.encoding == Encoding::Json)];
            let record = record.get_or_insert_with(|| encode(line.encoding, &data(stream, piece))).clone();
            let waiting = line.waiting_bytes.get() + record.len();
            if (!line.is_owner && waiting > WAITING_BYTES_MAX) || line.records.send(record).is_err() {
                self.lines.borrow_mut().retain(|it| !Rc::ptr_eq(it, &line));
                continue;
            }
            line.waiting_bytes.set(waiting);
            while line.is_owner && line.waiting_bytes.get() > OWNED_BYTES_MAX && !line.records.is_closed() {
                line.read.notified().await;
            }
        }
    }

    /// `owner`: with whose connection the container ends.
    pub(crate) fn attach(self: &Rc<Self>, encoding: Encoding, owner: Option<Owner>) -> Output {
        let (sender, records) = mpsc::unbounded_channel();
        let line = Rc::new(Line {
            records: sender,
            waiting_bytes: Cell::new(0),
            read: Notify::new(),
            encoding,
            is_owner: owner.is_some(),
        });
        if self.open_count.get() > 0 {
            self.lines.borrow_mut().push(line.clone());
        }
        self.let_go();
        let idle = Box::pin(tokio::time::sleep(HEARTBEAT));
        Output { line: Rc::downgrade(&line), records, encoding, idle, _owner: owner }
    }

    /// `None`: somebody else has it.
    pub(crate) fn take_input(self: &Rc<Self>) -> Option<Input> {
        (!self.is_input_taken.replace(true)).then(|| Input { board: self.clone() })
    }
}

/// The next piece; `None` when there will be none.
async fn read(source: &Watch) -> Option<Vec<u8>> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match nix::unistd::read(source, &mut piece) {
            Ok(0) => return None,
            Ok(count) => {
                piece.truncate(count);
                return Some(piece);
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => source.event().await.ok()?,
            // A terminal that nobody has open any more.
            Err(Errno::EIO) => return None,
            Err(error) => {
                tracing::warn!(%error, "output of a container cannot be read");
                return None;
            }
        }
    }
}

fn data(stream: Stream, piece: &[u8]) -> ProcessIo {
    let data = process_io::Data { r#type: Some(stream.into()), data: Some(piece.to_vec().into()) };
    ProcessIo { r#type: Some(process_io::Type::Data.into()), data: Some(data), control: None }
}

fn heartbeat() -> ProcessIo {
    let nanoseconds = i64::try_from(HEARTBEAT.as_nanos()).expect("a short while");
    let heartbeat = process_io::control::Heartbeat { interval: Some(DurationInfo { nanoseconds }) };
    let control = process_io::Control {
        r#type: Some(process_io::control::Type::Heartbeat.into()),
        heartbeat: Some(heartbeat),
        ..process_io::Control::default()
    };
    ProcessIo { r#type: Some(process_io::Type::Control.into()), control: Some(control), data: None }
}

fn encode(encoding: Encoding, message: &ProcessIo) -> Bytes {
    api::recordio::encode(&media::encode(encoding, message))
}

/// The HTTP side of a line: whole records, in order. It ends when there is no more output.
pub(crate) struct Output {
    line: std::rc::Weak<Line>,
    records: mpsc::UnboundedReceiver<Bytes>,
    encoding: Encoding,
    idle: Pin<Box<tokio::time::Sleep>>,
    _owner: Option<Owner>,
}

impl Output {
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Poll::Ready(record) = self.records.poll_recv(context) {
            if let (Some(record), Some(line)) = (&record, self.line.upgrade()) {
                line.waiting_bytes.set(line.waiting_bytes.get() - record.len());
                line.read.notify_one();
            }
            return Poll::Ready(record);
        }
        std::task::ready!(self.idle.as_mut().poll(context));
        let next = self.idle.deadline() + HEARTBEAT;
        self.idle.as_mut().reset(next);
        Poll::Ready(Some(encode(self.encoding, &heartbeat())))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.records.close();
        if let Some(line) = self.line.upgrade() {
            line.read.notify_one();
        }
    }
}

/// The right to write to the program.
pub(crate) struct Input {
    board: Rc<Switchboard>,
}

impl Drop for Input {
    fn drop(&mut self) {
        self.board.is_input_taken.set(false);
    }
}

impl Input {
    /// Returns when all of it was taken. Nothing written is the end of input, but on a terminal, where people type that.
    pub(crate) async fn write(&self, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            if !self.board.has_terminal {
                self.board.input.borrow_mut().take();
            }
            return Ok(());
        }
        let Some(input) = self.board.input.borrow().clone() else { return Err(Errno::EPIPE) };
        let mut rest = bytes;
        while !rest.is_empty() {
            match nix::unistd::write(&*input, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => input.event().await.map_err(|_| Errno::EIO)?,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// `None`: there is no terminal.
    pub(crate) fn resize(&self, window: Window) -> Option<Result<(), SysError>> {
        let input = self.board.input.borrow().clone().filter(|_| self.board.has_terminal)?;
        Some(terminal::set_size(input.as_fd(), window.rows, window.columns))
    }
}
