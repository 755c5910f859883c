//! Flags of container images.

use crate::images::store::{Places, core};
use crate::images::{Images, Reference};
use crate::size;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, clap::Args)]
pub struct ImageFlags {
    /// Kinds of images that containers may run on: "docker"; empty: none
    #[arg(long, env = "MESOS_IMAGE_PROVIDERS", default_value = "",
          value_parser = parse_providers)]
    pub image_providers: Providers,

    /// Folder with the images: NAME:TAG.tar of `docker save`, and OCI layouts; wanted by --image-providers
    #[arg(long, env = "MESOS_DOCKER_REGISTRY", value_parser = parse_registry,
          value_name = "DIRECTORY")]
    pub docker_registry: Option<PathBuf>,

    /// Where unpacked images are kept [default: "store/docker" in the work directory]
    #[arg(long, env = "MESOS_DOCKER_STORE_DIR")]
    pub docker_store_dir: Option<PathBuf>,

    /// How layers become a root: "overlay"
    #[arg(long, env = "MESOS_IMAGE_PROVISIONER_BACKEND",
          default_value = "overlay", value_parser = parse_backend)]
    pub image_provisioner_backend: String,

    /// When images that nobody uses are deleted because the disk fills: JSON as Mesos' ImageGcConfig, or a file with it
    /// [default: not]
    #[arg(long, env = "MESOS_IMAGE_GC_CONFIG", value_parser = parse_gc)]
    pub image_gc_config: Option<Gc>,

    /// Bytes of unpacked images beyond which those that nobody uses are deleted [default: no bound]
    #[arg(long, env = "INGOT_IMAGE_STORE_SIZE", value_parser = size::parse_bytes,
          value_name = "BYTES")]
    pub image_store_size: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Providers {
    pub docker: bool,
}

/// Mesos' ImageGcConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gc {
    /// As it was given.
    text: String,
    headroom_ppm: u64,
    pub(crate) watch_interval_ms: u64,
    excluded: BTreeSet<Reference>,
}

fn parse_providers(text: &str) -> Result<Providers, String> {
    let mut providers = Providers::default();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        match &*name.to_ascii_lowercase() {
            "docker" => providers.docker = true,
            "appc" => return Err("Appc images are not supported: expected docker".to_owned()),
            _ => return Err("expected docker".to_owned()),
        }
    }
    Ok(providers)
}

fn parse_registry(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("file://").unwrap_or(text);
    if path.contains("://") {
        return Err("registries of others are not supported: expected a folder with images".to_owned());
    }
    if !path.starts_with('/') {
        return Err("expected an absolute path (such as '/srv/images')".to_owned());
    }
    Ok(path.into())
}

fn parse_backend(text: &str) -> Result<String, String> {
    match text {
        "overlay" => Ok(text.to_owned()),
        "aufs" | "bind" | "copy" => Err(format!("'{text}' is not supported: expected overlay")),
        _ => Err("expected overlay".to_owned()),
    }
}

/// The fields of Mesos' message (messages/flags.proto), in its JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    image_disk_headroom: f64,
    image_disk_watch_interval: Interval,
    #[serde(default)]
    excluded_images: Vec<Excluded>,
}

#[derive(Deserialize)]
struct Interval {
    nanoseconds: i64,
}

#[derive(Deserialize)]
struct Excluded {
    docker: Docker,
}

#[derive(Deserialize)]
struct Docker {
    name: String,
}

fn parse_gc(text: &str) -> Result<Gc, String> {
    let path = text.strip_prefix("file://").unwrap_or(text);
    let content = if path.starts_with('/') {
        std::fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))?
    } else {
        text.to_owned()
    };
    let document: Document = serde_json::from_str(&content).map_err(|error| {
        format!(
            "{error} (such as '{{\"image_disk_headroom\": 0.1, \"image_disk_watch_interval\": \
             {{\"nanoseconds\": 3600000000000}}, \"excluded_images\": []}}')"
        )
    })?;
    let Document { image_disk_headroom, image_disk_watch_interval, excluded_images } = document;
    if !(0.0..=1.0).contains(&image_disk_headroom) {
        return Err("image_disk_headroom: expected a number from 0 to 1".to_owned());
    }
    let interval = u64::try_from(image_disk_watch_interval.nanoseconds).unwrap_or(0) / 1_000_000;
    if interval < INTERVAL_MS_MIN {
        return Err("image_disk_watch_interval: expected 10ms or more".to_owned());
    }
    let excluded = excluded_images.iter().map(|image| Reference::parse(&image.docker.name));
    Ok(Gc {
        text: text.to_owned(),
        headroom_ppm: (image_disk_headroom * 1e6).round() as u64,
        watch_interval_ms: interval,
        excluded: excluded.collect::<Result<_, _>>().map_err(|error| error.to_string())?,
    })
}

const INTERVAL_MS_MIN: u64 = 10;

impl ImageFlags {
    fn store(&self, work_dir: &Path) -> PathBuf {
        self.docker_store_dir.clone().unwrap_or_else(|| work_dir.join("store/docker"))
    }

    /// Starts what provides images, if any are wanted.
    ///
    /// # Errors
    /// Names the flag that cannot be followed, and why.
    pub(crate) fn images(&self, work_dir: &Path) -> Result<Option<Images>, String> {
        if !self.image_providers.docker {
            return Ok(None);
        }
        if !nix::unistd::geteuid().is_root() {
            return Err("--image-providers: only root can unpack images and mount them".to_owned());
        }
        let registry = self.docker_registry.clone();
        let registry = registry.ok_or("--image-providers=docker wants --docker-registry=DIRECTORY")?;
        let gc = self.image_gc_config.as_ref();
        let settings = core::Settings {
            bytes_max: self.image_store_size,
            headroom_ppm: gc.map(|gc| gc.headroom_ppm),
            excluded: gc.map(|gc| gc.excluded.clone()).unwrap_or_default(),
        };
        let store = self.store(work_dir);
        let failed = |error| format!("start the store of images in {}: {error}", store.display());
        let places = Places { registry, store: store.clone() };
        Images::start(work_dir, places, settings).map(Some).map_err(failed)
    }

    pub(super) fn shown(&self, work_dir: &Path, flags: &mut BTreeMap<&'static str, String>) {
        if !self.image_providers.docker {
            return;
        }
        flags.extend([
            ("docker_store_dir", self.store(work_dir).display().to_string()),
            ("image_providers", "docker".to_owned()),
            ("image_provisioner_backend", self.image_provisioner_backend.clone()),
        ]);
        if let Some(registry) = &self.docker_registry {
            flags.insert("docker_registry", registry.display().to_string());
        }
        if let Some(gc) = &self.image_gc_config {
            flags.insert("image_gc_config", gc.text.clone());
        }
        if let Some(bytes) = self.image_store_size {
            flags.insert("image_store_size", size::show_bytes(bytes));
        }
    }

    /// How often the disk is looked at, if at all.
    pub(crate) fn watch_interval(&self) -> Option<std::time::Duration> {
        let gc = self.image_gc_config.as_ref().filter(|_| self.image_providers.docker)?;
        Some(std::time::Duration::from_millis(gc.watch_interval_ms))
    }
}
