//! How much disk a sandbox holds, as du(1) counts it: blocks that are allocated, each file once however many names it has
//! there, no other file system, through no link.
//!
//! Every step is taken from an open folder to a name in it, and back by `..` to the folder it came from: a task that moves
//! folders meanwhile leads it nowhere else. One folder is open at a time, however deep they lie.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

/// A sandbox that could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum UsedError {
    #[error("look into the sandbox: {}", .0.desc())]
    Look(#[from] Errno),
    /// It is measured the next time.
    #[error("folders of the sandbox were moved meanwhile")]
    Moved,
}

const FOLDER: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// Unit of `st_blocks`, whatever the file system's own is (inode(7)).
const BLOCK_BYTES: u64 = 512;

/// Bytes that `sandbox` and everything in it take. Blocks: a microsecond or so an entry that the kernel remembers.
pub fn bytes(sandbox: &Path) -> Result<u64, UsedError> {
    let mut open = Dir::open(sandbox, FOLDER, Mode::empty())?;
    let top = fstat(&open)?;
    let mut walk = Walk { device: top.st_dev, bytes: 0, linked: BTreeSet::new() };
    walk.count(&top);
    let mut folder = walk.enter(&mut open, &top)?;
    let mut above: Vec<Folder> = Vec::new();
    loop {
        if let Some(name) = folder.below.pop() {
            // What has gone meanwhile takes nothing.
            let Ok(mut next) = Dir::openat(&open, name.as_c_str(), FOLDER, Mode::empty()) else { continue };
            let stat = fstat(&next)?;
            if stat.st_dev == walk.device {
                above.push(std::mem::replace(&mut folder, walk.enter(&mut next, &stat)?));
                open = next;
            }
            continue;
        }
        let Some(parent) = above.pop() else { return Ok(walk.bytes) };
        open = Dir::openat(&open, c"..", FOLDER, Mode::empty())?;
        let stat = fstat(&open)?;
        if (stat.st_dev, stat.st_ino) != (walk.device, parent.inode) {
            return Err(UsedError::Moved);
        }
        folder = parent;
    }
}

/// A folder on the way down to the open one, or that.
struct Folder {
    inode: u64,
    /// Not yet entered.
    below: Vec<CString>,
}

struct Walk {
    device: u64,
    bytes: u64,
    /// Files of several names that were counted.
    linked: BTreeSet<u64>,
}

impl Walk {
    /// Counts what lies right in it.
    fn enter(&mut self, open: &mut Dir, stat: &FileStat) -> Result<Folder, Errno> {
        let names: Vec<CString> =
            open.iter().filter_map(|entry| Some(entry.ok()?.file_name().to_owned())).collect();
        let mut below = Vec::new();
        for name in names {
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match fstatat(&*open, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) if stat.st_dev == self.device => {
                    self.count(&stat);
                    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
                        below.push(name);
                    }
                }
                Ok(_) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Folder { inode: stat.st_ino, below })
    }

    fn count(&mut self, stat: &FileStat) {
        let is_folder = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        if is_folder || stat.st_nlink == 1 || self.linked.insert(stat.st_ino) {
            self.bytes += stat.st_blocks.cast_unsigned() * BLOCK_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_sandbox_holds_what_is_allocated_in_it_once_and_nothing_that_links_lead_to() {
        let (folder, other) =
            (tempfile::tempdir().expect("temporary"), tempfile::tempdir().expect("temporary"));
        let at = |name: &str| folder.path().join(name);
        let empty = bytes(folder.path()).expect("readable");
        std::fs::write(other.path().join("elsewhere"), vec![1; 8 * MIB]).expect("write");
        std::fs::create_dir_all(at("a/b/c")).expect("mkdir");
        std::fs::write(at("a/b/c/file"), vec![1; MIB]).expect("write");
        std::fs::hard_link(at("a/b/c/file"), at("again")).expect("link");
        std::os::unix::fs::symlink(other.path(), at("a/link")).expect("symlink");
        std::fs::File::create(at("sparse")).and_then(|file| file.set_len(1 << 30)).expect("a hole");
        let held = bytes(folder.path()).expect("readable") - empty;
        let file = std::fs::metadata(at("again")).expect("there").blocks() * BLOCK_BYTES;
        // Besides the file: three folders and a link, of a block or so each.
        assert!((file..file + 64 * 1024).contains(&held), "{held} of {file}");
        assert!(bytes(&at("no such folder")).is_err());
    }

    #[test]
    fn folders_may_lie_deeper_than_files_may_be_open_or_paths_be_long() {
        let folder = tempfile::tempdir().expect("temporary");
        let mut open = Dir::open(folder.path(), FOLDER, Mode::empty()).expect("open");
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&open, "deep", Mode::S_IRWXU).expect("mkdir");
            open = Dir::openat(&open, "deep", FOLDER, Mode::empty()).expect("open");
        }
        let file =
            nix::fcntl::openat(&open, "file", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRWXU).expect("open");
        std::io::Write::write_all(&mut std::fs::File::from(file), &vec![1; MIB]).expect("write");
        assert!(bytes(folder.path()).expect("readable") >= MIB as u64);
        crate::collector::remove::remove_tree(folder.path()).expect("removed");
    }
}
