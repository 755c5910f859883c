//! Images, from an archive to what a container sees of them.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use agent::images::store::core::Settings;
use agent::images::store::{Figures, Places};
use agent::images::{Images, Provided, Said};
use api::v1;
use serde_json::{Value, json};

use crate::image::{Layer, Packed, busybox, layout, save};
use crate::needs::{self, Need};

/// A registry's folder, a store and a work directory.
struct Place(tempfile::TempDir);

impl Place {
    /// `None`: it has been said why, and the test is to return.
    fn of(test: &str) -> Option<Self> {
        needs::met(test, &[Need::Root, Need::Program("busybox")]).then(|| {
            let place = Self(tempfile::tempdir().unwrap());
            std::fs::create_dir(place.registry()).unwrap();
            place
        })
    }

    fn registry(&self) -> PathBuf {
        self.0.path().join("registry")
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn work_dir(&self) -> PathBuf {
        self.0.path().join("work")
    }

    fn images(&self) -> Images {
        self.images_with(Settings::default())
    }

    fn images_with(&self, settings: Settings) -> Images {
        let places = Places { registry: self.registry(), store: self.store() };
        Images::start(&self.work_dir(), places, settings).unwrap()
    }

    fn save(&self, name: &str, layers: &[Packed]) {
        save(&self.registry().join(format!("{name}.tar")), name, &json!({}), layers);
    }

    /// Of layers that are kept.
    fn layers(&self) -> usize {
        std::fs::read_dir(self.store().join("layers")).unwrap().count()
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn image(name: &str) -> v1::Image {
    v1::Image {
        r#type: v1::image::Type::Docker.into(),
        docker: Some(v1::image::Docker { name: name.to_owned(), ..v1::image::Docker::default() }),
        ..v1::Image::default()
    }
}

async fn provide(images: &Images, name: &str, container: &str) -> Result<Provided, String> {
    let provided = images.provide(&image(name), container).await;
    provided.map_err(|error| agent::containerizer::service::message(&error))
}

fn pulls(figures: &Figures) -> (u64, u64) {
    (figures.pulls_succeeded.load(Ordering::Relaxed), figures.pulls_failed.load(Ordering::Relaxed))
}

/// All that is there, with links' targets and files' contents.
fn tree(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let kind = std::fs::symlink_metadata(&path).unwrap();
            if kind.is_dir() {
                folders.push(path);
                found.push(format!("{name}/ {:o}", kind.mode() & 0o7777));
            } else if kind.is_symlink() {
                found.push(format!("{name} -> {}", std::fs::read_link(path).unwrap().display()));
            } else if kind.len() > 1000 {
                found.push(name);
            } else {
                found.push(format!("{name} = {}", std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

const CONFIG: &str = r#"{"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["id"], "Env": ["A=1", "no variable", "B=x=y"],
    "User": "web", "WorkingDir": "/srv", "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}, "Volumes": null}"#;

fn check_busybox(place: &Place) {
    block_on(async {
        let images = place.images();
        let Provided { rootfs, said: Said { config, user } } =
            provide(&images, "busybox", "c1").await.unwrap();
        assert_eq!(
            (&*config.entrypoint, &*config.cmd),
            (&["/bin/sh".into(), "-c".into()][..], &["id".into()][..])
        );
        let env = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())];
        assert_eq!((&*config.env, config.working_dir.as_deref()), (&env[..], Some("/srv")));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        let user = user.unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (1234, 2345, vec![2345, 3456]));
        let seen = rootfs.look(tree).unwrap();
        let has = |text: &str| seen.iter().any(|line| line == text);
        for text in ["bin/busybox", "bin/sh -> busybox", "tmp/ 1777", "etc/new = new", "opt/hidden/ 750"] {
            assert!(has(text), "{text} is not in {seen:?}");
        }
        assert!(has("opt/hidden/upper = upper") && !has("opt/hidden/lower = lower"), "{seen:?}");
        assert!(!seen.iter().any(|line| line.starts_with("etc/gone") || line.contains(".wh.")), "{seen:?}");
        // What one container changes is its own.
        rootfs.look(|root| std::fs::write(root.join("etc/new"), "mine")).unwrap().unwrap();
        assert!(rootfs.look(tree).unwrap().contains(&"etc/new = mine".to_owned()));
        let other = provide(&images, "busybox:latest", "c2").await.unwrap().rootfs;
        assert!(other.look(tree).unwrap().contains(&"etc/new = new".to_owned()));
        assert_eq!((pulls(images.figures()), place.layers()), ((1, 0), 3));
        for container in ["c1", "c2"] {
            images.withdraw(container).await;
        }
        assert_eq!(std::fs::read_dir(place.work_dir().join("provisioner")).unwrap().count(), 0);
    });
    assert!(
        !std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(place.0.path().to_str().unwrap())
    );
}

#[test]
fn an_oci_layout_becomes_a_root() {
    let Some(place) = Place::of("an_oci_layout_becomes_a_root") else { return };
    let config: Value = serde_json::from_str(CONFIG).unwrap();
    layout(&place.registry().join("busybox"), "latest", &config, &busybox());
    check_busybox(&place);
}

#[test]
fn an_archive_of_docker_becomes_a_root() {
    let Some(place) = Place::of("an_archive_of_docker_becomes_a_root") else { return };
    let config: Value = serde_json::from_str(CONFIG).unwrap();
    save(&place.registry().join("busybox:latest.tar"), "busybox:latest", &config, &busybox());
    check_busybox(&place);
}

#[test]
fn an_archive_of_a_layout_becomes_a_root() {
    let Some(place) = Place::of("an_archive_of_a_layout_becomes_a_root") else { return };
    let config: Value = serde_json::from_str(CONFIG).unwrap();
    let folder = place.0.path().join("layout");
    layout(&folder, "latest", &config, &busybox());
    let file = std::fs::File::create(place.registry().join("busybox:latest.tar")).unwrap();
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all(".", &folder).unwrap();
    archive.finish().unwrap();
    check_busybox(&place);
}

#[test]
fn owners_modes_and_links_are_those_of_the_layer_and_devices_are_left_out() {
    let Some(place) = Place::of("owners_modes_and_links_are_those_of_the_layer") else { return };
    let layer = Layer::new()
        .folder("./", 0o711)
        .owned("su", 0o4755, 12, 34)
        .hardlink("again", "su")
        .symlink("out", "/etc/../../x")
        .file("gone", 0o600, "here")
        .file(".wh.gone", 0o600, "")
        .file(".wh.away", 0o600, "")
        .folder("away/", 0o700)
        .entry(tar::EntryType::Fifo, "pipe", 0o622, "", b"")
        .entry(tar::EntryType::Char, "device", 0o666, "", b"");
    place.save("a", &[layer.plain()]);
    block_on(async {
        let images = place.images();
        let rootfs = provide(&images, "a", "c").await.unwrap().rootfs;
        rootfs
            .look(|root| {
                let stat = |name: &str| std::fs::symlink_metadata(root.join(name)).unwrap();
                let su = stat("su");
                assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink()), (0o4755, 12, 34, 2));
                assert_eq!(su.ino(), stat("again").ino());
                assert_eq!(std::fs::read_link(root.join("out")).unwrap(), Path::new("/etc/../../x"));
                assert!(stat("pipe").file_type().is_fifo());
                assert_eq!(stat("pipe").mode() & 0o777, 0o622);
                assert_eq!(std::fs::read_to_string(root.join("gone")).unwrap(), "here");
                assert_eq!(stat("away").mode() & 0o777, 0o700);
                assert!(!root.join("device").exists());
                assert_eq!(std::fs::metadata(root).unwrap().mode() & 0o777, 0o711);
            })
            .unwrap();
    });
    // What a layer brings with root's rights is nobody else's to run.
    assert_eq!(std::fs::metadata(place.store().join("layers")).unwrap().mode() & 0o077, 0);
}

#[test]
fn no_layer_reaches_out_of_its_folder() {
    let Some(place) = Place::of("no_layer_reaches_out_of_its_folder") else { return };
    let outside = place.0.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    let at = outside.to_str().unwrap();
    let file = |name: &str| Layer::new().file(name, 0o644, "planted");
    let secret = format!("{at}/secret");
    let hostile: [(&str, Layer, &str); 11] = [
        ("dots", file("../planted"), "has '..' in it"),
        ("deep", file("a/../../planted"), "has '..' in it"),
        ("absolute", file(&format!("{at}/planted")), "its name is absolute"),
        ("through", Layer::new().symlink("l", at).file("l/planted", 0o644, "x"), "cannot be written"),
        (
            "inside",
            Layer::new().folder("d/", 0o755).symlink("l", "d").file("l/f", 0o644, "x"),
            "cannot be written",
        ),
        ("folder", Layer::new().symlink("l", at).folder("l/d/", 0o755), "cannot be written"),
        ("hard", Layer::new().hardlink("l", &secret), "its name is absolute"),
        ("hard-dots", Layer::new().hardlink("l", "../../outside/secret"), "has '..' in it"),
        ("hard-through", Layer::new().symlink("d", at).hardlink("l", "d/secret"), "cannot be written"),
        ("whiteout", Layer::new().symlink("l", at).file("l/.wh.secret", 0o644, ""), "cannot be written"),
        ("parent", file(".wh..."), "takes nothing away"),
    ];
    block_on(async {
        let images = place.images();
        for (name, layer, why) in hostile {
            place.save(name, &[layer.plain()]);
            let error = provide(&images, name, "c").await.expect_err(name);
            assert!(
                error.starts_with(&format!("Failed to pull image '{name}:latest': layer sha256:")),
                "{error}"
            );
            assert!(error.contains(why), "{name}: {error}");
        }
        assert_eq!((images.figures().images.load(Ordering::Relaxed), place.layers()), (0, 0));
    });
    assert_eq!(tree(&outside), ["secret = secret"]);
    let staged = std::fs::read_dir(place.store().join("staging")).unwrap().count();
    assert_eq!((staged, place.work_dir().join("provisioner").exists()), (0, false));
}

#[test]
fn a_damaged_image_is_told_by_its_digest_and_leaves_nothing() {
    let Some(place) = Place::of("a_damaged_image_is_told_by_its_digest") else { return };
    let layers = [Layer::new().file("f", 0o644, "content").gzip()];
    let folder = place.registry().join("a");
    layout(&folder, "latest", &json!({}), &layers);
    let blob = folder.join("blobs/sha256").join(crate::image::hex(&layers[0].bytes));
    let error = |place: &Place| {
        block_on(async {
            let images = place.images();
            let error = provide(&images, "a", "c").await.expect_err("damaged");
            assert_eq!((pulls(images.figures()), place.layers()), ((0, 1), 0));
            error
        })
    };
    // Another file of the same length, well compressed.
    let other = Layer::new().file("f", 0o644, "CONTENT").gzip();
    assert_eq!(other.bytes.len(), layers[0].bytes.len());
    std::fs::write(&blob, &other.bytes).unwrap();
    assert!(error(&place).contains("its content has the digest sha256:"), "{}", error(&place));
    std::fs::write(&blob, &layers[0].bytes[1..]).unwrap();
    assert!(error(&place).contains("bytes long, not"), "{}", error(&place));
    std::fs::remove_file(&blob).unwrap();
    assert!(error(&place).contains("has no blobs/sha256/"), "{}", error(&place));
    // A content that is not what its configuration says.
    let lying = Packed { diff_id: format!("sha256:{:064x}", 1), ..layers[0].clone() };
    layout(&folder, "latest", &json!({}), &[lying]);
    assert!(error(&place).contains("its tar file has the digest sha256:"), "{}", error(&place));
}

#[test]
fn an_image_that_is_not_there_is_told_by_name() {
    let Some(place) = Place::of("an_image_that_is_not_there_is_told_by_name") else { return };
    std::fs::create_dir(place.registry().join("library")).unwrap();
    std::fs::write(place.registry().join("text.tar"), "no tar").unwrap();
    block_on(async {
        let images = place.images();
        for (name, why) in [
            ("library", "Failed to find archive for image 'library:latest' at '"),
            ("library/x:1", "Failed to find archive for image 'library/x:1' at '"),
            ("../x", "'../x' is no name of an image"),
            ("text", "/text.tar"),
        ] {
            let error = provide(&images, name, "c").await.expect_err(name);
            assert!(error.contains(why), "{error}");
        }
    });
}

#[test]
fn many_containers_that_want_one_image_pull_it_once_and_a_restarted_agent_has_it() {
    let Some(place) = Place::of("many_containers_pull_once") else { return };
    place.save("a", &[Layer::new().file("f", 0o644, "1").plain()]);
    block_on(async {
        let images = place.images();
        let (one, two, three) = tokio::join!(
            provide(&images, "a", "c1"),
            provide(&images, "a", "c2"),
            provide(&images, "a", "c3")
        );
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        assert_eq!(pulls(images.figures()), (1, 0));
    });
    // As a killed agent leaves it: something half unpacked, an image without its layers.
    std::fs::create_dir_all(place.store().join("staging/half/fs/x")).unwrap();
    std::fs::create_dir_all(place.store().join(format!("layers/{:064x}/fs", 7))).unwrap();
    std::fs::remove_file(place.registry().join("a.tar")).unwrap();
    block_on(async {
        let images = place.images_with(Settings { bytes_max: Some(0), ..Settings::default() });
        assert_eq!(
            (place.layers(), std::fs::read_dir(place.store().join("staging")).unwrap().count()),
            (1, 0)
        );
        provide(&images, "a", "c4").await.expect("it is kept");
        // Two of the containers are over; the others still run on it.
        images.withdraw_others(&BTreeSet::from(["c1".to_owned(), "c4".to_owned()])).await;
        images.prune(&[]).await.unwrap();
        assert_eq!(
            (place.layers(), tree(&place.work_dir().join("provisioner/c1/0"))),
            (1, vec!["f = 1".to_owned()])
        );
        images.withdraw("c1").await;
        images.withdraw("c4").await;
        images.prune(&[]).await.unwrap();
        let again = provide(&images, "a", "c5").await.expect_err("it is gone");
        assert!(again.contains("Failed to find archive"), "{again}");
        assert_eq!(place.layers(), 0);
    });
}

#[test]
fn an_image_that_is_not_to_come_from_the_cache_is_pulled_anew() {
    let Some(place) = Place::of("an_image_is_pulled_anew") else { return };
    let f = |rootfs: &agent::images::overlay::Rootfs| rootfs.look(tree).unwrap();
    block_on(async {
        let images = place.images();
        place.save("a", &[Layer::new().file("f", 0o644, "1").plain()]);
        let old = provide(&images, "a", "c1").await.unwrap().rootfs;
        place.save("a", &[Layer::new().file("f", 0o644, "2").plain()]);
        assert_eq!(f(&provide(&images, "a", "c2").await.unwrap().rootfs), ["f = 1"]);
        let anew = v1::Image { cached: Some(false), ..image("a") };
        let new = images.provide(&anew, "c3").await.unwrap().rootfs;
        assert_eq!((f(&new), f(&old)), (vec!["f = 2".to_owned()], vec!["f = 1".to_owned()]));
    });
}

/// Docker's own bound, and more than names of the layers themselves would have room for in a mount's options.
#[test]
fn an_image_of_many_layers_has_a_root() {
    let Some(place) = Place::of("an_image_of_many_layers_has_a_root") else { return };
    let layer =
        |number: usize| Layer::new().file(&format!("f{}", number % 150), 0o644, format!("{number}")).plain();
    // One that is there several times, as the empty one often is.
    let mut layers: Vec<Packed> = (0..180).map(layer).collect();
    layers.extend([layers[0].clone(), layers[0].clone()]);
    place.save("a", &layers);
    block_on(async {
        let images = place.images();
        let seen = provide(&images, "a", "c").await.unwrap().rootfs.look(tree).unwrap();
        assert_eq!(seen.len(), 150);
        assert!(seen.contains(&"f0 = 0".to_owned()) && seen.contains(&"f29 = 179".to_owned()), "{seen:?}");
    });
}
