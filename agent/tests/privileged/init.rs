//! The first process of a container: what it costs, what it passes on, what it cleans up, and what it leaves behind. Nothing
//! here needs root or cgroups.

use agent::sys::pidfd::Exit;
use agent::sys::processes;

use crate::scene::{Scene, block_on, is_alive, read_when_written, until, within};

fn proc_file(pid: u32, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap()
}

/// The second part of `name: value kB` in a file of /proc.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.split(':').next() == Some(name)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_init_is_small_and_holds_nothing_of_its_agents() {
    let scene = Scene::without_cgroup();
    block_on(async {
        let running = scene.run("c1", "echo ready > ready; exec sleep 1000").await;
        read_when_written(&running.sandbox.join("ready"));
        let init = running.pid;
        assert_eq!(proc_file(init, "comm"), "ingot-init\n");
        assert_eq!(proc_file(init, "cmdline"), "ingot-init c1\0");
        let memory = proc_file(init, "smaps_rollup");
        let private = kib(&memory, "Private_Dirty") + kib(&memory, "Private_Clean");
        assert!(private <= 20, "{private} KiB of its own: {memory}");
        // But for where it writes the end to, no descriptor is left.
        let open: Vec<_> = std::fs::read_dir(format!("/proc/{init}/fd")).unwrap().collect();
        assert_eq!(open.len(), 1);
        assert_eq!(std::fs::read_link(format!("/proc/{init}/cwd")).unwrap().to_str(), Some("/"));
        scene.end(&running).await;
    });
}

#[test]
fn a_program_has_a_session_its_streams_and_default_signals_and_nothing_else() {
    let scene = Scene::without_cgroup();
    // Only what the shell itself reads: while it starts a program, it blocks signals for a moment.
    let script = r#"read _ _ _ ppid pgrp session rest < /proc/$$/stat
        [ $pgrp = $$ ] && [ $session = $$ ] && echo session
        umask; for fd in /proc/$$/fd/*; do [ -h $fd ] && printf '%s ' ${fd##*/}; done
        while read -r line; do case $line in SigBlk*|SigIgn*) echo "$line" ;; esac; done < /proc/$$/status"#;
    block_on(async {
        let running = scene.run("c1", script).await;
        assert_eq!(within(running.wait()).await.exit, Exit::Code(0));
        let zero = "0000000000000000";
        let expect = format!("session\n0022\n0 1 2 SigBlk:\t{zero}\nSigIgn:\t{zero}\n");
        assert_eq!(scene.output(&running), expect);
        scene.end(&running).await;
    });
}

#[test]
fn ends_of_every_kind_are_known_to_who_comes_later() {
    let scene = Scene::without_cgroup();
    block_on(async {
        let signal = |number| Exit::Signal { number, core_dumped: false };
        for (number, (line, expect)) in
            [("exit 7", Exit::Code(7)), ("kill -34 $$", signal(34)), ("kill -9 $$", signal(9))]
                .into_iter()
                .enumerate()
        {
            let running = scene.run(&format!("c{number}"), line).await;
            let remembered = running.remember();
            assert_eq!(within(running.wait()).await.exit, expect, "{line}");
            drop(running);
            // Its init is reaped: nothing is left but what it wrote.
            let found = scene.containerizer.reattach(&remembered).await.unwrap();
            let ended = within(found.wait()).await;
            assert_eq!((found.pid, ended.exit), (0, expect), "{line}");
            assert!(ended.usage.unwrap().rss_peak_bytes > 0);
            scene.containerizer.forget(&found.container_id).await.unwrap();
            let forgotten = scene.containerizer.reattach(&remembered).await.unwrap();
            assert_eq!(within(forgotten.wait()).await.exit, Exit::Unknown);
        }
    });
}

#[test]
fn a_signal_goes_through_init_to_the_program() {
    let scene = Scene::without_cgroup();
    block_on(async {
        let line = "trap 'echo caught; exit 3' USR1; echo ready > ready; while :; do sleep 0.01; done";
        let running = scene.run("c1", line).await;
        read_when_written(&running.sandbox.join("ready"));
        running.signal(libc::SIGUSR1).unwrap();
        assert_eq!(within(running.wait()).await.exit, Exit::Code(3));
        assert_eq!(scene.output(&running), "caught\n");
        scene.end(&running).await;
    });
}

#[test]
fn orphans_are_reaped_while_the_program_runs() {
    let scene = Scene::without_cgroup();
    block_on(async {
        let line = "(sh -c 'echo $$ > orphan' &); echo ready > ready; exec sleep 1000";
        let running = scene.run("c1", line).await;
        let orphan: i32 = read_when_written(&running.sandbox.join("orphan")).trim().parse().unwrap();
        until("the orphan is reaped", || processes::stat(orphan).is_none());
        assert!(is_alive(running.pid.cast_signed()));
        scene.end(&running).await;
    });
}

#[test]
fn a_program_does_not_outlive_its_init() {
    let scene = Scene::without_cgroup();
    block_on(async {
        let running = scene.run("c1", "echo $$ > program; exec sleep 1000").await;
        let program: i32 = read_when_written(&running.sandbox.join("program")).trim().parse().unwrap();
        let init = nix::unistd::Pid::from_raw(running.pid.cast_signed());
        nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGKILL).unwrap();
        until("the program is killed", || !is_alive(program));
        let killed = Exit::Signal { number: libc::SIGKILL, core_dumped: false };
        assert_eq!(within(running.wait()).await.exit, killed);
        scene.end(&running).await;
    });
}

#[test]
fn an_end_is_written_down_though_the_disk_is_full() {
    let Some(disk) = Disk::small() else { return };
    let scene = Scene::in_folder(&disk.folder);
    block_on(async {
        let running = scene.run("c1", "while [ ! -e go ]; do sleep 0.01; done; exit 5").await;
        let remembered = running.remember();
        std::fs::write(running.sandbox.join("go"), "").unwrap();
        disk.fill();
        assert_eq!(within(running.wait()).await.exit, Exit::Code(5));
        drop(running);
        let found = scene.containerizer.reattach(&remembered).await.unwrap();
        assert_eq!(within(found.wait()).await.exit, Exit::Code(5));
        // Another container cannot be: its folder, or its files, have no space.
        let plan = scene.plan("c2", crate::scene::shell("true"));
        scene.containerizer.prepare(plan).await.unwrap_err();
    });
}

/// A file system of a megabyte.
struct Disk {
    folder: std::path::PathBuf,
    _above: tempfile::TempDir,
}

impl Disk {
    fn small() -> Option<Self> {
        if !crate::needs::met("an_end_is_written_down_though_the_disk_is_full", &[crate::needs::Need::Root]) {
            return None;
        }
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("disk");
        std::fs::create_dir(&folder).unwrap();
        let options = Some("size=1m");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &folder, Some("tmpfs"), flags, options).unwrap();
        Some(Self { folder, _above: above })
    }

    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.folder.join("filler")).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        // The last page's rest and the inodes' own space are no matter: the next file needs a page.
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.folder, nix::mount::MntFlags::MNT_DETACH);
    }
}
