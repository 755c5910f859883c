//! Tasks and executors that run on images, from RUN to what is left of them.

use crate::agent::{Agent, Place};
use crate::image::{Layer, busybox, layout, save};
use crate::master::{Master, Session, framework};
use crate::needs::{self, Need};
use ::api::v1;
use model::task::{Reason, TaskInfo, TaskState};
use nix::sys::signal::Signal;
use serde_json::json;
use std::path::{Path, PathBuf};

struct Scene {
    registry: tempfile::TempDir,
    place: Place,
    master: Master,
}

impl Scene {
    /// `None`: it has been said why, and the test is to return.
    fn of(test: &str, flags: &[&str]) -> Option<Self> {
        if !needs::met(test, &[Need::Root, Need::Program("busybox")]) {
            return None;
        }
        let registry = tempfile::tempdir().unwrap();
        let config = json!({
            "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo cmd; id; pwd; echo $A"], "Env": ["A=image", "PATH=/bin"],
            "User": "web", "WorkingDir": "/srv/work",
        });
        layout(&registry.path().join("busybox"), "latest", &config, &busybox());
        save(&registry.path().join("plain:1.tar"), "plain:1", &json!({}), &busybox());
        let at = format!("--docker-registry={}", registry.path().display());
        let place = Place::new(&[&["--image-providers=docker", "--switch-user=true", &at], flags].concat());
        Some(Self { registry, place, master: Master::start() })
    }

    fn roots(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.place.work_dir().join("provisioner"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    fn mounts(&self) -> usize {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.lines().filter(|line| line.contains(self.place.work_dir().to_str().unwrap())).count()
    }

    /// Nothing is left of containers that are over.
    fn check_nothing_left(&self) {
        crate::agent::until("roots are deleted", || self.roots().is_empty());
        assert_eq!(self.mounts(), 0);
    }
}

fn container(image: &str) -> v1::ContainerInfo {
    let docker = Some(v1::image::Docker { name: image.to_owned(), ..v1::image::Docker::default() });
    let image = v1::Image { r#type: v1::image::Type::Docker.into(), docker, ..v1::Image::default() };
    v1::ContainerInfo {
        r#type: v1::container_info::Type::Mesos.into(),
        mesos: Some(v1::container_info::MesosInfo { image: Some(image) }),
        ..v1::ContainerInfo::default()
    }
}

fn task(id: &str, image: &str, command: v1::CommandInfo) -> TaskInfo {
    let mut task = ::api::convert::task::to_v1(&crate::master::command(id, "")).unwrap();
    task.command = Some(command);
    task.container = Some(container(image));
    ::api::convert::task::from_v1(&task).unwrap()
}

fn shell(line: &str) -> v1::CommandInfo {
    v1::CommandInfo { value: Some(line.to_owned()), ..v1::CommandInfo::default() }
}

/// Runs it to its end; what it wrote.
fn output(agent: &Agent, session: &mut Session, task: TaskInfo) -> String {
    let id = task.task_id.to_string();
    session.run(&framework(false), task);
    let told = session.follow(&id, TaskState::Finished);
    let container = told.last().unwrap().container.clone().unwrap();
    let sandbox = agent.sandbox(container.container_id.as_str());
    let read = |name: &str| std::fs::read_to_string(sandbox.join(name)).unwrap();
    read("stdout") + &read("stderr")
}

#[test]
fn a_command_task_runs_on_its_image() {
    let Some(scene) = Scene::of("a_command_task_runs_on_its_image", &[]) else { return };
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    // By the image's own entry point, as its user, in its folder, with its variables.
    let own = v1::CommandInfo { shell: Some(false), ..v1::CommandInfo::default() };
    let told = output(&agent, &mut session, task("own", "busybox", own.clone()));
    assert_eq!(told, "cmd\nuid=1234(web) gid=2345(web) groups=2345(web),3456(logs)\n/srv/work\nimage\n");
    // With arguments of the framework's, and a variable of its own that goes before the image's.
    let variable = v1::environment::Variable {
        name: "A".to_owned(),
        value: Some("mine".to_owned()),
        ..Default::default()
    };
    let environment = Some(v1::Environment { variables: vec![variable] });
    let arguments = vec!["echo $A $MESOS_SANDBOX; echo /opt/hidden/*; cat /etc/new || ls /etc".to_owned()];
    let with_arguments = v1::CommandInfo { arguments, environment, ..own };
    let told = output(&agent, &mut session, task("arguments", "busybox:latest", with_arguments));
    let etc = "group\nhosts\nnew\npasswd\nresolv.conf\n";
    assert_eq!(
        told,
        format!(
            "mine /mnt/mesos/sandbox\n/opt/hidden/*\n{etc}cat: can't open '/etc/new': Permission denied\n"
        )
    );
    // What it writes to its sandbox and to its root; the task's user goes before the image's.
    let line = "touch $MESOS_SANDBOX/made /made; pwd; id -un; stat -c %U /mnt/mesos/sandbox/made";
    let as_root = v1::CommandInfo { user: Some("root".to_owned()), ..shell(line) };
    let told = output(&agent, &mut session, task("writes", "plain:1", as_root));
    assert_eq!(told, "/mnt/mesos/sandbox\nroot\nroot\n");
    assert_eq!(
        output(&agent, &mut session, task("again", "plain:1", shell("ls /made | wc -l"))),
        "0\nls: /made: No such file or directory\n"
    );
    scene.check_nothing_left();
    let metrics = agent.get("/metrics/snapshot").json();
    assert_eq!(metrics["containerizer/mesos/provisioner/images"], 2.0);
    assert_eq!(metrics["containerizer/mesos/provisioner/pulls_succeeded"], 2.0);
}

#[test]
fn a_task_on_an_image_ends_as_others_do() {
    let Some(scene) = Scene::of("a_task_on_an_image_ends_as_others_do", &[]) else { return };
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    session.run(&framework(false), task("fails", "plain:1", shell("exit 7")));
    let told = session.follow("fails", TaskState::Failed);
    assert_eq!(told.last().unwrap().message.as_deref(), Some("Command exited with status 7"));
    session.run(
        &framework(false),
        task("killed", "plain:1", shell("trap 'echo term; exit' TERM; echo up; while :; do sleep 0.1; done")),
    );
    let told = session.follow("killed", TaskState::Running);
    let sandbox = agent.sandbox(told.last().unwrap().container.clone().unwrap().container_id.as_str());
    let stdout = || std::fs::read_to_string(sandbox.join("stdout")).unwrap();
    crate::agent::until("the trap is set", || stdout() == "up\n");
    session.kill("killed", None);
    session.follow("killed", TaskState::Killed);
    assert_eq!(stdout(), "up\nterm\n");
    scene.check_nothing_left();
}

/// By the image's entry point, as it has no command of its own.
#[test]
fn an_executor_of_the_framework_runs_on_its_image() {
    let Some(scene) = Scene::of("an_executor_of_the_framework_runs_on_its_image", &[]) else { return };
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    let mut info = ::api::convert::task::to_v1(&crate::master::command("t", "")).unwrap();
    info.command = None;
    info.executor = Some(v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: "e".to_owned() },
        framework_id: Some(v1::FrameworkId { value: "F".to_owned() }),
        command: Some(v1::CommandInfo { shell: Some(false), ..v1::CommandInfo::default() }),
        container: Some(container("busybox")),
        ..v1::ExecutorInfo::default()
    });
    session.run(&framework(false), ::api::convert::task::from_v1(&info).unwrap());
    let failed = session.follow("t", TaskState::Failed);
    // It is no executor, after all.
    assert_eq!(failed.last().unwrap().reason, Some(Reason::EXECUTOR_TERMINATED));
    let stdout = crate::restart::files(&scene.place.work_dir().join("slaves"));
    let stdout = stdout.iter().find(|path| path.ends_with("stdout")).unwrap();
    let told = std::fs::read_to_string(stdout).unwrap();
    assert_eq!(told, "cmd\nuid=1234(web) gid=2345(web) groups=2345(web),3456(logs)\n/srv/work\nimage\n");
    scene.check_nothing_left();
    drop(agent);
}

#[test]
fn a_nested_container_runs_on_its_image() {
    let Some(scene) = Scene::of("a_nested_container_runs_on_its_image", &[]) else { return };
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    session.run(&framework(true), crate::master::command("t", "sleep 1000"));
    let told = session.follow("t", TaskState::Running);
    let root = told.last().unwrap().container.as_ref().unwrap().container_id.to_string();
    let image = json!({"type": "DOCKER", "docker": {"name": "plain:1"}});
    let id = json!({"value": "a", "parent": {"value": root}});
    let post = |agent: &Agent, call: serde_json::Value| {
        let json = ["Content-Type: application/json"];
        crate::http::call(agent.address, "POST", "/api/v1", &json, &call.to_string())
    };
    let launch = json!({"type": "LAUNCH_NESTED_CONTAINER", "launch_nested_container": {
        "container_id": id,
        "command": {"value": "cat /etc/new; pwd; until [ -e go ]; do sleep 0.05; done; cat /etc/new; exit 3"},
        "container": {"type": "MESOS", "mesos": {"image": image}},
    }});
    let answer = post(&agent, launch);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let sandbox = agent.sandbox(&root).join("containers/a");
    crate::agent::until("it runs on its image", || {
        std::fs::read_to_string(sandbox.join("stdout")).unwrap() == "new/mnt/mesos/sandbox\n"
    });
    // Its root stays as long as it lives, whatever becomes of the agent: the next one deletes only those of nobody.
    agent.kill();
    let root_of = |name: &str| scene.place.work_dir().join("provisioner").join(name);
    let left = ["gone", "gone.a"].map(root_of);
    left.iter().for_each(|left| std::fs::create_dir(left).unwrap());
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    crate::agent::until("what nobody has is deleted", || !left.iter().any(|left| left.exists()));
    assert_eq!(scene.roots(), [root_of(&format!("{root}.a"))]);
    std::fs::write(sandbox.join("go"), "").unwrap();
    let wait = json!({"type": "WAIT_NESTED_CONTAINER", "wait_nested_container": {"container_id": id}});
    assert_eq!(post(&agent, wait).json()["wait_nested_container"]["exit_status"], 3 << 8);
    let stdout = std::fs::read_to_string(sandbox.join("stdout")).unwrap();
    assert_eq!(stdout, "new/mnt/mesos/sandbox\nnew", "it sees its image to the end");
    scene.check_nothing_left();
    session.kill("t", None);
    session.follow("t", TaskState::Killed);
}

#[test]
fn an_image_that_cannot_be_had_fails_its_task_by_name() {
    let Some(scene) = Scene::of("an_image_that_cannot_be_had_fails_its_task_by_name", &[]) else { return };
    save(
        &scene.registry.path().join("bad:latest.tar"),
        "bad",
        &json!({}),
        &[Layer::new().file("../x", 0o644, "x").plain()],
    );
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    let at = scene.registry.path().display();
    let missing = format!(
        "Failed to pull image 'missing:latest': Failed to find archive for image 'missing:latest' at '{at}/missing:latest.tar'"
    );
    let none = v1::CommandInfo { shell: Some(false), ..v1::CommandInfo::default() };
    for (image, command, why) in [
        ("missing", shell("true"), &*missing),
        ("../x", shell("true"), "'../x' is no name of an image"),
        ("bad", shell("true"), "member '../x': its name has '..' in it"),
        ("plain:1", none, "No executable is found"),
    ] {
        session.run(&framework(false), task("t", image, command));
        let told = session.follow("t", TaskState::Failed);
        let failed = told.last().unwrap();
        assert_eq!(failed.reason, Some(Reason::CONTAINER_LAUNCH_FAILED));
        assert!(failed.message.as_deref().unwrap().contains(why), "{:?} instead of {why}", failed.message);
    }
    scene.check_nothing_left();
    drop(agent);
}

#[test]
fn an_agent_without_images_says_so() {
    let (place, master) = (Place::new(&[]), Master::start());
    let (_agent, mut session) = place.start(&master);
    session.register();
    session.run(&framework(false), task("t", "plain:1", shell("true")));
    let told = session.follow("t", TaskState::Failed);
    let message = told.last().unwrap().message.clone().unwrap();
    assert!(
        message.contains("container.mesos.image: this agent has no images (--image-providers)"),
        "{message}"
    );
}

#[test]
fn a_task_on_an_image_outlives_its_agent_and_its_root_goes_with_it() {
    let Some(scene) = Scene::of("a_task_on_an_image_outlives_its_agent", &[]) else { return };
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    let line = "until [ -e go ]; do sleep 0.05; done; cat /etc/new; cat /opt/hidden/upper";
    session.run(&framework(true), task("t", "plain:1", shell(line)));
    let told = session.follow("t", TaskState::Running);
    let container = told.last().unwrap().container.clone().unwrap();
    agent.signal(Signal::SIGKILL);
    agent.kill();
    // As an agent leaves it that was killed before it could clean up.
    let orphan = scene.place.work_dir().join("provisioner/orphan");
    std::fs::create_dir_all(orphan.join("upper/x")).unwrap();
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    crate::agent::until("the orphan is deleted", || !orphan.exists());
    assert_eq!(scene.roots().len(), 1);
    // It is in use.
    assert_eq!(prune(&agent, &[]), 200);
    let sandbox = agent.sandbox(container.container_id.as_str());
    std::fs::write(sandbox.join("go"), "").unwrap();
    session.follow("t", TaskState::Finished);
    assert_eq!(std::fs::read_to_string(sandbox.join("stdout")).unwrap(), "newupper");
    scene.check_nothing_left();
}

fn prune(agent: &Agent, excluded: &[&str]) -> u16 {
    let image = |name: &&str| json!({"type": "DOCKER", "docker": {"name": name}});
    let excluded: Vec<_> = excluded.iter().map(image).collect();
    let call = json!({"type": "PRUNE_IMAGES", "prune_images": {"excluded_images": excluded}});
    let json = ["Content-Type: application/json", "Accept: application/json"];
    crate::http::call(agent.address, "POST", "/api/v1", &json, &call.to_string()).status
}

#[test]
fn images_that_nobody_uses_are_pruned_but_for_those_that_are_excluded() {
    let Some(scene) = Scene::of("images_are_pruned", &[]) else { return };
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    for (id, image) in [("a", "busybox"), ("b", "plain:1")] {
        output(&agent, &mut session, task(id, image, shell("true")));
    }
    scene.check_nothing_left();
    let images = |agent: &Agent| {
        agent.get("/metrics/snapshot").json()["containerizer/mesos/provisioner/images"].as_f64().unwrap()
    };
    // The agent may not yet have let go of what the last task ran on.
    crate::agent::until("one is pruned", || prune(&agent, &["busybox"]) == 200 && images(&agent) == 1.0);
    assert_eq!((prune(&agent, &["..."]), images(&agent)), (400, 1.0));
    assert_eq!((prune(&agent, &[]), images(&agent)), (200, 0.0));
    let layers = || std::fs::read_dir(scene.place.work_dir().join("store/docker/layers")).unwrap().count();
    assert_eq!(layers(), 0);
    // It is pulled again.
    output(&agent, &mut session, task("c", "busybox", shell("true")));
    assert!(Path::new(&scene.place.work_dir().join("store/docker/layers")).exists() && layers() == 3);
}

/// Who looks into a task that runs on an image sees the task's files, not the machine's.
#[test]
fn who_is_beside_a_task_on_an_image_sees_its_files() {
    let Some(scene) = Scene::of("who_is_beside_a_task_on_an_image_sees_its_files", &[]) else { return };
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    let line = "echo mine > /made; echo up > here; exec sleep 1000";
    session.run(&framework(true), task("t", "plain:1", shell(line)));
    let told = session.follow("t", TaskState::Running);
    let root = told.last().unwrap().container.as_ref().unwrap().container_id.as_str().to_owned();
    let sandbox = agent.sandbox(&root);
    crate::agent::until("the task runs", || sandbox.join("here").exists());
    let Scene { registry: _registry, place, master } = scene;
    let mut scene = crate::nested::Scene { place, master, session, agent, root };
    let line = "cat /made; [ -e /etc/new ] && echo image; ls /usr 2> /dev/null; pwd; echo $MESOS_SANDBOX; cat here 2> /dev/null; exit 3";
    for restarted in [false, true] {
        let name = if restarted { "after" } else { "before" };
        assert_eq!(scene.launch(name, line).status, 200);
        assert_eq!(scene.exit_status(name), 3 << 8);
        let output = std::fs::read_to_string(sandbox.join("containers").join(name).join("stdout")).unwrap();
        let own = format!("/mnt/mesos/sandbox/containers/{name}\n");
        assert_eq!(output, format!("mine\nimage\n{own}{own}"));
        // What is in that is where that is.
        assert_eq!(scene.launch(&format!("{name}-outer"), "sleep 1000").status, 200);
        assert_eq!(scene.launch(&format!("{name}-outer.in"), "cat /made; exit 4").status, 200);
        assert_eq!(scene.exit_status(&format!("{name}-outer.in")), 4 << 8);
        let source = json!({"type": "SANDBOX_PATH", "sandbox_path": {"type": "PARENT", "path": "here"}});
        let volume = json!({"container_path": "there", "mode": "RO", "source": source});
        let body = json!({"container_id": scene.id(&format!("{name}-volume")), "command": {"value": "cat there /made; exit 5"},
            "container": {"type": "MESOS", "volumes": [volume]}});
        assert_eq!(scene.post("LAUNCH_NESTED_CONTAINER", body).status, 200);
        assert_eq!(scene.exit_status(&format!("{name}-volume")), 5 << 8);
        let output = sandbox.join("containers").join(format!("{name}-volume")).join("stdout");
        assert_eq!(std::fs::read_to_string(output).unwrap(), "up\nmine\n");
        let (out, _) = scene.session("s", "cat /made; cat here; echo $MESOS_SANDBOX", None).until_over();
        assert!(out.starts_with("mine\nup\n/mnt/mesos/sandbox\n"), "{out}");
        assert_eq!(scene.exit_status("s"), 0);
        assert_eq!(scene.of("REMOVE_NESTED_CONTAINER", "s").status, 200);
        if !restarted {
            scene = scene.restart();
        }
    }
}

/// As who looks at a task expects: as its user, in its folder, with its variables.
#[test]
fn a_session_in_a_task_on_an_image_finds_what_the_task_has_found() {
    let test = "a_session_in_a_task_on_an_image_finds_what_the_task_has_found";
    let Some(scene) = Scene::of(test, &[]) else { return };
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    let own = v1::CommandInfo { shell: Some(false), ..v1::CommandInfo::default() };
    let arguments = vec!["exec sleep 1000".to_owned()];
    session.run(&framework(true), task("t", "busybox", v1::CommandInfo { arguments, ..own }));
    let told = session.follow("t", TaskState::Running);
    let root = told.last().unwrap().container.as_ref().unwrap().container_id.as_str().to_owned();
    let Scene { registry: _registry, place, master } = scene;
    let mut scene = crate::nested::Scene { place, master, session, agent, root };
    for name in ["before", "after"] {
        let (out, _) = scene.session(name, "id -un; pwd; echo $A $PATH $MESOS_SANDBOX", None).until_over();
        assert_eq!(out, "web\n/srv/work\nimage /bin /mnt/mesos/sandbox\n");
        assert_eq!(scene.exit_status(name), 0);
        assert_eq!(scene.of("REMOVE_NESTED_CONTAINER", name).status, 200);
        scene = scene.restart();
    }
}

/// Users of a container's own see an image as it was made, and what they change of it is theirs.
#[test]
fn an_image_belongs_to_the_containers_own_users() {
    let isolation = "--isolation=cgroup,filesystem/linux,namespaces/user,namespaces/pid,namespaces/ipc";
    let test = "an_image_belongs_to_the_containers_own_users";
    let Some(scene) = Scene::of(test, &[isolation, "--userns-remap=800000000:65536"]) else { return };
    let (agent, mut session) = scene.place.start(&scene.master);
    session.register();
    let own = v1::CommandInfo { shell: Some(false), ..v1::CommandInfo::default() };
    let line = "id; pwd; stat -c %u:%g . /bin/busybox; touch $MESOS_SANDBOX/made || echo not mine";
    let by_image = v1::CommandInfo { arguments: vec![line.to_owned()], ..own };
    let told = output(&agent, &mut session, task("web", "busybox", by_image));
    assert_eq!(told, "uid=1234(web) gid=2345(web) groups=2345(web),3456(logs)\n/srv/work\n0:0\n0:0\n");
    let users = |id: &str| scene.place.work_dir().join("containers").join(id).join("users");
    crate::agent::until("the only users are free again", || {
        let containers = std::fs::read_dir(scene.place.work_dir().join("containers")).unwrap();
        containers.flatten().all(|it| !users(it.file_name().to_str().unwrap()).exists())
    });
    let line = "stat -c %u:%g / /bin/busybox /etc/passwd; touch /made; busybox chown 1000:7 /made; stat -c %u:%g /made
        echo more >> /etc/passwd && busybox tail -n 1 /etc/passwd; busybox rm -r /opt && ls /; exec sleep 1000";
    let as_root = v1::CommandInfo { user: Some("root".to_owned()), ..shell(line) };
    session.run(&framework(false), task("root", "busybox:latest", as_root));
    let told = session.follow("root", TaskState::Running);
    let root = told.last().unwrap().container.as_ref().unwrap().container_id.as_str().to_owned();
    let expect = "0:0\n0:0\n0:0\n1000:7\nmore\nbin\ndev\netc\nmade\nmnt\nproc\nsrv\nsys\ntmp\n";
    let stdout = agent.sandbox(&root).join("stdout");
    crate::agent::until("it has looked", || {
        std::fs::read_to_string(&stdout).is_ok_and(|it| it.lines().count() >= expect.lines().count())
    });
    assert_eq!(std::fs::read_to_string(&stdout).unwrap(), expect);
    let upper = scene.place.work_dir().join("provisioner").join(&root).join("upper");
    let owner =
        |name: &str| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(upper.join(name)).unwrap());
    assert_eq!(["made", "etc/passwd", "."].map(owner), [800_001_000, 800_000_000, 800_000_000]);
    session.kill("root", None);
    session.follow("root", TaskState::Killed);
    scene.check_nothing_left();
}

/// Killed at several moments of it: there is never a layer that is there in part.
#[test]
fn an_agent_that_is_killed_while_it_pulls_an_image_pulls_it_anew() {
    const FILES: usize = 400;
    let test = "an_agent_that_is_killed_while_it_pulls_an_image_pulls_it_anew";
    let Some(scene) = Scene::of(test, &[]) else { return };
    // As many as take a while to unpack, each of other content.
    let files = (0..FILES).fold(Layer::new().folder("many/", 0o755), |layer, number| {
        let content = format!("{number:08}\n").repeat(4 << 10);
        layer.file(&format!("many/{number}"), 0o644, content)
    });
    let layers = [busybox().to_vec(), vec![files.gzip()]].concat();
    layout(&scene.registry.path().join("large"), "latest", &json!({"Env": ["PATH=/bin"]}), &layers);
    let store = scene.place.work_dir().join("store/docker");
    let staging = || crate::restart::files(&store.join("staging")).len();
    let layers_there = || std::fs::read_dir(store.join("layers")).map_or(0, Iterator::count);

    let (mut agent, mut session) = scene.place.start(&scene.master);
    session.register();
    for (round, files) in [1, FILES / 2, FILES - 1].into_iter().enumerate() {
        let id = format!("cut-{round}");
        session.run(&framework(true), task(&id, "large", shell("true")));
        crate::agent::until("so much of it is unpacked", || {
            staging() >= files || layers_there() == layers.len()
        });
        agent.kill();
        (agent, session) = scene.place.start(&scene.master);
        session.register();
        // There is no saying where the killed agent stood: the launch is not begun anew.
        let end = loop {
            let status = session.update();
            session.acknowledge(&status);
            if status.task_id.as_str() == id && status.state.is_terminal() {
                break status.state;
            }
        };
        assert!(matches!(end, TaskState::Failed | TaskState::Finished), "{end:?}");
        crate::agent::until("what was begun is deleted", || staging() == 0);
    }
    let line = "set -- /many/*; echo $#; cat /many/* | wc -c; tail -n 1 /many/399";
    let told = output(&agent, &mut session, task("whole", "large", shell(line)));
    assert_eq!(told, format!("{FILES}\n{}\n00000399\n", FILES * 9 * (4 << 10)));
    drop(agent);
    scene.check_nothing_left();
}
