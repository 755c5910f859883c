//! The logger's process: takes over from the one before, opens what tickets name, and then moves bytes until there is
//! neither an agent nor a container. See the module's head.
#![expect(clippy::disallowed_methods, reason = "a shell: it keeps time for streams that wait for their disk")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::files::{Log, Sandbox};
use super::pipes::{self, DRAFT, STREAMS, TICKET};
use super::ring::{Done, Ring};
use super::ticket::Ticket;
use crate::containerizer::plan::logger_directory;
use crate::sys::pidfd;

/// Until a file that could not be written to is tried again. Its task waits meanwhile.
const RETRY: Duration = Duration::from_millis(200);
/// How long output that keeps coming is left to gather, so that what moves it is woken for blocks and not for lines.
const GATHER: Duration = Duration::from_micros(500);
/// Output that comes again within this time keeps coming.
const KEEPS_COMING: Duration = Duration::from_millis(2);

const AGENT: u32 = 0;
const TICKETS: u32 = 1;

/// One stream of one container.
struct Stream {
    container: OsString,
    pipe: OwnedFd,
    log: Log,
    /// When to look again, without being told that there is something.
    look_at: Option<Instant>,
    /// When something was last moved.
    moved_at: Option<Instant>,
    /// Whether it was once found as full as this, and was given more room.
    has_flooded: bool,
    /// The last thing that was complained about: each is said once.
    complaint: Option<i32>,
}

struct Logger {
    folder: PathBuf,
    ring: Ring,
    streams: Vec<Option<Stream>>,
    free: Vec<u32>,
    /// How many streams of a container are open.
    containers: BTreeMap<OsString, u32>,
    has_agent: bool,
}

/// Serves the containers of this work directory. Standard input is the agent: at its end there is none any more.
pub fn run(work_dir: &Path) -> ExitCode {
    match serve(&logger_directory(work_dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("the container logger ends: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(folder: &Path) -> io::Result<()> {
    // Two for each container, and a sandbox.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    std::fs::create_dir_all(folder)?;
    let tickets = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let flags = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
    tickets.add_watch(folder, flags)?;
    let ring = Ring::new()?;
    // Held until this process ends, however it ends.
    let _lock = take_over(&folder.join("lock"))?;
    let mut logger = Logger {
        folder: folder.to_owned(),
        ring,
        streams: Vec::new(),
        free: Vec::new(),
        containers: BTreeMap::new(),
        has_agent: true,
    };
    logger.look()?;
    logger.ring.watch(AGENT, io::stdin().as_fd())?;
    logger.ring.watch(TICKETS, tickets.as_fd())?;
    logger.go_on(&tickets)
}

/// Becomes the only logger of this folder: whoever was it is killed, which loses nothing.
fn take_over(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    loop {
        match fcntl(&file, FcntlArg::F_SETLK(&lock)) {
            Ok(_) => return Ok(file),
            Err(Errno::EACCES | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut held = lock;
        fcntl(&file, FcntlArg::F_GETLK(&mut held))?;
        if held.l_type == libc::F_UNLCK as libc::c_short {
            continue;
        }
        let Ok(other) = pidfd::open(held.l_pid) else { continue };
        // Again, now that the handle is there: the number may have gone to somebody else before.
        let pid = held.l_pid;
        held = lock;
        fcntl(&file, FcntlArg::F_GETLK(&mut held))?;
        if held.l_type == libc::F_UNLCK as libc::c_short || held.l_pid != pid {
            continue;
        }
        pidfd::send_signal(&other, libc::SIGKILL).map_err(io::Error::other)?;
        pidfd::wait_for_end(&[other.as_fd()], None).map_err(io::Error::other)?;
        lock.l_pid = 0;
    }
}

impl Logger {
    fn go_on(&mut self, tickets: &Inotify) -> io::Result<()> {
        let mut done = Vec::new();
        while self.has_agent || !self.containers.is_empty() {
            let wait = self.next_look().map(|at| at.saturating_duration_since(Instant::now()));
            self.ring.wait(wait, &mut done)?;
            for done in done.drain(..) {
                match done {
                    Done::Spliced { stream, result } => self.spliced(stream, result)?,
                    Done::Readable { source: AGENT } => self.hear_agent()?,
                    Done::Readable { .. } => {
                        // What it says is read to be done with; what there is, is looked up.
                        while tickets.read_events().is_ok() {}
                        self.look()?;
                        self.ring.watch(TICKETS, tickets.as_fd())?;
                    }
                }
            }
            self.look_again()?;
        }
        Ok(())
    }

    /// It says nothing; it is there, or has ended.
    fn hear_agent(&mut self) -> io::Result<()> {
        match io::stdin().read(&mut [0; 64]) {
            Ok(0) => self.has_agent = false,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => self.has_agent = false,
            _ => self.ring.watch(AGENT, io::stdin().as_fd())?,
        }
        Ok(())
    }

    /// Opens what has come since the last look.
    fn look(&mut self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let is_draft = name.to_str().is_some_and(|name| name.starts_with(DRAFT) || name == "lock");
            if is_draft || self.containers.contains_key(&name) {
                continue;
            }
            if let Err(error) = self.open(&name) {
                // Its task waits when its pipes are full; the next logger tries again.
                complain(&format!("output of container {} cannot be written: {error}", name.display()));
            }
        }
        Ok(())
    }

    fn open(&mut self, container: &OsString) -> io::Result<()> {
        let folder = self.folder.join(container);
        let ticket = match std::fs::read(folder.join(TICKET)) {
            // It is being removed by who opened it first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            ticket => {
                Ticket::decode(&ticket?).ok_or_else(|| io::Error::other("its ticket makes no sense"))?
            }
        };
        let sandbox = match Sandbox::open(&ticket.sandbox, ticket.uid, ticket.gid) {
            // Collected: nobody is left who could print, or could read it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return pipes::remove(&folder),
            sandbox => sandbox?,
        };
        let keeps = [ticket.settings.stdout, ticket.settings.stderr];
        let mut opened = Vec::new();
        for (name, keep) in STREAMS.into_iter().zip(keeps) {
            let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
            let pipe = OpenOptions::new().read(true).custom_flags(flags).open(folder.join(name))?;
            let log = Log::open(&sandbox, name, keep)?;
            let container = container.clone();
            opened.push(Stream {
                container,
                pipe: pipe.into(),
                log,
                look_at: None,
                moved_at: None,
                has_flooded: false,
                complaint: None,
            });
        }
        self.containers.insert(container.clone(), 2);
        for stream in opened {
            let number = match self.free.pop() {
                Some(number) => number,
                None => {
                    self.streams.push(None);
                    u32::try_from(self.streams.len() - 1).map_err(io::Error::other)?
                }
            };
            self.streams[number as usize] = Some(stream);
            // Its writers may all have gone before we came, which no waiting would ever tell.
            self.arm(number, true)?;
        }
        Ok(())
    }

    fn arm(&mut self, number: u32, is_ready: bool) -> io::Result<()> {
        let Some(stream) = &mut self.streams[number as usize] else { return Ok(()) };
        let length = match stream.log.room() {
            Ok(length) => length,
            Err(error) => {
                stream.complain("its files cannot be rotated, what they held is given up", &error);
                if stream.log.give_up().is_err() {
                    stream.look_at = Some(Instant::now() + RETRY);
                    return Ok(());
                }
                stream.log.room()?
            }
        };
        let place = (stream.log.file(), stream.log.size_bytes());
        self.ring.splice(number, stream.pipe.as_fd(), place, length, is_ready)
    }

    fn spliced(&mut self, number: u32, result: io::Result<u64>) -> io::Result<()> {
        let Some(stream) = &mut self.streams[number as usize] else { return Ok(()) };
        match result {
            Ok(0) => return self.close(number),
            Ok(bytes) => {
                stream.log.wrote(bytes);
                stream.complaint = None;
                if stream.keeps_coming(bytes) {
                    stream.look_at = Some(Instant::now() + GATHER);
                    return Ok(());
                }
            }
            Err(error) => match error.raw_os_error() {
                // Nothing was there after all.
                Some(libc::EAGAIN | libc::EINTR | libc::ECANCELED) => {}
                _ => {
                    stream.complain("it waits", &error);
                    stream.look_at = Some(Instant::now() + RETRY);
                    return Ok(());
                }
            },
        }
        self.arm(number, false)
    }

    /// Nobody has it open for writing, and all is written.
    fn close(&mut self, number: u32) -> io::Result<()> {
        let Some(stream) = self.streams[number as usize].take() else { return Ok(()) };
        self.free.push(number);
        let Some(open) = self.containers.get_mut(&stream.container) else { return Ok(()) };
        *open -= 1;
        if *open == 0 {
            pipes::remove(&self.folder.join(&stream.container))?;
            self.containers.remove(&stream.container);
        }
        Ok(())
    }

    fn next_look(&self) -> Option<Instant> {
        self.streams.iter().flatten().filter_map(|stream| stream.look_at).min()
    }

    fn look_again(&mut self) -> io::Result<()> {
        let Some(first) = self.next_look() else { return Ok(()) };
        let now = Instant::now();
        if first > now {
            return Ok(());
        }
        for number in 0..self.streams.len() {
            let Some(stream) = &mut self.streams[number] else { continue };
            if stream.look_at.is_some_and(|at| at <= now) {
                stream.look_at = None;
                self.arm(number as u32, true)?;
            }
        }
        Ok(())
    }
}

impl Stream {
    /// Notes that so much was moved, and says whether more is to be expected at once.
    fn keeps_coming(&mut self, bytes: u64) -> bool {
        let now = Instant::now();
        let before = self.moved_at.replace(now);
        if bytes >= pipes::FLOOD_BYTES && !self.has_flooded {
            self.has_flooded = true;
            // Refused where pipes may not be so large: then it gathers what there is room for.
            let _ = fcntl(&self.pipe, FcntlArg::F_SETPIPE_SZ(pipes::FLOODED_PIPE_BYTES));
        }
        before.is_some_and(|before| now - before < KEEPS_COMING)
    }

    fn complain(&mut self, what: &str, error: &io::Error) {
        if self.complaint != error.raw_os_error() {
            self.complaint = error.raw_os_error();
            complain(&format!("output of container {}: {what}: {error}", self.container.display()));
        }
    }
}

/// A line in the agent's log.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "ingot-agent {}: {text}", super::SUBCOMMAND);
}
