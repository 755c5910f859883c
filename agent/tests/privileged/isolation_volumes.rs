//! Volumes: what appears where, and what cannot be reached by them.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;

use agent::containerizer::isolation::asked::Policy;
use agent::sys::pidfd::Exit;
use api::v1;
use api::v1::volume::{Mode, Source, source};

use crate::isolation_names::{able, container};
use crate::needs::{self, Need};
use crate::scene::{Scene, block_on, shell};

fn volume(container_path: &str, host_path: &str, mode: Mode) -> v1::Volume {
    let host_path = Some(host_path.to_owned());
    v1::Volume {
        container_path: container_path.to_owned(),
        host_path,
        mode: mode as i32,
        ..v1::Volume::default()
    }
}

fn of_sandbox(container_path: &str, path: &str) -> v1::Volume {
    let sandbox_path =
        source::SandboxPath { r#type: Some(source::sandbox_path::Type::Self_ as i32), path: path.to_owned() };
    let source = Source {
        r#type: Some(source::Type::SandboxPath as i32),
        sandbox_path: Some(sandbox_path),
        ..Source::default()
    };
    v1::Volume { host_path: None, source: Some(source), ..volume(container_path, "", Mode::Rw) }
}

fn with(volumes: Vec<v1::Volume>) -> Option<v1::ContainerInfo> {
    Some(v1::ContainerInfo { volumes, ..container() })
}

#[test]
fn a_volume_appears_where_it_is_wanted_and_is_read_only_where_it_is_to_be() {
    if !needs::met("a_volume_appears_where_it_is_wanted_and_is_read_only_where_it_is_to_be", &[Need::Root]) {
        return;
    }
    let mut scene = able(Scene::without_cgroup());
    scene.agent.switch_user = true;
    let data = scene.folder().join("data");
    std::fs::create_dir_all(data.join("below")).unwrap();
    std::fs::write(data.join("file"), "content\n").unwrap();
    let place = scene.folder().join("place");
    std::fs::create_dir(&place).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&data, open).unwrap();
    let path = data.to_str().unwrap();
    let volumes = vec![
        volume("a/b", path, Mode::Ro),
        volume("file", &format!("{path}/file"), Mode::Ro),
        volume(place.to_str().unwrap(), path, Mode::Rw),
        of_sandbox("c", "own/deep"),
    ];
    let line = format!(
        "cat a/b/file file {0}/file; touch a/b/new; touch {0}/new c/mine; ls own/deep; rmdir a/b/below",
        place.display()
    );
    let plan = scene.plan_in("c1", shell(&line), with(volumes)).unwrap();
    let sandbox = plan.sandbox.clone();
    let (exit, output) = block_on(scene.finish(plan));
    assert_eq!(exit, Exit::Code(1));
    assert!(output.starts_with("content\ncontent\ncontent\nmine\n"), "{output}");
    assert_eq!(output.matches("Read-only file system").count(), 2, "{output}");
    assert!(data.join("new").exists() && sandbox.join("own/deep/mine").exists());
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    for made in ["a", "a/b", "file", "own", "own/deep", "c"] {
        assert_eq!(std::fs::metadata(sandbox.join(made)).unwrap().uid(), nobody, "{made} is its user's");
    }
    // Out here nothing is mounted.
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(sandbox.join("a/b")).unwrap().count(), 0);
}

/// A sandbox may hold what somebody hostile has made, a fetched archive for instance.
#[test]
fn links_in_a_sandbox_do_not_lead_a_volume_out_of_it() {
    if !needs::met("links_in_a_sandbox_do_not_lead_a_volume_out_of_it", &[Need::Root]) {
        return;
    }
    let scene = able(Scene::without_cgroup());
    let outside = scene.folder().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let data = scene.folder().join("data");
    std::fs::create_dir(&data).unwrap();
    let hostile: [(&str, &Path, v1::Volume); 5] = [
        ("place", &outside, volume("place", data.to_str().unwrap(), Mode::Rw)),
        ("place", Path::new("../../../../../../.."), volume("place/etc", data.to_str().unwrap(), Mode::Rw)),
        ("deep", Path::new("/"), volume("deep/new/folder", data.to_str().unwrap(), Mode::Rw)),
        ("source", &outside, of_sandbox("seen", "source")),
        ("source", Path::new("../.."), of_sandbox("seen", "source/new")),
    ];
    for (number, (name, to, volume)) in hostile.into_iter().enumerate() {
        let plan = scene.plan_in(&format!("c{number}"), shell("true"), with(vec![volume])).unwrap();
        block_on(async {
            let prepared = scene.containerizer.prepare(plan).await.unwrap();
            symlink(to, prepared.sandbox.join(name)).unwrap();
            let sandbox = prepared.sandbox.clone();
            let error = scene.containerizer.start(prepared).await.unwrap_err();
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(
                error.to_string().starts_with(&format!("isolate the container: {}/", sandbox.display())),
                "{error}"
            );
            assert!(
                cause.ends_with(": Cross-device link") || cause.ends_with("Invalid cross-device link"),
                "{cause}"
            );
        });
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    // One that stays inside is as good as its target.
    let plan = scene.plan_in("good", shell("ls folder"), with(vec![of_sandbox("seen", "folder/x")])).unwrap();
    block_on(async {
        let prepared = scene.containerizer.prepare(plan).await.unwrap();
        std::fs::create_dir(prepared.sandbox.join("real")).unwrap();
        symlink("real", prepared.sandbox.join("folder")).unwrap();
        let running = scene.containerizer.start(prepared).await.unwrap();
        assert_eq!(crate::scene::within(running.wait()).await.exit, Exit::Code(0));
        assert_eq!(scene.output(&running), "x\n");
        scene.end(&running).await;
    });
}

#[test]
fn what_is_not_there_is_told_by_its_name() {
    if !needs::met("what_is_not_there_is_told_by_its_name", &[Need::Root]) {
        return;
    }
    let scene = able(Scene::without_cgroup());
    let path = scene.folder().to_str().unwrap();
    for (number, volume) in
        [volume("a", "/no/such/source", Mode::Ro), volume("/no/such/place", path, Mode::Ro)]
            .into_iter()
            .enumerate()
    {
        let missing = ["/no/such/source", "/no/such/place"][number];
        let plan = scene.plan_in(&format!("c{number}"), shell("true"), with(vec![volume])).unwrap();
        block_on(async {
            let prepared = scene.containerizer.prepare(plan).await.unwrap();
            let error = scene.containerizer.start(prepared).await.unwrap_err();
            assert_eq!(error.to_string(), format!("isolate the container: {missing}"));
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert!(cause.ends_with(": No such file or directory"), "{cause}");
        });
    }
}

#[test]
fn a_private_tmp_is_in_the_sandbox() {
    if !needs::met("a_private_tmp_is_in_the_sandbox", &[Need::Root]) {
        return;
    }
    // A sandbox in /tmp would be out of sight.
    let mut scene = Scene::in_folder(Path::new("/var"));
    scene.agent.isolation = Arc::new(Policy { filesystem: true, private_tmp: true, ..Policy::default() });
    let mine = Path::new("/tmp").join("ingot-isolation-mine");
    let plan = scene.plan("c1", shell(&format!("ls /tmp; echo mine > {}", mine.display())));
    let sandbox = plan.sandbox.clone();
    assert_eq!(block_on(scene.finish(plan)), (Exit::Code(0), String::new()));
    assert!(sandbox.join(".tmp/ingot-isolation-mine").exists());
    assert!(!mine.exists());
}
