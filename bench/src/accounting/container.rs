//! A measured container: a cgroup, the workloads in it, and what the kernel's own files say of it.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ingot_agent::accounting::account::Account;
use ingot_agent::accounting::sample::FileSample;
use ingot_agent::bpf::Bpf;
use ingot_agent::sys::{clone, pidfd};
use model::usage::Usage;

use super::janitor;

/// Dropping it kills what runs in it and removes it.
pub(super) struct Container {
    pub(super) path: PathBuf,
    /// The kernel's id of it: the directory's inode number.
    pub(super) id: u64,
}

impl Container {
    pub(super) fn make(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let path = directory.join(name);
        fs::create_dir(&path).with_context(|| format!("make cgroup {}", path.display()))?;
        let id = fs::metadata(&path)?.ino();
        Ok(Self { path, id })
    }

    /// One that is counted from its first process on.
    pub(super) fn counted(bpf: &mut Bpf, directory: &Path, name: &str) -> anyhow::Result<Self> {
        let container = Self::make(directory, name)?;
        bpf.add_container(container.id, &container.path)?;
        Ok(container)
    }

    /// Starts one of this binary's workloads inside: `words` as on the command line.
    pub(super) fn start(&self, words: &str) -> anyhow::Result<Process> {
        let program = std::env::current_exe()?;
        let program = CString::new(program.into_os_string().into_encoded_bytes())?;
        let mut args = vec![program.clone(), c"workload".to_owned()];
        for word in words.split(' ') {
            args.push(CString::new(word)?);
        }
        let (theirs_in, ours_in) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let (ours_out, theirs_out) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let stderr: OwnedFd = std::io::stderr().as_fd().try_clone_to_owned()?;
        let command = clone::Command {
            programs: vec![program],
            args,
            env: vec![c"PATH=/usr/bin:/bin".to_owned()],
            directory: c"/".to_owned(),
            stdio: [theirs_in, theirs_out, stderr],
            identity: None,
        };
        let directory = File::open(&self.path)?;
        let child = clone::spawn(&command, Some(directory.as_fd()))
            .with_context(|| format!("start the workload `{words}`"))?;
        let stdout = BufReader::new(File::from(ours_out));
        Ok(Process { words: words.to_owned(), child, stdin: File::from(ours_in), stdout })
    }

    /// `usage_usec` of `cpu.stat`, nanoseconds.
    pub(super) fn cpu_stat_ns(&self) -> anyhow::Result<u64> {
        let path = self.path.join("cpu.stat");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let value = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(value.context("cpu.stat without usage_usec")?.trim().parse::<u64>()? * 1_000)
    }

    /// What the agent would say of it, by its programs alone.
    pub(super) fn usage(&self, bpf: &Bpf) -> anyhow::Result<Usage> {
        let sample = bpf.read(self.id)?.context("the container is not counted")?;
        let mut account = Account::default();
        account.look(Some(self.id), Some(&sample), &FileSample::default(), &|_| None);
        Ok(account.usage)
    }

    /// The same for the last time; to be called after its last process has ended.
    pub(super) fn last_usage(&self, bpf: &mut Bpf) -> anyhow::Result<Usage> {
        let sample = bpf.remove_container(self.id)?.context("the container is not counted")?;
        let mut account = Account::default();
        account.look(Some(self.id), Some(&sample), &FileSample::default(), &|_| None);
        Ok(account.usage)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        janitor::clear(&self.path);
    }
}

/// A workload that runs. Its stdin stays open until it is told to go on for the last time or ended.
pub(super) struct Process {
    words: String,
    child: clone::Child,
    stdin: File,
    stdout: BufReader<File>,
}

impl Process {
    /// The next line that it says.
    pub(super) fn hear(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("the workload `{}` ended too early", self.words);
        }
        Ok(line.trim_end().to_owned())
    }

    /// Lets it go on from where it waits.
    pub(super) fn go_on(&mut self) -> anyhow::Result<()> {
        self.stdin.write_all(b"\n").with_context(|| format!("the workload `{}` is gone", self.words))
    }

    /// Waits for its end; its remaining words. An error if it failed.
    pub(super) fn end(self) -> anyhow::Result<String> {
        let Self { words, child, stdin, mut stdout } = self;
        drop(stdin);
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut said)?;
        pidfd::wait_for_end(&[child.pidfd.as_fd()], None)?;
        let ended = pidfd::try_reap(&child.pidfd)?.context("it ended, but cannot be waited for")?;
        if ended.exit != pidfd::Exit::Code(0) {
            bail!("the workload `{words}` {}", ended.exit);
        }
        Ok(said)
    }
}
