//! What the agent tells the logger about a container: a file beside its two pipes. Decides nothing but its own bytes.
//!
//! ```text
//!   1\n  uid gid\n  stdout: size files\n  stderr: size files\n  sandbox, to the end
//! ```
//! A logger of another version may read it: a new version has another first line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::settings::{Keep, Settings};

const VERSION: &str = "1";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub sandbox: PathBuf,
    /// Whose the files are to be.
    pub uid: u32,
    pub gid: u32,
    pub settings: Settings,
}

impl Ticket {
    pub fn encode(&self) -> Vec<u8> {
        let Settings { stdout, stderr } = self.settings;
        let keep = |keep: Keep| format!("{} {}", keep.size_max_bytes, keep.files_max);
        let (uid, gid) = (self.uid, self.gid);
        let head = format!("{VERSION}\n{uid} {gid}\n{}\n{}\n", keep(stdout), keep(stderr));
        [head.as_bytes(), self.sandbox.as_os_str().as_bytes()].concat()
    }

    /// `None`: it is of another version, or none at all.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(5, |byte| *byte == b'\n');
        let mut line = || std::str::from_utf8(parts.next()?).ok();
        if line()? != VERSION {
            return None;
        }
        let mut pair = || {
            let (a, b) = line()?.split_once(' ')?;
            Some((a.parse::<u64>().ok()?, b.parse::<u32>().ok()?))
        };
        let (uid, gid) = pair()?;
        let mut keep = || pair().map(|(size_max_bytes, files_max)| Keep { size_max_bytes, files_max });
        let settings = Settings { stdout: keep()?, stderr: keep()? };
        let sandbox = parts.next().filter(|path| path.starts_with(b"/"))?;
        let sandbox = PathBuf::from(OsStr::from_bytes(sandbox));
        Some(Self { sandbox, uid: u32::try_from(uid).ok()?, gid, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_as_written() {
        let settings =
            Settings { stdout: Keep { size_max_bytes: 4096, files_max: 2 }, ..Settings::default() };
        let ticket = Ticket { sandbox: "/a b/\n/c".into(), uid: 1, gid: u32::MAX, settings };
        assert_eq!(Ticket::decode(&ticket.encode()), Some(ticket.clone()));
        let bytes = ticket.encode();
        for length in 0..bytes.len() - "a b/\n/c".len() {
            assert_eq!(Ticket::decode(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Ticket::decode(b"2\n1 1\n4096 1\n4096 1\n/a"), None);
    }
}
