//! The files of one stream in its sandbox: the one that is written to, and the older ones. The sandbox belongs to the task,
//! who may plant anything in it: names are looked up below the sandbox's descriptor, no link is followed, and what is not a
//! plain file of ours is replaced.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::rotation::{Found, Recovery, recovery, shifts};
use super::settings::Keep;

/// How much is read or moved at a time.
const BLOCK_BYTES: u64 = 64 << 10;

/// A sandbox, open.
#[derive(Clone, Debug)]
pub struct Sandbox {
    folder: Arc<OwnedFd>,
    uid: u32,
    gid: u32,
}

impl Sandbox {
    pub fn open(path: &Path, uid: u32, gid: u32) -> io::Result<Self> {
        // That of a container in another one lies in that one's, who may have put a link in its way since.
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let folder = openat2(AT_FDCWD, path, how)?;
        Ok(Self { folder: Arc::new(folder), uid, gid })
    }

    /// Opens or makes a plain file of this name.
    fn file(&self, name: &str) -> io::Result<File> {
        match self.plain(name, OFlag::O_CREAT) {
            Ok(Some(file)) => Ok(file),
            Ok(None) | Err(Errno::ELOOP | Errno::EISDIR | Errno::ENXIO | Errno::EACCES) => {
                self.remove(name)?;
                let fresh = self.plain(name, OFlag::O_CREAT | OFlag::O_EXCL)?;
                fresh.ok_or_else(|| io::Error::other(format!("{name} is replaced again and again")))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// `None`: it is there, and no plain file that belongs to nobody else by another name.
    fn plain(&self, name: &str, flags: OFlag) -> nix::Result<Option<File>> {
        // Not to wait for the other end of a planted pipe.
        let always = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = openat(&*self.folder, name, always | flags, Mode::from_bits_truncate(0o644))?;
        let file = File::from(fd);
        let Ok(meta) = file.metadata() else { return Err(Errno::EIO) };
        if !meta.is_file() || meta.nlink() != 1 {
            return Ok(None);
        }
        if (meta.uid(), meta.gid()) != (self.uid, self.gid) {
            // An agent of an ordinary user makes files of its own only.
            let _ = std::os::unix::fs::fchown(&file, Some(self.uid), Some(self.gid));
        }
        Ok(Some(file))
    }

    fn has(&self, name: &str) -> bool {
        fstatat(&*self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// That it is not there is no error.
    fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&*self.folder, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => Ok(unlinkat(&*self.folder, name, UnlinkatFlags::RemoveDir)?),
            Err(Errno::ENOENT) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match renameat(&*self.folder, from, &*self.folder, to) {
            Err(Errno::EISDIR | Errno::ENOTDIR | Errno::ENOTEMPTY | Errno::EEXIST) => {
                // A folder in the place of one of ours, or the other way round.
                self.remove(to)?;
                Ok(renameat(&*self.folder, from, &*self.folder, to)?)
            }
            // The task has removed it.
            Err(Errno::ENOENT) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The file that is written to, and what it stands before.
#[derive(Debug)]
pub struct Log {
    sandbox: Sandbox,
    name: &'static str,
    keep: Keep,
    file: File,
    size_bytes: u64,
}

impl Log {
    /// Goes on where an earlier logger has stopped, or was stopped.
    pub fn open(sandbox: &Sandbox, name: &'static str, keep: Keep) -> io::Result<Self> {
        let next = next_name(name);
        match recovery(Found { current: sandbox.has(name), next: sandbox.has(&next) }) {
            Recovery::Nothing => {}
            Recovery::DropNext => sandbox.remove(&next)?,
            Recovery::Finish => {
                if let Ok(Some(older)) = sandbox.plain(&older_name(name, 1), OFlag::empty()) {
                    let size = older.metadata()?.len();
                    older.set_len(after_last_newline(&older, size)?.unwrap_or(size))?;
                }
                sandbox.rename(&next, name)?;
            }
        }
        let file = sandbox.file(name)?;
        let size_bytes = file.metadata()?.len();
        Ok(Self { sandbox: sandbox.clone(), name, keep, file, size_bytes })
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Where the next byte goes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// How much more the file may take, rotated if it is full. More than zero.
    pub fn room(&mut self) -> io::Result<u64> {
        if self.size_bytes >= self.keep.size_max_bytes {
            self.rotate()?;
        }
        Ok(self.keep.size_max_bytes.saturating_sub(self.size_bytes).max(1))
    }

    pub fn wrote(&mut self, bytes: u64) {
        self.size_bytes += bytes;
    }

    fn rotate(&mut self) -> io::Result<()> {
        let (name, next) = (self.name, next_name(self.name));
        let begin = after_last_newline(&self.file, self.size_bytes)?.unwrap_or(self.size_bytes);
        self.sandbox.remove(&next)?;
        let rest = if begin < self.size_bytes { Some(self.sandbox.file(&next)?) } else { None };
        if let Some(rest) = &rest {
            copy(&self.file, begin..self.size_bytes, rest)?;
        }
        if self.keep.files_max > 0 {
            let exists = |number| self.sandbox.has(&older_name(name, number));
            for number in shifts(self.keep.files_max, exists) {
                self.sandbox.rename(&older_name(name, number), &older_name(name, number + 1))?;
            }
            self.sandbox.rename(name, &older_name(name, 1))?;
            self.file.set_len(begin)?;
        } else if rest.is_none() {
            self.sandbox.remove(name)?;
        }
        if rest.is_some() {
            self.sandbox.rename(&next, name)?;
        }
        self.file = self.sandbox.file(name)?;
        self.size_bytes = self.file.metadata()?.len();
        Ok(())
    }

    /// Where the files cannot be rotated, the disk is still to be spared: what the file holds is given up.
    pub fn give_up(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.size_bytes = 0;
        Ok(())
    }
}

fn next_name(name: &str) -> String {
    format!(".{name}.next")
}

fn older_name(name: &str, number: u32) -> String {
    format!("{name}.{number}")
}

/// Where the first line begins that has no end yet. `None`: there is no newline at all, the line is longer than the file.
fn after_last_newline(file: &File, size: u64) -> io::Result<Option<u64>> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    let mut end = size;
    while end > 0 {
        let begin = end.saturating_sub(BLOCK_BYTES);
        let block = &mut block[..(end - begin) as usize];
        file.read_exact_at(block, begin)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(begin + at as u64 + 1));
        }
        end = begin;
    }
    Ok(None)
}

fn copy(from: &File, range: std::ops::Range<u64>, to: &File) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    let mut at = range.start;
    while at < range.end {
        let block = &mut block[..(range.end - at).min(BLOCK_BYTES) as usize];
        from.read_exact_at(block, at)?;
        to.write_all_at(block, at - range.start)?;
        at += block.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of a file of 16 bytes.
    struct Scene {
        folder: tempfile::TempDir,
        keep: Keep,
    }

    impl Scene {
        fn new(files_max: u32) -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            Self { folder, keep: Keep { size_max_bytes: 16, files_max } }
        }

        fn log(&self) -> Log {
            let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
            let sandbox = Sandbox::open(self.folder.path(), uid, gid).expect("it is there");
            Log::open(&sandbox, "stdout", self.keep).expect("it can be opened")
        }

        /// As the logger does, with as little as there is room for at a time.
        fn print(&self, text: &str) {
            let mut log = self.log();
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let room = log.room().expect("it can be rotated").min(rest.len() as u64);
                let (now, later) = rest.split_at(room as usize);
                log.file.write_all_at(now, log.size_bytes()).expect("it can be written");
                log.wrote(room);
                rest = later;
            }
        }

        fn read(&self, name: &str) -> Option<String> {
            std::fs::read_to_string(self.folder.path().join(name)).ok()
        }

        /// From the oldest to the newest.
        fn files(&self) -> Vec<String> {
            let older = (1..9).rev().filter_map(|number| self.read(&format!("stdout.{number}")));
            older.chain(self.read("stdout")).collect()
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.path().join(name), text).expect("it is ours");
        }
    }

    #[test]
    fn a_line_that_fits_is_not_cut() {
        let scene = Scene::new(8);
        scene.print("one two\nthree four\nfive\nsix\n");
        assert_eq!(scene.files(), ["one two\n", "three four\nfive\n", "six\n"]);
        // Printed in pieces, by several loggers, it comes to the same.
        let pieces = Scene::new(8);
        for piece in ["one two\nth", "ree", " fou", "r\nfive\nsi", "x\n"] {
            pieces.print(piece);
        }
        assert_eq!(pieces.files(), scene.files());
    }

    #[test]
    fn a_line_that_does_not_fit_is_cut_and_nothing_of_it_lost() {
        let scene = Scene::new(8);
        scene.print("a\n");
        scene.print(&"x".repeat(40));
        scene.print("y\nz\n");
        let files = scene.files();
        assert_eq!(files.concat(), format!("a\n{}y\nz\n", "x".repeat(40)));
        assert!(files.iter().all(|file| file.len() <= 16), "{files:?}");
    }

    #[test]
    fn the_oldest_goes() {
        let text = |from, to| (from..to).map(|line| format!("line {line:02} 4567890\n")).collect::<String>();
        let scene = Scene { keep: Keep { size_max_bytes: 40, files_max: 2 }, ..Scene::new(2) };
        scene.print(&text(0, 20));
        assert_eq!(scene.files().concat(), text(14, 20));
        let none = Scene { keep: Keep { files_max: 0, ..scene.keep }, ..Scene::new(0) };
        none.print(&text(0, 20));
        assert_eq!(none.files().concat(), text(18, 20));
    }

    /// Whatever was done when the logger was killed: its successor finds every line once.
    #[test]
    fn a_rotation_may_be_cut_short_anywhere() {
        let expect = ["old\n", "one two\n", "three fo", "ur\n"].concat();
        for done in 0..=5 {
            let scene = Scene::new(8);
            scene.write("stdout.1", "old\n");
            scene.write("stdout", "one two\nthree fo");
            let path = |name: &str| scene.folder.path().join(name);
            let rename = |from: &str, to: &str| std::fs::rename(path(from), path(to)).expect("it is there");
            if done >= 1 {
                scene.write(".stdout.next", if done == 1 { "thr" } else { "three fo" });
            }
            if done >= 2 {
                rename("stdout.1", "stdout.2");
            }
            if done >= 3 {
                rename("stdout", "stdout.1");
            }
            if done >= 4 {
                scene.write("stdout.1", "one two\n");
            }
            if done >= 5 {
                rename(".stdout.next", "stdout");
            }
            scene.print("ur\n");
            assert_eq!(scene.files().concat(), expect, "after step {done}");
            assert_eq!(scene.read(".stdout.next"), None);
        }
    }

    #[test]
    fn what_a_task_plants_is_replaced_and_not_followed() {
        let scene = Scene::new(2);
        let outside = tempfile::tempdir().expect("a temporary folder");
        let target = outside.path().join("precious");
        std::fs::write(&target, "precious").expect("it is ours");
        let path = |name: &str| scene.folder.path().join(name);
        std::os::unix::fs::symlink(&target, path("stdout")).expect("a link");
        std::fs::hard_link(&target, path(".stdout.next")).expect("another name");
        std::fs::create_dir(path("stdout.1")).expect("a folder");
        nix::unistd::mkfifo(&path("stdout.2"), Mode::S_IRUSR).expect("a pipe");
        scene.print("one two\nthree four\nfive\n");
        assert_eq!(scene.read("stdout.1").as_deref(), Some("one two\n"));
        assert_eq!(scene.read("stdout").as_deref(), Some("three four\nfive\n"));
        assert_eq!(std::fs::read_to_string(&target).expect("it is there"), "precious");
    }

    #[test]
    fn where_nothing_can_be_kept_the_disk_is_spared() {
        let scene = Scene::new(2);
        scene.print("one\n");
        let mut log = scene.log();
        log.give_up().expect("it can be cut");
        assert_eq!((log.size_bytes(), scene.read("stdout").as_deref()), (0, Some("")));
    }
}
