//! Namespaces: each is really another one, its first process reaps, and everything in it ends with it.

use std::sync::Arc;

use agent::containerizer::isolation::asked::Policy;
use agent::containerizer::nested::{self, Nested, Place};
use agent::sys::pidfd::Exit;
use agent::sys::processes;
use api::v1;
use api::v1::container_info::Type;
use api::v1::linux_info::IpcMode;

use crate::needs::{self, Need};
use crate::ordinary::DAEMON;
use crate::scene::{Scene, block_on, is_alive, read_when_written, shell, until, within};

const KINDS: [&str; 6] = ["ipc", "mnt", "net", "pid", "user", "uts"];

pub fn container() -> v1::ContainerInfo {
    v1::ContainerInfo { r#type: Type::Mesos.into(), ..v1::ContainerInfo::default() }
}

/// With everything that root can have, for who asks.
pub fn able(mut scene: Scene) -> Scene {
    let policy = Policy {
        filesystem: true,
        capabilities: true,
        rlimits: true,
        may_share_pid: true,
        may_share_ipc: true,
        ..Policy::default()
    };
    scene.agent.isolation = Arc::new(policy);
    scene
}

/// Which namespaces a process is in, in the order of `KINDS`.
fn namespaces(process: &str) -> Vec<String> {
    let link = |kind| std::fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
    KINDS.map(|kind| link(kind).display().to_string()).to_vec()
}

/// Which of them are not ours.
fn own(pid: u32) -> Vec<&'static str> {
    let (ours, its) = (namespaces("self"), namespaces(&pid.to_string()));
    KINDS.into_iter().zip(ours.iter().zip(&its)).filter(|(_, (a, b))| a != b).map(|(kind, _)| kind).collect()
}

#[test]
fn a_container_has_the_namespaces_that_it_asks_for_and_no_others() {
    if !needs::met("a_container_has_the_namespaces_that_it_asks_for_and_no_others", &[Need::Root]) {
        return;
    }
    let scene = able(Scene::without_cgroup());
    let linux = |pid: Option<bool>, ipc: IpcMode| {
        let linux_info = v1::LinuxInfo {
            share_pid_namespace: pid.map(|own| !own),
            ipc_mode: Some(ipc as i32),
            ..v1::LinuxInfo::default()
        };
        v1::ContainerInfo { linux_info: Some(linux_info), ..container() }
    };
    let named = v1::ContainerInfo { hostname: Some("other".to_owned()), ..container() };
    block_on(async {
        for (number, (container, expect)) in [
            (container(), vec![]),
            (linux(Some(true), IpcMode::ShareParent), vec!["mnt", "pid"]),
            (linux(Some(false), IpcMode::Private), vec!["ipc", "mnt"]),
            (linux(Some(true), IpcMode::Private), vec!["ipc", "mnt", "pid"]),
            (named, vec!["uts"]),
        ]
        .into_iter()
        .enumerate()
        {
            let line = "echo ready > ready; exec sleep 1000";
            let plan = scene.plan_in(&format!("c{number}"), shell(line), Some(container)).unwrap();
            let running =
                scene.containerizer.start(scene.containerizer.prepare(plan).await.unwrap()).await.unwrap();
            read_when_written(&running.sandbox.join("ready"));
            assert_eq!(own(running.pid), expect, "{number}");
            scene.end(&running).await;
        }
    });
    // Where the operator wants them for everybody, and does not let anybody share.
    let mut scene = scene;
    let policy = Policy { pid: true, ipc: true, uts: true, filesystem: true, ..Policy::default() };
    scene.agent.isolation = Arc::new(policy);
    block_on(async {
        let running = scene.run("all", "echo ready > ready; exec sleep 1000").await;
        read_when_written(&running.sandbox.join("ready"));
        assert_eq!(own(running.pid), ["ipc", "mnt", "pid", "uts"]);
        scene.end(&running).await;
    });
    let told = |container| scene.plan_in("c", shell("true"), Some(container)).unwrap_err().to_string();
    let shared = told(linux(Some(false), IpcMode::Unknown));
    assert_eq!(
        shared,
        "container.linux_info.share_pid_namespace cannot be had: the operator does not allow it"
    );
    let shared = told(linux(None, IpcMode::ShareParent));
    assert_eq!(
        shared,
        "container.linux_info.ipc_mode cannot be had: the operator does not allow SHARE_PARENT"
    );
}

fn in_pid_namespace() -> v1::ContainerInfo {
    let linux_info = v1::LinuxInfo { share_pid_namespace: Some(false), ..v1::LinuxInfo::default() };
    v1::ContainerInfo { linux_info: Some(linux_info), ..container() }
}

#[test]
fn init_is_the_first_process_of_its_namespace_reaps_and_knows_the_end() {
    if !needs::met("init_is_the_first_process_of_its_namespace_reaps_and_knows_the_end", &[Need::Root]) {
        return;
    }
    let scene = able(Scene::without_cgroup());
    let line = "cat /proc/1/comm; echo $$ $PPID; ls -d /proc/[0-9]* | wc -l
        (sh -c ':' &); while [ $(ls -d /proc/[0-9]* | wc -l) != $(ls -d /proc/[0-9]* | wc -l) ]; do :; done
        grep -c . /proc/self/mountinfo > /dev/null && trap 'exit 7' USR1; echo ready > ready; while :; do sleep 0.01; done";
    block_on(async {
        let plan = scene.plan_in("c1", shell(line), Some(in_pid_namespace())).unwrap();
        let running =
            scene.containerizer.start(scene.containerizer.prepare(plan).await.unwrap()).await.unwrap();
        read_when_written(&running.sandbox.join("ready"));
        // ls and wc count themselves.
        assert_eq!(scene.output(&running), "ingot-init\n2 1\n4\n");
        // A signal reaches the program by way of a first process, for which the kernel has rules of its own; an agent that
        // comes later knows the end all the same.
        let remembered = running.remember();
        running.signal(libc::SIGUSR1).unwrap();
        assert_eq!(within(running.wait()).await.exit, Exit::Code(7));
        drop(running);
        let found = scene.containerizer.reattach(&remembered).await.unwrap();
        assert_eq!(within(found.wait()).await.exit, Exit::Code(7));
    });
}

#[test]
fn nothing_outlives_a_pid_namespace() {
    if !needs::met("nothing_outlives_a_pid_namespace", &[Need::Root, Need::Cgroup2]) {
        return;
    }
    for scene in [able(Scene::without_cgroup()), able(Scene::with_cgroup())] {
        let line = format!("(env -i setsid sh -c 'while :; do (:) ; done' &); {DAEMON}");
        block_on(async {
            let plan = scene.plan_in("c1", shell(&line), Some(in_pid_namespace())).unwrap();
            let running =
                scene.containerizer.start(scene.containerizer.prepare(plan).await.unwrap()).await.unwrap();
            read_when_written(&running.sandbox.join("ready"));
            read_when_written(&running.sandbox.join("daemon"));
            let namespace = namespaces(&running.pid.to_string())[3].clone();
            let members = || {
                let numbers = std::fs::read_dir("/proc").unwrap().flatten();
                let numbers = numbers.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
                let is_there = |pid: &i32| {
                    std::fs::read_link(format!("/proc/{pid}/ns/pid"))
                        .is_ok_and(|it| it.display().to_string() == namespace)
                };
                numbers.filter(is_there).filter(|pid| is_alive(*pid)).count()
            };
            assert!(members() >= 3);
            let exit = within(scene.containerizer.destroy(&running)).await.unwrap().exit;
            assert_eq!(exit, Exit::Signal { number: libc::SIGKILL, core_dumped: false });
            until("all of them have ended", || members() == 0);
            assert!(processes::stat(running.pid.cast_signed()).is_none());
            scene.containerizer.remove(&running).await.unwrap();
        });
    }
}

#[test]
fn a_container_has_its_name_and_its_shared_memory() {
    if !needs::met("a_container_has_its_name_and_its_shared_memory", &[Need::Root]) {
        return;
    }
    let scene = able(Scene::without_cgroup());
    let linux_info = v1::LinuxInfo {
        ipc_mode: Some(IpcMode::Private as i32),
        shm_size: Some(3),
        ..v1::LinuxInfo::default()
    };
    let hostname = Some("a-name.of.its-own".to_owned());
    let container = v1::ContainerInfo { hostname, linux_info: Some(linux_info), ..container() };
    let line = "cat /proc/sys/kernel/hostname; head -c 4194304 /dev/zero > /dev/shm/mine; stat -c %s /dev/shm/mine; ls /dev/shm";
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let plan = scene.plan_in("c1", shell(line), Some(container)).unwrap();
    let (_, output) = block_on(scene.finish(plan));
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..3], ["a-name.of.its-own", "3145728", "mine"], "{output}");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
    assert!(!std::path::Path::new("/dev/shm/mine").exists());
}

/// An executor that the framework brings has them itself, and so has all that is nested in it.
#[test]
fn an_executors_own_users_are_those_of_all_in_it() {
    if !needs::met("an_executors_own_users_are_those_of_all_in_it", &[Need::Root, Need::Cgroup2]) {
        return;
    }
    let mut scene = able(Scene::with_cgroup());
    scene.agent.isolation = Arc::new(Policy { users: true, pid: true, ..(*scene.agent.isolation).clone() });
    let show = "id -u; tr -s ' ' < /proc/self/uid_map; touch made; stat -c %u made ../..";
    let outer =
        scene.plan_in("c1", shell(&format!("{show}; echo; exec sleep 1000")), Some(container())).unwrap();
    let place = Place::top(&"c1".into()).with("a").unwrap();
    let nested = nested::plan(&Nested {
        place: &place,
        parent: &outer,
        command: &shell(&format!("{show}; exit 3")),
        container: None,
        image: None,
        is_session: false,
        switch_user: false,
        has_mounts: true,
        limits: None,
    });
    block_on(async {
        let prepared = scene.containerizer.prepare(outer).await.unwrap();
        let running = scene.containerizer.start(prepared).await.unwrap();
        until("it has looked", || scene.output(&running).ends_with("\n\n"));
        let told = scene.output(&running);
        let first = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&running.sandbox).unwrap());
        assert!(first >= 1 << 30, "{first}");
        assert_eq!(told, format!("0\n 0 {first} 65536\n0\n65534\n\n"));
        let prepared = scene.containerizer.prepare(nested.unwrap()).await.unwrap();
        let inner = scene.containerizer.start_in(prepared, Some(&running)).await.unwrap();
        assert_eq!(within(inner.wait()).await.exit, Exit::Code(3));
        assert_eq!(scene.output(&inner), format!("0\n 0 {first} 65536\n0\n0\n"));
        scene.end(&inner).await;
        scene.end(&running).await;
    });
}
