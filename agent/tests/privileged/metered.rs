//! Containers to be measured: a cgroup v2 directory of a test's own with containers below it, processes that are born
//! inside as the agent's are, and what the kernel's own files say of them.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use agent::bpf::{Bpf, Figure};
use agent::sys::{clone, pidfd};

use crate::groups;
use crate::needs::{self, Need};
use crate::scene::DEADLINE;

/// The directory above a test's containers, and the programs attached to it.
pub(crate) struct Meter {
    pub(crate) bpf: Bpf,
    pub(crate) root: PathBuf,
}

impl Meter {
    /// `None` after saying why the test is skipped.
    pub(crate) fn open(test: &str, figures: &[Figure]) -> Option<Self> {
        if !needs::met(test, &[Need::Root, Need::Btf, Need::Cgroup2]) {
            return None;
        }
        let root = make_root();
        let (bpf, support) = Bpf::open(&root);
        // From here on the directory is removed again, also when the test is skipped.
        let meter = Self { bpf, root };
        match figures.iter().find_map(|figure| support.missing(*figure)) {
            Some(reason) => {
                needs::skip(test, &reason.to_string());
                None
            }
            None => Some(meter),
        }
    }

    /// A container that is counted from its first process on.
    pub(crate) fn container(&mut self, name: &str) -> Cgroup {
        let container = Cgroup::make(self.root.join(name));
        self.bpf.add_container(container.id, &container.path).unwrap();
        container
    }
}

/// A directory for containers, right below the hierarchy's root.
pub(crate) fn make_root() -> PathBuf {
    let root = needs::cgroup2_root().expect("asked for by Need::Cgroup2").join(groups::name());
    fs::create_dir(&root).unwrap();
    root
}

impl Drop for Meter {
    fn drop(&mut self) {
        groups::clear(&self.root);
    }
}

pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
    /// The kernel's id of it: the directory's inode number.
    pub(crate) id: u64,
}

impl Cgroup {
    pub(crate) fn make(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let id = fs::metadata(&path).unwrap().ino();
        Self { path, id }
    }

    /// A cgroup inside this one, as a task may make for itself.
    pub(crate) fn nested(&self, name: &str) -> Self {
        Self::make(self.path.join(name))
    }

    /// Starts a program inside, with pipes to its stdin and from its stdout.
    pub(crate) fn spawn(&self, program: &str, args: &[&str], env: &[&str]) -> Inmate {
        let text = |it: &&str| CString::new(*it).unwrap();
        let (theirs_in, ours_in) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let (ours_out, theirs_out) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let stderr: OwnedFd = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
        let command = clone::Command {
            programs: vec![text(&program)],
            args: std::iter::once(&program).chain(args).map(text).collect(),
            env: env.iter().chain(&["PATH=/usr/bin:/bin"]).map(text).collect(),
            directory: CString::from(c"/"),
            stdio: [theirs_in, theirs_out, stderr],
            identity: None,
        };
        let directory = File::open(&self.path).unwrap();
        let child = clone::spawn(&command, Some(directory.as_fd())).unwrap();
        Inmate { child, stdin: File::from(ours_in), stdout: BufReader::new(File::from(ours_out)) }
    }

    pub(crate) fn sh(&self, script: &str) -> Inmate {
        self.spawn("/bin/sh", &["-c", script], &[])
    }

    /// One of the workloads of `workload.rs`.
    pub(crate) fn workload(&self, what: &str) -> Inmate {
        let program = std::env::current_exe().unwrap();
        let args = ["--exact", "workload::workload", "--ignored", "--nocapture", "--quiet"];
        let env = format!("{}={what}", crate::workload::VARIABLE);
        self.spawn(program.to_str().unwrap(), &args, &[&env])
    }

    /// A field of `cpu.stat`, nanoseconds.
    pub(crate) fn cpu_stat_ns(&self, field: &str) -> u64 {
        let text = fs::read_to_string(self.path.join("cpu.stat")).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(' '));
        value.unwrap().parse::<u64>().unwrap() * 1_000
    }

    /// The sum of `VmRSS` over its processes, bytes: what the kernel says is resident.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The sum of a figure of `/proc/PID/status` over its processes, bytes.
    pub(crate) fn status_bytes(&self, field: &str) -> u64 {
        let processes = fs::read_to_string(self.path.join("cgroup.procs")).unwrap();
        processes.lines().filter_map(|pid| status_bytes(&format!("/proc/{pid}/status"), field)).sum()
    }
}

/// A figure of a `status` file of /proc, bytes.
pub(crate) fn status_bytes(path: &str, field: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// A process in a container. Its stdin stays open until it is ended or told to go on.
pub(crate) struct Inmate {
    child: clone::Child,
    stdin: File,
    stdout: BufReader<File>,
}

impl Inmate {
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid.cast_unsigned()
    }

    /// Waits for a line that begins with `word` and gives the rest of it.
    pub(crate) fn heard(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "it ended without saying `{word}`");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Writes it a line.
    pub(crate) fn ask(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Lets a workload that waits go on.
    pub(crate) fn go_on(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(self) {
        pidfd::send_signal(&self.child.pidfd, libc::SIGKILL).unwrap();
        self.end();
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> pidfd::Exit {
        // Neither a read of stdin nor a full pipe may keep it.
        drop(self.stdin);
        let mut stdout = self.stdout;
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        let ended = pidfd::wait_for_end(&[self.child.pidfd.as_fd()], Some(DEADLINE)).unwrap();
        assert!(ended > 0, "process {} still runs", self.child.pid);
        pidfd::try_reap(&self.child.pidfd).unwrap().unwrap().exit
    }
}
