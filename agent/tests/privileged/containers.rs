//! Containers in cgroups of their own, as root.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use agent::cgroup::Enforced;
use agent::cgroup::container::Container;
use agent::cgroup::hierarchy::Tree;
use agent::cgroup::knobs::{Controller, Limits};
use agent::containerizer::launch::LaunchError;
use agent::containerizer::service::Remembered;
use agent::sys::pidfd::Exit;
use api::v1;

use crate::needs::{self, Need};
use crate::ordinary::DAEMON;
use crate::scene::{Scene, block_on, is_alive, read_when_written, shell, within};

const CGROUP: [Need; 2] = [Need::Root, Need::Cgroup2];

#[test]
fn a_program_is_born_in_its_cgroup() {
    if !needs::met("a_program_is_born_in_its_cgroup", &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    block_on(async {
        let prepared =
            scene.containerizer.prepare(scene.plan("c1", shell("cat /proc/self/cgroup"))).await.unwrap();
        let path = scene.containerizer.cgroup_root().unwrap().join("c1");
        // The caller can tell BPF of it while nothing runs in it yet.
        assert_eq!(prepared.cgroup_id(), Some(std::fs::metadata(&path).unwrap().ino()));
        assert_eq!(std::fs::read_to_string(path.join("cgroup.procs")).unwrap(), "");
        let running = scene.containerizer.start(prepared).await.unwrap();
        assert_eq!(within(running.wait()).await.exit, Exit::Code(0));
        let output = scene.output(&running);
        let group = output.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        assert!(path.ends_with(group.trim_start_matches('/')), "{group}");
        // Ended, but not removed: its figures can still be read.
        assert!(std::fs::read_to_string(path.join("cpu.stat")).unwrap().starts_with("usage_usec"));
        assert_eq!(scene.end(&running).await, Exit::Code(0));
    });
}

#[test]
fn nothing_that_was_forked_survives_destroy() {
    if !needs::met("nothing_that_was_forked_survives_destroy", &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    // The daemon wipes its environment as well, and one more forks without end.
    let line = format!("(env -i setsid sh -c 'while :; do (:) ; done' &); {DAEMON}");
    block_on(async {
        let running = scene.run("c1", &line).await;
        read_when_written(&running.sandbox.join("ready"));
        let daemon: i32 = read_when_written(&running.sandbox.join("daemon")).trim().parse().unwrap();
        let group = running.cgroup_path().unwrap().to_owned();
        assert!(is_alive(daemon));
        let exit = within(scene.containerizer.destroy(&running)).await.unwrap().exit;
        assert_eq!(exit, Exit::Signal { number: libc::SIGKILL, core_dumped: false });
        assert!(!is_alive(daemon), "the daemon survived");
        assert_eq!(std::fs::read_to_string(group.join("cgroup.procs")).unwrap(), "");
        scene.containerizer.remove(&running).await.unwrap();
        assert!(!group.exists());
    });
}

#[test]
fn limits_are_set_where_they_are_enforced_and_a_reason_is_told_where_not() {
    let name = "limits_are_set_where_they_are_enforced_and_a_reason_is_told_where_not";
    if !needs::met(name, &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    let enforcement = scene.containerizer.enforcement();
    block_on(async {
        let mut plan = scene.plan("c1", shell("exec sleep 1000"));
        let limits = Limits {
            memory_bytes: 64 << 20,
            memory_max_bytes: Some(64 << 20),
            pids_max: Some(50),
            ..plan.limits.unwrap()
        };
        plan.limits = Some(limits);
        let more = Limits { cpus_milli: 2000, memory_max_bytes: Some(128 << 20), ..limits };
        let running =
            scene.containerizer.start(scene.containerizer.prepare(plan).await.unwrap()).await.unwrap();
        scene.containerizer.set_limits(&running, more).await.unwrap();
        let files = [
            (Controller::Cpu, "cpu.weight", "200"),
            (Controller::Cpu, "cpu.max", "max 100000"),
            (Controller::Memory, "memory.low", "67108864"),
            (Controller::Memory, "memory.max", "134217728"),
            (Controller::Memory, "memory.oom.group", "1"),
            (Controller::Pids, "pids.max", "50"),
        ];
        for (controller, file, expect) in files {
            let text = std::fs::read_to_string(running.cgroup_path().unwrap().join(file));
            match enforcement.of(controller) {
                Enforced::Yes => assert_eq!(text.unwrap().trim(), expect, "{file}"),
                Enforced::No { reason } => {
                    assert_eq!(text.unwrap_err().kind(), std::io::ErrorKind::NotFound, "{file}");
                    assert!(reason.contains("cgroup"), "{reason}");
                    assert!(enforcement.warning(&[]).unwrap().contains(reason.as_str()));
                }
            }
        }
        scene.end(&running).await;
    });
}

#[test]
fn groups_that_a_task_made_are_removed_with_its_own() {
    if !needs::met("groups_that_a_task_made_are_removed_with_its_own", &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    let group = scene.containerizer.cgroup_root().unwrap().join("c1");
    let line = format!(
        "mkdir -p {0}/a/b && (echo 0 > {0}/a/b/cgroup.procs; echo $$ > ready; exec sleep 1000) & wait",
        group.display()
    );
    block_on(async {
        let running = scene.run("c1", &line).await;
        read_when_written(&running.sandbox.join("ready"));
        let busy = scene.containerizer.remove(&running).await.unwrap_err();
        assert_eq!(busy.to_string(), format!("remove cgroup {}/a/b", group.display()));
        scene.end(&running).await;
    });
}

#[test]
fn a_failed_launch_leaves_no_group() {
    if !needs::met("a_failed_launch_leaves_no_group", &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    block_on(async {
        let missing = v1::CommandInfo { shell: Some(false), ..shell("/no/such/program") };
        let prepared = scene.containerizer.prepare(scene.plan("c1", missing)).await.unwrap();
        assert_eq!(scene.containerizer.leftovers().await.unwrap(), ["c1".into()]);
        scene.containerizer.start(prepared).await.unwrap_err();
        assert_eq!(scene.containerizer.leftovers().await.unwrap(), []);
        let prepared = scene.containerizer.prepare(scene.plan("c2", shell("true"))).await.unwrap();
        scene.containerizer.abandon(prepared).await.unwrap();
        assert_eq!(scene.containerizer.leftovers().await.unwrap(), []);
    });
}

#[test]
fn a_forgotten_container_is_found_by_its_group() {
    if !needs::met("a_forgotten_container_is_found_by_its_group", &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    block_on(async {
        let running = scene.run("c1", "exec sleep 1000").await;
        let remembered = Remembered { pid: None, ..running.remember() };
        let found = scene.containerizer.reattach(&remembered).await.unwrap();
        assert_eq!((found.cgroup_id(), found.mark()), (running.cgroup_id(), running.mark()));
        let again = scene.containerizer.reattach(&running.remember()).await.unwrap();
        assert_eq!(again.mark(), running.mark());
        assert_eq!(
            within(scene.containerizer.destroy(&running)).await.unwrap().exit,
            Exit::Signal { number: libc::SIGKILL, core_dumped: false }
        );
        // Nobody is in it any more.
        let ended = scene.containerizer.reattach(&remembered).await.unwrap();
        assert_eq!((ended.pid, within(ended.wait()).await.exit), (0, Exit::Unknown));
        scene.containerizer.remove(&found).await.unwrap();
    });
}

fn as_nobody(scene: &mut Scene) {
    scene.agent.switch_user = true;
}

#[test]
fn a_user_gets_a_sandbox_of_his_own_and_no_more_rights() {
    if !needs::met("a_user_gets_a_sandbox_of_his_own_and_no_more_rights", &CGROUP) {
        return;
    }
    let mut scene = Scene::with_cgroup();
    as_nobody(&mut scene);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let line = "grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status; echo x > mine; cat /etc/shadow";
    block_on(async {
        let running = scene.run("c1", line).await;
        assert_eq!(within(running.wait()).await.exit, Exit::Code(1));
        let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
        let four = |id: u32| format!("{id}\t{id}\t{id}\t{id}");
        let expect =
            format!("Uid:\t{}\nGid:\t{}\nGroups:\t{gid} \nCapEff:\t0000000000000000\n", four(uid), four(gid));
        assert_eq!(scene.output(&running), expect);
        for name in ["", "stdout", "stderr", "mine"] {
            let metadata = std::fs::metadata(running.sandbox.join(name)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (uid, gid), "{name}");
        }
        scene.end(&running).await;
    });
}

#[test]
fn an_unknown_user_is_an_error() {
    if !needs::met("an_unknown_user_is_an_error", &CGROUP) {
        return;
    }
    let mut scene = Scene::with_cgroup();
    as_nobody(&mut scene);
    let command = v1::CommandInfo { user: Some("no-such-user".to_owned()), ..shell("true") };
    block_on(async {
        let error = scene.containerizer.prepare(scene.plan("c1", command)).await.unwrap_err();
        assert!(matches!(error, LaunchError::NoSuchUser { .. }));
        assert_eq!(error.to_string(), "no such user 'no-such-user'");
        assert_eq!(scene.containerizer.leftovers().await.unwrap(), []);
    });
}

#[test]
fn a_user_cannot_have_a_file_fetched_that_he_may_not_read() {
    if !needs::met("a_user_cannot_have_a_file_fetched_that_he_may_not_read", &CGROUP) {
        return;
    }
    let mut scene = Scene::with_cgroup();
    as_nobody(&mut scene);
    let file = |name: &str, mode: u32| {
        let path = scene.folder().join(name);
        std::fs::write(&path, "content").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let value = path.to_str().unwrap().to_owned();
        v1::command_info::Uri { value, ..v1::command_info::Uri::default() }
    };
    let (open, private) = (file("open", 0o644), file("private", 0o600));
    block_on(async {
        let command = v1::CommandInfo { uris: vec![open, private], ..shell("true") };
        let prepared = scene.containerizer.prepare(scene.plan("c1", command)).await.unwrap();
        let error = within(scene.containerizer.fetch(&prepared)).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "Permission denied (os error 13)");
        let open = std::fs::metadata(prepared.sandbox.join("open")).unwrap();
        assert_eq!(open.uid(), nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw());
        // Only the fetcher's thread was somebody else.
        assert_eq!(nix::unistd::setfsuid(nix::unistd::geteuid()), nix::unistd::geteuid());
        scene.containerizer.abandon(prepared).await.unwrap();
    });
}

#[test]
fn without_cgroup_kill_freezing_does_it() {
    if !needs::met("without_cgroup_kill_freezing_does_it", &CGROUP) {
        return;
    }
    let scene = Scene::with_cgroup();
    block_on(async {
        // Forks without end, from many places at once.
        let line =
            "for i in 1 2 3 4 5 6; do setsid sh -c 'echo $$ > ready; while :; do (:) ; done' & done; wait";
        let running = scene.run("c1", line).await;
        read_when_written(&running.sandbox.join("ready"));
        let tree = Tree::at(scene.containerizer.cgroup_root().unwrap().to_owned());
        let group = Container::open(&tree, "c1").unwrap();
        assert!(group.processes().contains(&running.pid.cast_signed()));
        group.kill_by_freezing().unwrap();
        assert!(group.processes().is_empty());
        let killed = Exit::Signal { number: libc::SIGKILL, core_dumped: false };
        assert_eq!(within(running.wait()).await.exit, killed);
        scene.end(&running).await;
    });
}

/// As systemd gives one to a service with `Delegate=yes`: everything below a group is its user's.
#[test]
fn an_ordinary_user_uses_a_group_that_was_delegated_to_him() {
    let name = "an_ordinary_user_uses_a_group_that_was_delegated_to_him";
    if let Some(delegated) = std::env::var_os("DELEGATED") {
        assert_eq!(nix::unistd::geteuid().as_raw(), 65534);
        let file = std::path::Path::new(&delegated).join("cgroup.controllers");
        let controllers = || std::fs::read_to_string(&file).unwrap();
        let before = controllers();
        let scene = Scene::with_cgroup();
        let after = controllers();
        // All its controllers are his, though he came in through the group itself.
        for controller in Controller::ALL {
            let is_in = |text: &str| text.split_ascii_whitespace().any(|it| it == controller.as_str());
            let has = is_in(&before);
            if has != is_in(&after) {
                // Another test has just enabled it above.
                continue;
            }
            let enforced = scene.containerizer.enforcement().of(controller);
            assert_eq!(enforced.is_yes(), has, "{controller:?}: {enforced:?}");
        }
        block_on(async {
            let group = scene.containerizer.cgroup_root().expect("it has one").join("c1");
            let running = scene.run("c1", DAEMON).await;
            assert_eq!(running.cgroup_path(), Some(group.as_path()));
            read_when_written(&running.sandbox.join("ready"));
            assert!(std::fs::read_to_string(group.join("cgroup.procs")).unwrap().lines().count() >= 2);
            scene.end(&running).await;
        });
        return;
    }
    if !needs::met(name, &CGROUP) {
        return;
    }
    let group = needs::cgroup2_root().unwrap().join(format!("ingot-test-{}-delegated", std::process::id()));
    std::fs::create_dir(&group).unwrap();
    for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        std::os::unix::fs::chown(group.join(file), Some(65534), Some(65534)).unwrap();
    }
    let enter = format!("echo $$ > {}/cgroup.procs && exec setpriv \"$@\"", group.display());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &enter, "sh"]).env("DELEGATED", &group);
    let text = as_ordinary_user(shell, &["--exact", &format!("containers::{name}")]);
    // He may have had to make one for himself, and could not remove it while he was in it.
    let below = std::fs::read_dir(&group).unwrap().flatten().map(|it| it.path());
    for aside in below.filter(|it| it.extension().is_some_and(|it| it == "agent")) {
        std::fs::remove_dir(aside).unwrap();
    }
    std::fs::remove_dir(&group).expect("nothing is left in it");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn an_ordinary_user_has_everything_but_cgroups() {
    if !needs::met("an_ordinary_user_has_everything_but_cgroups", &[Need::Root]) {
        return;
    }
    let text = as_ordinary_user(std::process::Command::new("setpriv"), &["ordinary::"]);
    assert!(!text.contains("running 0 tests"), "{text}");
}

/// Runs tests of this program as nobody; `setpriv` gets its arguments. Returns what they print.
fn as_ordinary_user(mut setpriv: std::process::Command, tests: &[&str]) -> String {
    // Where this program lies may be closed to others. Copied by another process: a descriptor that writes to it must not
    // be inherited by what other tests start, or it could not be run while they run.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("tests");
    let copied =
        std::process::Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status();
    assert!(copied.unwrap().success());
    setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(tests);
    let output = setpriv.current_dir("/").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
