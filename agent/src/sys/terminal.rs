//! Pseudo terminals: a pair of ends, of which a program has one and who shows it to people the other.
#![expect(
    unsafe_code,
    reason = "the ioctls of terminals have no wrapper in nix without its macros, which are unsafe as well"
)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::SysError;

/// A terminal. The program's end has no name that must be found: it is asked for by ours, so it does not matter where,
/// or whether, the file system of terminals is mounted.
#[derive(Debug)]
pub struct Pair {
    /// What is written to it the program reads.
    pub ours: OwnedFd,
    pub programs: OwnedFd,
}

pub fn pair() -> Result<Pair, SysError> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let ours = open("/dev/ptmx", flags, Mode::empty()).map_err(SysError::of("open /dev/ptmx"))?;
    let unlocked: libc::c_int = 0;
    // SAFETY: reads one integer, which lives.
    if unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) } < 0 {
        return Err(SysError::last("ioctl(TIOCSPTLCK)"));
    }
    // SAFETY: takes open flags by value; a result >= 0 is a fresh descriptor that nobody else owns.
    let programs = unsafe {
        let fd = libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags.bits());
        if fd < 0 {
            return Err(SysError::last("ioctl(TIOCGPTPEER)"));
        }
        OwnedFd::from_raw_fd(fd as RawFd)
    };
    Ok(Pair { ours, programs })
}

/// Who runs in the foreground gets SIGWINCH if it changes.
pub fn set_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<(), SysError> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: reads one structure, which lives.
    let set = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if set < 0 { Err(SysError::last("ioctl(TIOCSWINSZ)")) } else { Ok(()) }
}

/// This process, which leads a session without one, gets the terminal as that session's.
pub fn make_controlling(terminal: RawFd) -> Result<(), SysError> {
    // SAFETY: takes integers only.
    if unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 0) } < 0 {
        return Err(SysError::last("ioctl(TIOCSCTTY)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn what_one_end_says_the_other_hears() {
        let Pair { ours, programs } = pair().expect("terminals can be had");
        set_size(&ours, 33, 101).expect("it has a size");
        let mut programs = std::fs::File::from(programs);
        programs.write_all(b"hello\n").expect("written");
        let mut heard = [0; 7];
        std::fs::File::from(ours).read_exact(&mut heard).expect("read");
        assert_eq!(&heard, b"hello\r\n", "a terminal ends lines so");
    }
}
