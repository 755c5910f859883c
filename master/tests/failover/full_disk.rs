//! A disk that is full, a real one: a small tmpfs in a mount namespace of its own.

use crate::{Master, PATIENCE, load, until};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A process that has a namespace with a tmpfs in it, and what goes on there.
struct SmallDisk {
    holder: Child,
    place: String,
}

impl SmallDisk {
    /// `None`, and said why, for who may not mount.
    fn mount(test: &str, place: &Path, size: &str) -> Option<Self> {
        let place = place.display().to_string();
        let script = format!("mount -t tmpfs -o size={size} none {place} && echo mounted && exec cat");
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare(1)");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut said).expect("readable");
        let disk = Self { holder, place };
        if said.trim() == "mounted" {
            return Some(disk);
        }
        assert_ne!(std::env::var("REQUIRE").as_deref(), Ok("all"), "{test} needs root (REQUIRE=all)");
        // Past the test runner's capture, which would swallow it.
        let _ = writeln!(std::io::stderr(), "SKIP {test}: a tmpfs cannot be mounted here");
        None
    }

    /// A program in the namespace.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.holder.id().to_string(), program]);
        command
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let done = self.command("mount").args(["-o", &options, &self.place]).status().expect("mount(8)");
        assert!(done.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Both fail only when it is gone already; the namespace goes with it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_master_on_a_full_disk_says_so_and_has_everything_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let test = "a_master_on_a_full_disk_says_so_and_has_everything_when_there_is_room";
    let Some(disk) = SmallDisk::mount(test, folder.path(), "3m") else { return };
    let program = env!("CARGO_BIN_EXE_ingot-master");
    let flags = [format!("--work_dir={}", folder.path().display())];
    let mut master = Master::start_as(disk.command(program), &flags);
    let mut answered = BTreeSet::new();
    let end = Instant::now() + PATIENCE;
    let mut round = 0;
    let ended = loop {
        // Each round's agents have addresses of their own, until the disk is full.
        load(master.address, 1 + round * 8_000)
            .into_iter()
            .for_each(|it| answered.extend(it.join().expect("it stops when the master does")));
        round += 1;
        if let Some(ended) = master.child.try_wait().expect("our child") {
            break ended;
        }
        assert!(Instant::now() < end && round < 8, "{} agents do not fill the disk", answered.len());
    };
    assert_eq!(ended.code(), Some(1));
    until("it has said why", || master.log.lock().expect("no holder panics").contains("registry.redb"));
    let said = master.log.lock().expect("no holder panics").clone();
    assert!(
        said.contains("the registry cannot be written") && said.contains("No space left on device"),
        "{said}"
    );
    assert!(answered.len() > 100, "{} agents are no load", answered.len());

    disk.resize("64m");
    let master = Master::start_as(disk.command(program), &flags);
    until("it leads again", || master.leads());
    let slaves = master.text("/slaves");
    let lost: Vec<_> = answered.iter().filter(|id| !slaves.contains(&format!("\"{id}\""))).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
}
