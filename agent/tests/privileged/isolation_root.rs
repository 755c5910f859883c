//! Containers with a root file system of their own.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use agent::containerizer::isolation::confinement::{Confinement, Namespaces, Overlay, Rootfs, SANDBOX};
use agent::containerizer::plan::Plan;
use agent::sys::pidfd::Exit;

use crate::needs::{self, Need};
use crate::scene::{Scene, block_on, shell};

const ROOT: [Need; 2] = [Need::Root, Need::Program("busybox")];

/// A folder with a shell in it.
pub fn plain_root(scene: &Scene) -> PathBuf {
    let root = scene.folder().join("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy(needs::program("busybox").unwrap(), root.join("bin/busybox")).unwrap();
    for name in
        ["sh", "cat", "ls", "ps", "touch", "readlink", "mount", "hostname", "stat", "grep", "id", "ln"]
    {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    root
}

fn with_root(scene: &Scene, path: &Path, line: &str) -> Plan {
    let mut plan = scene.plan("c1", shell(line));
    let root = Rootfs { path: path.to_owned(), overlay: None, sandbox: SANDBOX.into(), directory: None };
    let namespaces = Namespaces { pid: true, mount: true, ipc: true, uts: true, net: false };
    let hostname = Some(c"inside".into());
    plan.confinement = Confinement { namespaces, root: Some(root), hostname, ..Confinement::default() };
    plan
}

/// The files of /etc that a container gets from this machine.
fn names() -> Vec<&'static str> {
    ["hosts", "resolv.conf"].into_iter().filter(|name| Path::new("/etc").join(name).exists()).collect()
}

#[test]
fn a_container_sees_its_own_root_and_its_sandbox_and_nothing_else() {
    if !needs::met("a_container_sees_its_own_root_and_its_sandbox_and_nothing_else", &ROOT) {
        return;
    }
    let scene = Scene::without_cgroup();
    let root = plain_root(&scene);
    let line = "pwd; ls /; hostname; echo mine > made; for d in null zero full random urandom tty ptmx pts/ptmx; do
        [ -c /dev/$d ] || echo no $d; done; cat /proc/1/comm; [ -r /etc/resolv.conf ] && echo names
        [ -s /proc/kcore ] && echo kcore; echo 1 > /proc/sys/kernel/panic; touch /sys/x; ls /dev/shm | wc -l 2> /dev/null
        while read -r _ place rest; do echo $place; done < /proc/self/mounts | grep -v -e ^/proc -e ^/dev -e ^/sys";
    let (exit, output) = block_on(scene.finish(with_root(&scene, &root, line)));
    // A test machine may have no names to give.
    let names = names();
    let [etc, readable, mounted] = match names.len() {
        2 => ["etc\n", "names\n", "/etc/resolv.conf\n/etc/hosts\n"],
        _ => [""; 3],
    };
    let expect = format!(
        "/mnt/mesos/sandbox\nbin\ndev\n{etc}mnt\nproc\nsys\ninside\ningot-init\n{readable}0\n/mnt/mesos/sandbox\n\
         {mounted}/\nsh: can't create /proc/sys/kernel/panic: Read-only file system\n\
         touch: /sys/x: Read-only file system\n"
    );
    assert_eq!((exit, output), (Exit::Code(0), expect));
    // Nothing of it was mounted here, and what it made in its sandbox is in its sandbox.
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(scene.folder().to_str().unwrap()), "{mounts}");
    assert_eq!(std::fs::read_dir(root.join("mnt/mesos/sandbox")).unwrap().count(), 0);
}

#[test]
fn a_root_of_layers_is_mounted_for_the_container_alone() {
    if !needs::met("a_root_of_layers_is_mounted_for_the_container_alone", &ROOT) {
        return;
    }
    let scene = Scene::without_cgroup();
    let root = plain_root(&scene);
    // Not in /tmp: an overlay's upper layer cannot itself be on every file system.
    let upper = scene.folder().join("layers");
    for name in ["top", "upper", "work", "merged"] {
        std::fs::create_dir_all(upper.join(name)).unwrap();
    }
    std::fs::write(upper.join("top/file"), "of the top layer\n").unwrap();
    let mut plan =
        with_root(&scene, &upper.join("merged"), "cat /file; echo changed > /file; touch /bin/more");
    let options = format!("lowerdir=top:{},upperdir=upper,workdir=work", root.display());
    let options = std::ffi::CString::new(options).unwrap();
    let overlay = Some(Overlay { folder: upper.clone(), layers: upper.clone(), options });
    plan.confinement.root.as_mut().unwrap().overlay = overlay;
    let (exit, output) = block_on(scene.finish(plan));
    assert_eq!((exit, output.as_str()), (Exit::Code(0), "of the top layer\n"));
    assert_eq!(std::fs::read_to_string(upper.join("top/file")).unwrap(), "of the top layer\n");
    assert_eq!(std::fs::read_to_string(upper.join("upper/file")).unwrap(), "changed\n");
    assert!(upper.join("upper/bin/more").exists() && !root.join("bin/more").exists());
    assert_eq!(std::fs::read_dir(upper.join("merged")).unwrap().count(), 0);
}

#[test]
fn links_in_a_root_lead_nowhere_else() {
    if !needs::met("links_in_a_root_lead_nowhere_else", &ROOT) {
        return;
    }
    let scene = Scene::without_cgroup();
    let root = plain_root(&scene);
    let outside = scene.folder().join("outside");
    std::fs::create_dir(&outside).unwrap();
    // Upwards, and to a place that is there outside of it only: both are meant, and made, inside.
    symlink("../../../..", root.join("mnt")).unwrap();
    symlink(&outside, root.join("etc")).unwrap();
    std::fs::create_dir_all(root.join(outside.strip_prefix("/").unwrap())).unwrap();
    let line = "ls -d /mesos/sandbox; ls /etc";
    let (exit, output) = block_on(scene.finish(with_root(&scene, &root, line)));
    let expect = names().iter().fold("/mesos/sandbox\n".to_owned(), |text, name| text + name + "\n");
    assert_eq!((exit, output), (Exit::Code(0), expect));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    // What the kernel shows must be where everybody looks for it.
    symlink("bin", root.join("proc2")).unwrap();
    std::fs::remove_dir(root.join("proc")).unwrap();
    std::fs::rename(root.join("proc2"), root.join("proc")).unwrap();
    let error = block_on(async {
        let mut plan = with_root(&scene, &root, "true");
        plan.container_id = "c2".into();
        plan.sandbox.set_file_name("c2");
        let prepared = scene.containerizer.prepare(plan).await.unwrap();
        scene.containerizer.start(prepared).await.unwrap_err()
    });
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(error.to_string(), "isolate the container: /proc");
    assert_eq!(cause, "move_mount: Too many symbolic links encountered");
}
