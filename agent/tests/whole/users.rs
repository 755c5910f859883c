//! Containers with users of their own: root in one is nobody outside.

use crate::agent::{Place, until};
use crate::master::{Master, command, framework};
use crate::needs::{self, Need};
use crate::nested::Scene;
use ::api::v1;
use model::task::{Reason, TaskState};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

const ISOLATION: &str =
    "--isolation=cgroup,filesystem/linux,linux/capabilities,posix/rlimits,namespaces/user";
/// Room for two containers.
const FIRST: u32 = 700_000_000;
const REMAP: &str = "--userns-remap=700000000:131072";

/// The work directory can be passed through by anybody, as one of an operator's.
fn place(flags: &[&str]) -> Place {
    let place = Place::new(&[&[ISOLATION, REMAP, "--switch-user=true"], flags].concat());
    std::fs::set_permissions(place.work_dir(), PermissionsExt::from_mode(0o755)).unwrap();
    place
}

fn run(place: Place, task: &str, line: &str, container: Option<v1::ContainerInfo>) -> Scene {
    let master = Master::start();
    let (agent, mut session) = place.start(&master);
    session.register();
    let mut info = ::api::convert::task::to_v1(&command(task, line)).unwrap();
    info.container = container;
    session.run(&framework(true), ::api::convert::task::from_v1(&info).unwrap());
    let told = session.follow(task, TaskState::Running);
    let root = told.last().unwrap().container.as_ref().unwrap().container_id.as_str().to_owned();
    Scene { place, master, session, agent, root }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn volume(host: &Path, inside: &str) -> v1::ContainerInfo {
    let volume = v1::Volume {
        container_path: inside.to_owned(),
        host_path: Some(host.display().to_string()),
        mode: v1::volume::Mode::Rw as i32,
        ..v1::Volume::default()
    };
    let r#type = v1::container_info::Type::Mesos.into();
    v1::ContainerInfo { r#type, volumes: vec![volume], ..v1::ContainerInfo::default() }
}

/// The owner of a process's memory, by the machine.
fn user_of(pid: &str) -> u32 {
    let status = read(&Path::new("/proc").join(pid).join("status"));
    let line = status.lines().find(|line| line.starts_with("Uid:")).expect("it is there");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn root_in_a_container_is_not_root_outside_of_it() {
    if !needs::met("root_in_a_container_is_not_root_outside_of_it", &[Need::Root]) {
        return;
    }
    let place = place(&[]);
    let shared = tempfile::tempdir().unwrap();
    std::fs::write(shared.path().join("of-root"), "shared\n").unwrap();
    std::fs::set_permissions(shared.path().join("of-root"), PermissionsExt::from_mode(0o600)).unwrap();
    let secret = place.work_dir().join("secret");
    std::fs::write(&secret, "secret\n").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let agent = std::process::id();
    // All capabilities, and yet: neither files nor processes nor names of the machine, nor its devices.
    let line = format!(
        "id -u; grep CapEff /proc/self/status | cut -c 8-; cat /proc/self/uid_map | tr -s ' '; stat -c %u:%g . stdout
        touch mine; chown 33:33 mine; stat -c %u mine
        cat {secret} 2>&1 | grep -o denied; kill -0 {agent} 2>&1 | grep -io 'not permitted'
        hostname mine 2> /dev/null || echo no-name; mknod disk b 8 0 2> /dev/null || echo no-device
        mount -t tmpfs tmpfs /mnt 2> /dev/null || echo no-mount; echo 1 2> /dev/null > /proc/sys/kernel/panic || echo no-sysctl
        cat volume/of-root; touch volume/made; echo $$ > pid; exec sleep 1000",
        secret = secret.display()
    );
    let mut scene = run(place, "t", &line, Some(volume(shared.path(), "volume")));
    let sandbox = scene.agent.sandbox(&scene.root);
    until("the task has looked", || !read(&sandbox.join("pid")).is_empty());
    let first = user_of(read(&sandbox.join("pid")).trim());
    assert!(first == FIRST || first == FIRST + 65_536, "{first}");
    let last: u32 = read(Path::new("/proc/sys/kernel/cap_last_cap")).trim().parse().unwrap();
    let all = format!("{:016x}", (1_u64 << (last + 1)) - 1);
    let expect = format!(
        "0\n\t{all}\n 0 {first} 65536\n0:0\n0:0\n33\ndenied\nnot permitted\nno-name\nno-device\nno-mount\nno-sysctl\nshared\n"
    );
    assert_eq!(read(&sandbox.join("stdout")), expect, "{}", read(&sandbox.join("stderr")));
    let owner = |path: &Path| std::fs::metadata(path).unwrap().uid();
    assert_eq!([owner(&sandbox), owner(&sandbox.join("mine"))], [first, first + 33]);
    // What is the machine's stays the machine's.
    assert_eq!(owner(&shared.path().join("made")), 0);

    // Who is let in later is one of them, also when the agent was away meanwhile.
    for name in ["before", "after"] {
        let line = format!(
            "id -u; cat /proc/self/uid_map | tr -s ' '; touch made; cat ../../mine volume/of-root; cat {}",
            secret.display()
        );
        assert_eq!(scene.launch(name, &line).status, 200, "{}", scene.agent.log());
        assert_eq!(scene.exit_status(name), 1 << 8);
        let nested = sandbox.join("containers").join(name);
        assert_eq!(read(&nested.join("stdout")), format!("0\n 0 {first} 65536\n"));
        assert_eq!([owner(&nested), owner(&nested.join("made"))], [first, first]);
        if name == "before" {
            scene = scene.restart();
        }
    }
}

#[test]
fn containers_have_no_users_in_common() {
    if !needs::met("containers_have_no_users_in_common", &[Need::Root]) {
        return;
    }
    let mut scene = run(place(&[]), "a", "id -un; echo $$ > pid; exec sleep 1000", None);
    let mut sandboxes = vec![scene.agent.sandbox(&scene.root)];
    let mut as_nobody =
        ::api::convert::task::to_v1(&command("b", "id -un; echo $$ > pid; exec sleep 1000")).unwrap();
    as_nobody.command.as_mut().unwrap().user = Some("nobody".to_owned());
    scene.session.run(&framework(true), ::api::convert::task::from_v1(&as_nobody).unwrap());
    let told = scene.session.follow("b", TaskState::Running);
    sandboxes
        .push(scene.agent.sandbox(told.last().unwrap().container.as_ref().unwrap().container_id.as_str()));
    let users: Vec<u32> = sandboxes
        .iter()
        .map(|sandbox| {
            until("the task runs", || !read(&sandbox.join("pid")).is_empty());
            user_of(read(&sandbox.join("pid")).trim())
        })
        .collect();
    assert_eq!(
        [&*read(&sandboxes[0].join("stdout")), &*read(&sandboxes[1].join("stdout"))],
        ["root\n", "nobody\n"]
    );
    let [root, nobody] = [users[0], users[1]];
    assert_eq!(root % 65_536, FIRST % 65_536);
    assert_eq!((root - FIRST) / 65_536 + (nobody - 65_534 - FIRST) / 65_536, 1, "{users:?}");
    // There are no more, in this life of the agent or the next one, until one of them has ended.
    scene = scene.restart();
    scene.session.run(&framework(true), command("c", "true"));
    let last = loop {
        let told = scene.session.update();
        scene.session.acknowledge(&told);
        // What the first agent was told last it may have to ask again.
        if told.task_id.as_str() == "c" {
            break told;
        }
    };
    assert_eq!(last.reason, Some(Reason::CONTAINER_LAUNCH_FAILED));
    let message = last.message.as_deref().unwrap();
    assert!(message.contains("all ids of --userns-remap are those of other containers"), "{message}");
    scene.session.kill("a", None);
    scene.session.follow("a", TaskState::Killed);
    let users = scene.place.work_dir().join("containers").join(&scene.root).join("users");
    until("its container is forgotten", || !users.exists());
    scene.session.run(&framework(true), command("d", "true"));
    scene.session.follow("d", TaskState::Finished);
}
