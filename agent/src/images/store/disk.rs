//! The store's folder (`--docker-store-dir`), which is root's alone:
//!
//! ```text
//!   layers/HEX/fs        what is in a layer, as overlayfs mounts it       HEX: of the layer's content
//!   layers/HEX/bytes     about what that takes
//!   images/HEX.json      an image: its name, its layers, its configuration; HEX: of its name
//!   staging/...          what is being unpacked or deleted
//! ```
//! A layer or an image is there as a whole or not at all: it is made in `staging`, forced to the disk, and renamed. What an
//! agent that was killed has left in `staging` is deleted by the next.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::collector::remove::remove_tree;
use crate::images::digest::Digest;
use crate::images::reference::Reference;

#[derive(Clone, Debug)]
pub struct Disk {
    folder: PathBuf,
}

/// An image, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    /// Hexadecimal digits, the lowest first.
    layers: Vec<String>,
    /// The image's own configuration document.
    config: String,
}

/// An image that was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub reference: Reference,
    pub layers: Vec<Digest>,
    pub document: String,
}

impl Disk {
    /// Makes the folders; sets what is in `staging` aside for [`Disk::clear`].
    pub fn open(folder: &Path) -> io::Result<Self> {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        for name in ["layers", "images", "staging"] {
            private.create(folder.join(name))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Of a layer that is there.
    pub fn layer(&self, layer: &Digest) -> PathBuf {
        self.folder.join("layers").join(layer.hex()).join("fs")
    }

    /// Images, the longest unused first, and layers with what they take. What makes no sense is none, and is deleted.
    pub fn load(&self) -> io::Result<(Vec<Image>, BTreeMap<Digest, u64>)> {
        let mut layers = BTreeMap::new();
        for entry in std::fs::read_dir(self.folder.join("layers"))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(Digest::of_hex);
            let bytes =
                std::fs::read_to_string(path.join("bytes")).ok().and_then(|text| text.trim().parse().ok());
            match name.zip(bytes) {
                Some((layer, bytes)) => _ = layers.insert(layer, bytes),
                None => remove(&path),
            }
        }
        let mut images: Vec<(SystemTime, Image)> = Vec::new();
        for entry in std::fs::read_dir(self.folder.join("images"))? {
            let entry = entry?;
            let image = std::fs::read(entry.path()).ok().and_then(|bytes| Image::decode(&bytes));
            match image.filter(|image| image.layers.iter().all(|layer| layers.contains_key(layer))) {
                Some(image) => images.push((entry.metadata()?.modified()?, image)),
                None => remove(&entry.path()),
            }
        }
        images.sort_by_key(|(used, _)| *used);
        Ok((images.into_iter().map(|(_, image)| image).collect(), layers))
    }

    /// Empties `staging`, in which nothing may be at work.
    pub fn clear(&self) {
        for entry in std::fs::read_dir(self.folder.join("staging")).into_iter().flatten().flatten() {
            remove(&entry.path());
        }
    }

    /// An empty folder to unpack a layer into, readable for all as a root folder has to be.
    pub fn stage(&self) -> io::Result<PathBuf> {
        let staged = self.staged();
        std::fs::create_dir(&staged)?;
        let fs = staged.join("fs");
        std::fs::create_dir(&fs)?;
        std::fs::set_permissions(&fs, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(staged)
    }

    /// Makes what was unpacked the layer. If there is one by now, that stays: it is the same.
    pub fn keep_layer(&self, staged: &Path, layer: &Digest, bytes: u64) -> io::Result<()> {
        write_synced(&staged.join("bytes"), bytes.to_string().as_bytes())?;
        File::open(staged)?.sync_all()?;
        let layers = self.folder.join("layers");
        match std::fs::rename(staged, layers.join(layer.hex())) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOTEMPTY)) => {
                remove(staged)
            }
            result => result?,
        }
        File::open(layers)?.sync_all()
    }

    pub fn keep_image(&self, image: &Image) -> io::Result<()> {
        let record = Record {
            name: image.reference.to_string(),
            layers: image.layers.iter().map(|layer| layer.hex().to_owned()).collect(),
            config: image.document.clone(),
        };
        let staged = self.staged();
        write_synced(&staged, &serde_json::to_vec(&record).map_err(io::Error::other)?)?;
        std::fs::rename(&staged, self.image(&image.reference))?;
        File::open(self.folder.join("images"))?.sync_all()
    }

    /// It is used now.
    pub fn touch(&self, reference: &Reference) {
        use nix::sys::stat::{UtimensatFlags, utimensat};
        use nix::sys::time::TimeSpec;
        let (now, flag) = (TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink);
        let _ = utimensat(nix::fcntl::AT_FDCWD, &self.image(reference), &now, &now, flag);
    }

    pub fn delete_image(&self, reference: &Reference) {
        remove(&self.image(reference));
    }

    /// Takes it out of the layers at once; what it held is in the folder that is returned, to be deleted at leisure.
    pub fn retire_layer(&self, layer: &Digest) -> Option<PathBuf> {
        let staged = self.staged();
        let from = self.folder.join("layers").join(layer.hex());
        match std::fs::rename(&from, &staged) {
            Ok(()) => Some(staged),
            Err(error) => {
                tracing::warn!(%error, layer = %layer, "a layer that nobody needs stays");
                None
            }
        }
    }

    fn staged(&self) -> PathBuf {
        self.folder.join("staging").join(uuid::Uuid::new_v4().to_string())
    }

    fn image(&self, reference: &Reference) -> PathBuf {
        let name = digest(&SHA256, reference.to_string().as_bytes());
        let name = Digest::of_bytes(name.as_ref()).expect("SHA-256 has 32 bytes");
        self.folder.join("images").join(format!("{}.json", name.hex()))
    }
}

impl Image {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let Record { name, layers, config } = serde_json::from_slice(bytes).ok()?;
        let layers = layers.iter().map(|hex| Digest::of_hex(hex)).collect::<Option<Vec<_>>>()?;
        Some(Self { reference: Reference::parse(&name).ok()?, layers, document: config })
    }
}

/// Whatever it is. What stays is tried again by the next agent.
pub(super) fn remove(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::warn!(%error, path = %path.display(), "cannot be deleted from the store of images");
    }
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()
}
