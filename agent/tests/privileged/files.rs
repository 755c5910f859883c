//! What comes into a sandbox for another user, and how sandboxes go, as root.

use crate::needs::{self, Need};
use crate::scene::{Scene, block_on, shell, within};
use agent::collector::remove::remove_tree;
use agent::containerizer::service::message;
use api::v1;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn tar(members: &[(tar::EntryType, &str, u32, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, mode, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn what_comes_out_of_an_archive_is_the_users_own() {
    if !needs::met("what_comes_out_of_an_archive_is_the_users_own", &[Need::Root]) {
        return;
    }
    let mut scene = Scene::without_cgroup();
    scene.agent.switch_user = true;
    let archive = |name: &str, content: Vec<u8>| {
        let path = scene.folder().join(name);
        fs::write(&path, content).unwrap();
        let value = path.to_str().unwrap().to_owned();
        v1::command_info::Uri { value, ..v1::command_info::Uri::default() }
    };
    let file = tar::EntryType::Regular;
    let good = archive("good.tar", tar(&[(file, "bin/su", 0o6755, "#!/bin/sh\n")]));
    let device = archive("bad.tar", tar(&[(tar::EntryType::Char, "mem", 0o666, "")]));
    block_on(async {
        let command = v1::CommandInfo { uris: vec![good, device], ..shell("true") };
        let prepared = scene.containerizer.prepare(scene.plan("c1", command)).await.unwrap();
        let error = within(scene.containerizer.fetch(&prepared)).await.unwrap_err();
        assert!(message(&error).ends_with("bad.tar': extract it: member 'mem': it is a device"), "{error:?}");
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
        for name in ["good.tar", "bin", "bin/su"] {
            assert_eq!(fs::metadata(prepared.sandbox.join(name)).unwrap().uid(), nobody, "{name}");
        }
        let su = fs::metadata(prepared.sandbox.join("bin/su")).unwrap();
        assert_eq!(su.permissions().mode() & 0o7777, 0o755);
        assert!(!prepared.sandbox.join("mem").exists());
        scene.containerizer.abandon(prepared).await.unwrap();
    });
}

/// On a thread with mounts of its own, which go with it.
fn among_mounts_of_its_own(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        test();
    });
    thread.join().unwrap();
}

fn bind(what: &Path, on: &Path) {
    mount(Some(what), on, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

#[test]
fn a_mount_in_a_sandbox_is_taken_away_and_what_was_mounted_stays() {
    if !needs::met("a_mount_in_a_sandbox_is_taken_away_and_what_was_mounted_stays", &[Need::Root]) {
        return;
    }
    among_mounts_of_its_own(|| {
        let folder = tempfile::tempdir().unwrap();
        let (sandbox, volume) = (folder.path().join("sandbox"), folder.path().join("volume"));
        fs::create_dir_all(sandbox.join("a/volume")).unwrap();
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("precious"), "").unwrap();
        fs::write(sandbox.join("a/file"), "").unwrap();
        fs::write(sandbox.join("a/other"), "").unwrap();
        // A folder of the same file system: only the mount itself tells.
        bind(&volume, &sandbox.join("a/volume"));
        bind(&volume.join("precious"), &sandbox.join("a/file"));
        remove_tree(&sandbox).unwrap();
        assert!(!sandbox.exists() && volume.join("precious").exists());
    });
}

#[test]
fn a_mount_that_is_in_use_stays_and_keeps_nothing_else() {
    if !needs::met("a_mount_that_is_in_use_stays_and_keeps_nothing_else", &[Need::Root]) {
        return;
    }
    among_mounts_of_its_own(|| {
        let folder = tempfile::tempdir().unwrap();
        let (sandbox, volume) = (folder.path().join("sandbox"), folder.path().join("volume"));
        fs::create_dir_all(sandbox.join("a/volume")).unwrap();
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("precious"), "").unwrap();
        for name in ["x", "a/y"] {
            fs::write(sandbox.join(name), "").unwrap();
        }
        bind(&volume, &sandbox.join("a/volume"));
        let user = File::open(sandbox.join("a/volume/precious")).unwrap();
        let error = remove_tree(&sandbox).unwrap_err();
        assert_eq!((error.left, error.name.as_str()), (1, "volume"));
        assert_eq!(error.errno, nix::errno::Errno::EBUSY);
        assert!(!sandbox.join("x").exists() && !sandbox.join("a/y").exists());
        assert!(volume.join("precious").exists());
        drop(user);
        remove_tree(&sandbox).unwrap();
        assert!(volume.join("precious").exists());
    });
}
