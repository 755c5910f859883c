//! The root file system of a test machine: an initramfs with the tests, the few programs and libraries that they use, and
//! an init that mounts what a Linux host has mounted, runs the tests and says how they ended.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::sh;

/// A program that was built here. In the machine it lies where it lies here, for tests know each other's places.
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// The test target that it is.
    pub(super) test: Option<String>,
}

pub(super) struct Content<'a> {
    pub(super) programs: &'a [Program],
    pub(super) modules: &'a [PathBuf],
    /// Of each test target.
    pub(super) args: &'a dyn Fn(&str) -> Vec<String>,
}

/// Emulated, a machine is about ten times slower than the one that it runs on, which may have others to serve. Tests
/// multiply their deadlines by it.
const SLOWDOWN: u32 = 10;

/// How the line begins that tells how the tests ended.
pub(super) const EXIT_MARK: &str = "ingot-vm: exit ";

/// Taken from this machine as they are, because tests expect their ways: busybox is everything else.
const FROM_HERE: &[&str] = &[
    "sh", "cat", "cp", "dd", "seq", "true", "sleep", "setsid", "setpriv", "env", "ip", "tc", "nsenter",
    "losetup",
];

const FOLDERS: &[&str] =
    &["dev", "proc", "sys", "tmp", "root", "run", "etc", "var", "var/tmp", "usr", "usr/bin", "usr/sbin"];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";
/// What images get of the machine.
const HOSTS: &str = "127.0.0.1 localhost\n";
const RESOLV: &str = "nameserver 127.0.0.1\n";

/// The first part of init. The second serial port is for the tests alone, so that nothing of the kernel's gets between.
const INIT: &str = "#!/bin/busybox sh
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
ln -s /proc/self/fd /dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${n%:*} /dev/${n#*:}; done
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
for controller in cpu cpuset hugetlb io memory pids; do echo +$controller > /sys/fs/cgroup/cgroup.subtree_control; done
ip link set lo up
cd /
";

pub(super) fn write(path: &Path, content: &Content<'_>) -> Result<()> {
    let file = fs::File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut archive = Archive { out: BufWriter::new(file), known: BTreeSet::new(), files: 0 };
    let stripped = path.with_extension("stripped");
    fill(&mut archive, content, &stripped)?;
    archive.end().with_context(|| format!("cannot write {}", path.display()))
}

fn fill(archive: &mut Archive<impl Write>, content: &Content<'_>, scratch: &Path) -> Result<()> {
    // Where /bin is a symlink to usr/bin here, it is one there.
    for name in ["bin", "sbin", "lib", "lib64"] {
        match fs::read_link(Path::new("/").join(name)) {
            Ok(target) => archive.link(Path::new(name), &target)?,
            Err(_) => archive.folder(Path::new(name), 0o755)?,
        }
    }
    for name in FOLDERS {
        archive.folder(Path::new(name), if name.ends_with("tmp") { 0o1777 } else { 0o755 })?;
    }
    archive.console()?;
    archive.file(Path::new("etc/passwd"), 0o644, PASSWD.as_bytes())?;
    archive.file(Path::new("etc/group"), 0o644, GROUP.as_bytes())?;
    archive.file(Path::new("etc/hosts"), 0o644, HOSTS.as_bytes())?;
    archive.file(Path::new("etc/resolv.conf"), 0o644, RESOLV.as_bytes())?;
    for name in FROM_HERE {
        archive.program(&on_path(name)?, None)?;
    }
    let busybox = on_path("busybox")?;
    archive.program(&busybox, None)?;
    for applet in sh::output(Command::new(&busybox).arg("--list"))?.lines() {
        // One of the same name in another folder could come first on PATH.
        if FROM_HERE.contains(&applet) {
            continue;
        }
        archive.link(&Path::new("usr/bin").join(applet), Path::new("busybox"))?;
    }
    for module in content.modules {
        let name = module.file_name().context("a module's name")?;
        archive.file(&Path::new("modules").join(name), 0o644, &read(module)?)?;
    }
    for program in content.programs {
        // Most of a debug build is debug information, which would fill the machine's memory.
        sh::output(Command::new("strip").arg("-g").arg("-o").arg(scratch).arg(&program.path))?;
        archive.program(&program.path, Some(scratch))?;
    }
    let _ = fs::remove_file(scratch);
    archive.file(Path::new("init"), 0o755, init(content).as_bytes())
}

fn init(content: &Content<'_>) -> String {
    let mut text = INIT.to_owned();
    // Over a checkout that lies there it would hide the tests themselves; the root is memory too.
    if !content.programs.iter().any(|program| program.path.starts_with("/tmp")) {
        text += "mount -t tmpfs -o mode=1777 tmp /tmp\n";
    }
    for module in content.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let arguments = if name == "null_blk.ko" { " nr_devices=1 queue_mode=2 gb=1" } else { "" };
        text += &format!("insmod /modules/{name}{arguments}\n");
    }
    text += "exec > /dev/ttyS1 2>&1\ncode=0\n";
    for program in content.programs {
        let Some(test) = &program.test else { continue };
        let path = quoted(&program.path.to_string_lossy());
        let args: Vec<String> = (content.args)(test).iter().map(|it| quoted(it)).collect();
        text += &format!("echo '--- {test}'\n");
        let says = format!("REQUIRE=all INGOT_TEST_VM=1 INGOT_TEST_SLOWDOWN={SLOWDOWN}");
        text += &format!("{says} {path} {} || code=$?\n", args.join(" "));
    }
    text += &format!("echo '{EXIT_MARK}'$code\npoweroff -f\n");
    text
}

/// Where a program lies here.
fn on_path(name: &str) -> Result<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&folders).map(|folder| folder.join(name));
    places.find(|place| place.is_file()).with_context(|| format!("no {name} on PATH"))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The libraries that a program is linked to, with their loader: what ldd(1) lists. None for a static one.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = sh::output(Command::new("ldd").arg(program)).unwrap_or_default();
    let path = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.iter().find(|it| it.starts_with('/')).map(PathBuf::from)
    };
    listed.lines().filter_map(path).collect()
}

/// A cpio archive in the form that the kernel unpacks ("newc", Documentation/driver-api/early-userspace/buffer-format.rst).
struct Archive<W: Write> {
    out: W,
    known: BTreeSet<PathBuf>,
    files: u32,
}

impl<W: Write> Archive<W> {
    const FOLDER: u32 = 0o040_000;
    const FILE: u32 = 0o100_000;
    const LINK: u32 = 0o120_000;
    const CHARACTERS: u32 = 0o020_000;

    /// A program at the place it has here, with its libraries. `content`: if another file is to be there.
    fn program(&mut self, path: &Path, content: Option<&Path>) -> Result<()> {
        for library in libraries(path) {
            let bytes = read(&library)?;
            self.file(&real_place(&library)?, 0o755, &bytes)?;
        }
        self.file(&real_place(path)?, 0o755, &read(content.unwrap_or(path))?)
    }

    fn file(&mut self, path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
        self.parents(path)?;
        Ok(self.entry(path, Self::FILE | mode, bytes, (0, 0))?)
    }

    fn folder(&mut self, path: &Path, mode: u32) -> Result<()> {
        self.parents(path)?;
        Ok(self.entry(path, Self::FOLDER | mode, &[], (0, 0))?)
    }

    fn link(&mut self, path: &Path, target: &Path) -> Result<()> {
        self.parents(path)?;
        Ok(self.entry(path, Self::LINK | 0o777, target.to_string_lossy().as_bytes(), (0, 0))?)
    }

    /// Init's own stdin and stdout, before /dev is mounted.
    fn console(&mut self) -> Result<()> {
        Ok(self.entry(Path::new("dev/console"), Self::CHARACTERS | 0o600, &[], (5, 1))?)
    }

    fn parents(&mut self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) if parent != Path::new("") && !self.known.contains(parent) => {
                self.folder(parent, 0o755)
            }
            _ => Ok(()),
        }
    }

    /// What is there already stays: the first wins.
    fn entry(&mut self, path: &Path, mode: u32, bytes: &[u8], device: (u32, u32)) -> io::Result<()> {
        if !self.known.insert(path.to_owned()) {
            return Ok(());
        }
        self.record(&path.to_string_lossy(), mode, bytes, device)
    }

    fn record(&mut self, name: &str, mode: u32, bytes: &[u8], device: (u32, u32)) -> io::Result<()> {
        self.files += 1;
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        write!(self.out, "070701")?;
        // inode, mode, owner, group, links, time, size, device of the file system (2), device (2), name, checksum
        for word in [self.files, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0] {
            write!(self.out, "{word:08x}")?;
        }
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(110 + name.len() + 1)?;
        self.out.write_all(bytes)?;
        self.pad(bytes.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }

    fn end(mut self) -> io::Result<()> {
        self.record("TRAILER!!!", 0, &[], (0, 0))?;
        self.out.flush()
    }
}

/// A path from the archive's root, with its folder's symlinks resolved as they are here.
fn real_place(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().context("a file lies in a folder")?;
    let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
    let place = folder.join(path.file_name().context("a file has a name")?);
    Ok(place.strip_prefix("/").context("an absolute path")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_cpio_lists() {
        let mut archive = Archive { out: Vec::new(), known: BTreeSet::new(), files: 0 };
        archive.file(Path::new("a/b/odd"), 0o644, b"12345").unwrap();
        archive.link(Path::new("a/link"), Path::new("b/odd")).unwrap();
        archive.file(Path::new("a/b/odd"), 0o644, b"the first wins").unwrap();
        archive.record("TRAILER!!!", 0, &[], (0, 0)).unwrap();
        let bytes = archive.out;
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 5, "two folders, a file, a link, the trailer");
        assert!(text.contains("12345\0") && !text.contains("wins"));
    }

    #[test]
    fn a_quoted_word_is_one_word() {
        let words =
            sh::output(Command::new("sh").args(["-c", &format!("printf %s {}", quoted("it's $a b"))]));
        assert_eq!(words.unwrap(), "it's $a b");
    }
}
