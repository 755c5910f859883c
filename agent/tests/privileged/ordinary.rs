//! What works for every user, without any cgroup. `containers` runs these as an ordinary user, too.

use agent::containerizer::launch::LaunchError;
use agent::containerizer::service::{Remembered, message};
use agent::sys::pidfd::Exit;
use api::v1;
use std::os::unix::fs::MetadataExt;

use crate::scene::{Scene, block_on, is_alive, read_when_written, shell, within};

#[test]
fn a_command_runs_in_its_sandbox_and_its_end_is_told() {
    let scene = Scene::without_cgroup();
    block_on(async {
        let running = scene.run("c1", "pwd; echo oops >&2; exit 3").await;
        assert_eq!(within(running.wait()).await.exit, Exit::Code(3));
        assert_eq!(within(running.wait()).await.exit, Exit::Code(3));
        assert_eq!(scene.output(&running), format!("{}\n", running.sandbox.display()));
        assert_eq!(std::fs::read_to_string(running.sandbox.join("stderr")).unwrap(), "oops\n");
        assert_eq!((running.cgroup_id(), running.cgroup_path()), (None, None));
        assert_eq!(scene.end(&running).await, Exit::Code(3));
        let metadata = std::fs::metadata(&running.sandbox).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o750, nix::unistd::geteuid().as_raw()));
    });
}

#[test]
fn the_environment_is_the_plans_and_nothing_else() {
    let scene = Scene::without_cgroup();
    let command = v1::CommandInfo { shell: Some(false), ..shell("env") };
    let plan = scene.plan("c1", command);
    let expect: String = plan.environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    block_on(async {
        let running =
            scene.containerizer.start(scene.containerizer.prepare(plan).await.unwrap()).await.unwrap();
        assert_eq!(within(running.wait()).await.exit, Exit::Code(0));
        assert_eq!(scene.output(&running), expect);
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error_and_is_told_in_stderr() {
    let scene = Scene::without_cgroup();
    let plan = scene.plan("c1", v1::CommandInfo { shell: Some(false), ..shell("/no/such/program") });
    let stderr = plan.sandbox.join("stderr");
    block_on(async {
        let prepared = scene.containerizer.prepare(plan).await.unwrap();
        let error = within(scene.containerizer.start(prepared)).await.unwrap_err();
        assert!(matches!(error, LaunchError::Execute { .. }), "{error}");
        assert_eq!(message(&error), "execute /no/such/program: execve: No such file or directory");
        let text = std::fs::read_to_string(stderr).unwrap();
        assert_eq!(text, "Failed to execute /no/such/program: execve: No such file or directory\n");
    });
}

/// A daemon as textbooks make them: two forks, a session of its own, its parents gone.
pub const DAEMON: &str = "(setsid sh -c 'echo $$ > daemon; exec sleep 1000' &) ; \
    while ! [ -s daemon ]; do :; done; echo $$ > ready; exec sleep 1000";

#[test]
fn destroy_ends_the_session_the_descendants_and_a_daemon() {
    let scene = Scene::without_cgroup();
    block_on(async {
        let running = scene.run("c1", DAEMON).await;
        read_when_written(&running.sandbox.join("ready"));
        let daemon: i32 = read_when_written(&running.sandbox.join("daemon")).trim().parse().unwrap();
        assert!(is_alive(daemon) && is_alive(running.pid.cast_signed()));
        assert_eq!(scene.end(&running).await, Exit::Signal { number: libc::SIGKILL, core_dumped: false });
        assert!(!is_alive(daemon), "the daemon survived");
    });
}

#[test]
fn destroy_reaches_what_outlives_the_first_process() {
    let scene = Scene::without_cgroup();
    block_on(async {
        let running = scene.run("c1", "setsid sh -c 'echo $$ > daemon; exec sleep 1000' & exit 0").await;
        assert_eq!(within(running.wait()).await.exit, Exit::Code(0));
        let daemon: i32 = read_when_written(&running.sandbox.join("daemon")).trim().parse().unwrap();
        assert_eq!(scene.end(&running).await, Exit::Code(0));
        assert!(!is_alive(daemon), "the daemon survived");
    });
}

#[test]
fn a_container_is_found_again_and_its_end_noticed() {
    let scene = Scene::without_cgroup();
    block_on(async {
        let running = scene.run("c1", "exec sleep 1000").await;
        let again = scene.containerizer.reattach(&running.remember()).await.unwrap();
        assert_eq!((again.pid, again.mark()), (running.pid, running.mark()));
        // Its number was never written down.
        let found = Remembered { pid: None, ..running.remember() };
        let found = scene.containerizer.reattach(&found).await.unwrap();
        assert_eq!((found.pid, found.mark()), (running.pid, running.mark()));
        // Another process has the number: the container's own has ended.
        let other = Remembered { pid: Some(std::process::id()), ..running.remember() };
        let other = scene.containerizer.reattach(&other).await.unwrap();
        assert_eq!((other.pid, within(other.wait()).await.exit), (0, Exit::Unknown));
        again.signal(libc::SIGTERM).unwrap();
        let terminated = Exit::Signal { number: libc::SIGTERM, core_dumped: false };
        assert_eq!(within(running.wait()).await.exit, terminated);
        // Whoever did not start it knows as well: init wrote it down.
        assert_eq!(within(again.wait()).await.exit, terminated);
        again.signal(libc::SIGTERM).unwrap();
    });
}

#[test]
fn launches_leave_no_descriptor_open() {
    // Other tests of this process open descriptors meanwhile: so it is done in a process of its own.
    if std::env::var_os("ALONE").is_none() {
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "ordinary::launches_leave_no_descriptor_open";
        let output = alone.args(["--exact", name, "--nocapture"]).env("ALONE", "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let scene = Scene::without_cgroup();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    block_on(async {
        let mut before = 0;
        for round in 0..20 {
            let running = scene.run(&format!("good-{round}"), "true").await;
            scene.end(&running).await;
            drop(running);
            let missing = v1::CommandInfo { shell: Some(false), ..shell("/no/such/program") };
            let prepared =
                scene.containerizer.prepare(scene.plan(&format!("bad-{round}"), missing)).await.unwrap();
            scene.containerizer.start(prepared).await.unwrap_err();
            // The first round opens what stays open: the runtime's own.
            if round == 0 {
                before = open();
            }
        }
        assert_eq!(open(), before);
    });
}
