//! What a container prints into, made by the agent before the container is: two pipes with names, and the ticket that tells
//! the logger of them. Blocks, as little as a file system does.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::stat::Mode;

use super::ticket::Ticket;

/// The two streams of a container, by the names of their pipes and of their files.
pub const STREAMS: [&str; 2] = ["stdout", "stderr"];
pub(super) const TICKET: &str = "ticket";
/// Who has printed so much before it could be moved floods, and its pipe gets more room: of a pipe's usual 64 KiB, half.
pub(super) const FLOOD_BYTES: u64 = 32 << 10;
/// The room of a pipe that is flooded. It is memory of the container's that prints, as long as it is full.
pub(super) const FLOODED_PIPE_BYTES: i32 = 256 << 10;
/// Before the name of a folder that is not complete yet.
pub(super) const DRAFT: &str = ".new-";

/// Both ends of each pipe in one descriptor, for the container to have as its standard output and error.
///
/// What a container holds open for reading is never without a reader: writing to it never means SIGPIPE. The logger sees the
/// end of it all the same, when nobody has it open any more.
pub fn open(folder: &Path, container: &str, ticket: &Ticket) -> io::Result<[OwnedFd; 2]> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = folder.join(format!("{DRAFT}{container}"));
    // Of an agent that was killed while it made it.
    remove(&draft)?;
    DirBuilder::new().mode(0o700).create(&draft)?;
    let pipe = |name: &str| -> io::Result<OwnedFd> {
        let path = draft.join(name);
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let pipe = OpenOptions::new().read(true).write(true).open(&path)?;
        // Programs open /dev/stdout by its name, which the kernel permits to whom the pipe belongs.
        std::os::unix::fs::fchown(&pipe, Some(ticket.uid), Some(ticket.gid))?;
        Ok(pipe.into())
    };
    let pipes = [pipe(STREAMS[0])?, pipe(STREAMS[1])?];
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft.join(TICKET))?;
    io::Write::write_all(&mut file, &ticket.encode())?;
    // Now it is whole, and the logger hears of it.
    std::fs::rename(&draft, folder.join(container))?;
    Ok(pipes)
}

/// The container will never print, or has ended and all that it printed is in its files. That there is nothing to remove is
/// no error.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
