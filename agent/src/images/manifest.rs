//! What images say they are made of: the index, manifests and configurations of the OCI (by its crate), and the
//! `manifest.json` of `docker save`. From bytes to values; opens nothing, and trusts no digest.

use std::collections::BTreeMap;

use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, Os};
use serde::Deserialize;

use super::config::Config;
use super::digest::Digest;
use super::reference::Reference;

/// A document that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{what} cannot be read: {why}")]
    Document { what: &'static str, why: String },
    #[error("the archive has no image '{wanted}', but {}", if has.is_empty() { "none that has a name" } else { has })]
    NotCalled { wanted: String, has: String },
    #[error("it has no image for linux/{arch}, but for {has}")]
    NotForThis { arch: &'static str, has: String },
    #[error("digest '{digest}' is not of SHA-256")]
    Digest { digest: String },
    #[error("'{media_type}' is nothing that a container could run on")]
    MediaType { media_type: String },
    #[error("it has {layers} layers, but {diff_ids} of them are in its configuration")]
    Layers { layers: usize, diff_ids: usize },
    #[error("it has no layers, or more than {LAYERS_MAX}")]
    LayersCount,
}

/// Docker itself allows 127; the options of a mount, one page, have room for that many.
pub const LAYERS_MAX: usize = 200;

/// A content and its length, as another document names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    pub bytes: u64,
}

/// What an index leads to next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Index(Blob),
    Manifest(Blob),
}

/// What a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub config: Blob,
    /// The lowest first.
    pub layers: Vec<Blob>,
}

/// The same of a `docker save` archive, by paths in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Saved {
    pub config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    /// The lowest first.
    pub layers: Vec<String>,
}

/// This machine's architecture, as Go calls it.
const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
/// The names that containerd and the OCI give images of an index.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

fn unreadable<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> ManifestError {
    move |error| ManifestError::Document { what, why: error.to_string() }
}

/// The image that is meant, of a layout's `index.json`. With a digest the one that has it; of one image it does not matter
/// what it is called.
pub fn of_layout(bytes: &[u8], wanted: &Reference) -> Result<Next, ManifestError> {
    let index = ImageIndex::from_reader(bytes).map_err(unreadable("index.json"))?;
    let all = index.manifests();
    let candidates: Vec<&Descriptor> = match (&wanted.digest, &**all) {
        (Some(digest), _) => all.iter().filter(|it| it.digest().to_string() == digest.to_string()).collect(),
        (None, [only]) => vec![only],
        (None, _) => all.iter().filter(|it| names(it).any(|name| is_meant(&name, wanted))).collect(),
    };
    if candidates.is_empty() {
        let has: Vec<String> = all.iter().flat_map(|it| names(it).next()).collect();
        return Err(ManifestError::NotCalled { wanted: wanted.to_string(), has: list(&has) });
    }
    for_this_machine(&candidates)
}

/// Of a nested index the manifest for this machine, or the next index.
pub fn of_index(bytes: &[u8]) -> Result<Next, ManifestError> {
    let index = ImageIndex::from_reader(bytes).map_err(unreadable("an index"))?;
    for_this_machine(&index.manifests().iter().collect::<Vec<_>>())
}

pub fn manifest(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    let manifest = ImageManifest::from_reader(bytes).map_err(unreadable("the manifest"))?;
    let layers = manifest.layers().iter().map(|layer| {
        // What is in it is seen by its first bytes; but an artifact's or an encrypted one's is not for us.
        let name = layer.media_type().to_string();
        let is_layer = name.contains("image.layer.") || name.contains("image.rootfs.");
        if !is_layer || name.contains("encrypted") {
            return Err(ManifestError::MediaType { media_type: name });
        }
        blob(layer)
    });
    Ok(Manifest { config: blob(manifest.config())?, layers: layers.collect::<Result<_, _>>()? })
}

/// An image's configuration, and the digests of its layers' contents, the lowest first.
pub fn config(bytes: &[u8]) -> Result<(Config, Vec<Digest>), ManifestError> {
    let all = ImageConfiguration::from_reader(bytes).map_err(unreadable("the configuration"))?;
    if *all.os() != Os::Linux || *all.architecture() != Arch::from(ARCH) {
        let has = format!("{}/{}", all.os(), all.architecture());
        return Err(ManifestError::NotForThis { arch: ARCH, has });
    }
    let diff_ids: Vec<Digest> =
        all.rootfs().diff_ids().iter().map(|it| digest(it)).collect::<Result<_, _>>()?;
    if diff_ids.is_empty() || diff_ids.len() > LAYERS_MAX {
        return Err(ManifestError::LayersCount);
    }
    let Some(config) = all.config() else { return Ok((Config::default(), diff_ids)) };
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let variables = list(config.env()).into_iter();
    let env = variables.filter_map(|it| it.split_once('=').map(|(name, value)| (name.into(), value.into())));
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let config = Config {
        entrypoint: list(config.entrypoint()),
        cmd: list(config.cmd()),
        env: env.collect(),
        user: config.user().clone().unwrap_or_default(),
        // Relative ones start from the root.
        working_dir: text(config.working_dir()).map(|path| format!("/{}", path.trim_start_matches('/'))),
        stop_signal: text(config.stop_signal()),
    };
    Ok((config, diff_ids))
}

/// The image that is meant, of the `manifest.json` of `docker save`.
pub fn saved(bytes: &[u8], wanted: &Reference) -> Result<Saved, ManifestError> {
    let mut all: Vec<Saved> = serde_json::from_slice(bytes).map_err(unreadable("manifest.json"))?;
    let names: Vec<String> = all.iter().flat_map(|it| it.repo_tags.iter().flatten().cloned()).collect();
    let is_meant = |it: &Saved| it.repo_tags.iter().flatten().any(|name| wanted.is_called(name));
    let at = if all.len() == 1 { Some(0) } else { all.iter().position(is_meant) };
    match at {
        Some(at) => Ok(all.swap_remove(at)),
        None => Err(ManifestError::NotCalled { wanted: wanted.to_string(), has: list(&names) }),
    }
}

/// Every layer with the digest of its content.
pub fn with_contents<T>(layers: Vec<T>, diff_ids: Vec<Digest>) -> Result<Vec<(T, Digest)>, ManifestError> {
    if layers.len() != diff_ids.len() {
        return Err(ManifestError::Layers { layers: layers.len(), diff_ids: diff_ids.len() });
    }
    Ok(layers.into_iter().zip(diff_ids).collect())
}

fn names(descriptor: &Descriptor) -> impl Iterator<Item = String> + use<> {
    let annotations: BTreeMap<String, String> =
        descriptor.annotations().iter().flatten().fold(BTreeMap::new(), |mut all, (name, value)| {
            all.insert(name.clone(), value.clone());
            all
        });
    NAMES.into_iter().filter_map(move |name| annotations.get(name).cloned())
}

/// An image of a layout is called by its whole name or, as most tools do, by its tag alone.
fn is_meant(name: &str, wanted: &Reference) -> bool {
    wanted.tag.as_deref() == Some(name) || wanted.is_called(name)
}

/// Of several, the first whose platform is this machine's; one that says none is of any.
fn for_this_machine(candidates: &[&Descriptor]) -> Result<Next, ManifestError> {
    let is_ours = |it: &&&Descriptor| {
        it.platform().as_ref().is_none_or(|p| *p.os() == Os::Linux && *p.architecture() == Arch::from(ARCH))
    };
    let Some(found) = candidates.iter().find(is_ours) else {
        let of =
            |it: &&Descriptor| it.platform().as_ref().map(|p| format!("{}/{}", p.os(), p.architecture()));
        let has: Vec<String> = candidates.iter().filter_map(of).collect();
        return Err(ManifestError::NotForThis { arch: ARCH, has: list(&has) });
    };
    let media_type = found.media_type().to_string();
    match found.media_type() {
        MediaType::ImageIndex => Ok(Next::Index(blob(found)?)),
        MediaType::ImageManifest => Ok(Next::Manifest(blob(found)?)),
        _ if media_type.ends_with("manifest.list.v2+json") => Ok(Next::Index(blob(found)?)),
        _ if media_type.ends_with("manifest.v2+json") => Ok(Next::Manifest(blob(found)?)),
        _ => Err(ManifestError::MediaType { media_type }),
    }
}

fn blob(descriptor: &Descriptor) -> Result<Blob, ManifestError> {
    Ok(Blob { digest: digest(descriptor.digest().as_ref())?, bytes: descriptor.size() })
}

fn digest(text: &str) -> Result<Digest, ManifestError> {
    Digest::parse(text).ok_or_else(|| ManifestError::Digest { digest: text.to_owned() })
}

/// The first few, for a message.
fn list(names: &[String]) -> String {
    const SHOWN_MAX: usize = 8;
    let mut text = names.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_MAX {
        text.push_str(", …");
    }
    text
}
