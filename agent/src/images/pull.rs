//! Finds an image in the registry's folder, reads what it is made of, and hands its layers out. Every content that is named
//! by a digest is held against it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

use super::config::Config;
use super::digest::Digest;
use super::layer::{Expected, LayerError, unpack};
use super::manifest::{self, Blob, ManifestError, Next};
use super::reference::Reference;
use super::source::{Part, Source};

/// Why an image cannot be had. Becomes the message of TASK_FAILED.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("Failed to find archive for image '{reference}' at '{}'", path.display())]
    NotFound { reference: Reference, path: PathBuf },
    #[error("open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is no image: it has neither an index.json nor a manifest.json", path.display())]
    NoImage { path: PathBuf },
    #[error("read {what} of {}", path.display())]
    Read { what: String, path: PathBuf, source: io::Error },
    #[error("{} has no {what}", path.display())]
    Missing { what: String, path: PathBuf },
    #[error("{what} of {} has the digest {found}", path.display())]
    Damaged { what: String, path: PathBuf, found: Digest },
    #[error("{what} of {} is longer than {DOCUMENT_BYTES_MAX} bytes", path.display())]
    TooLong { what: String, path: PathBuf },
    #[error("{}", path.display())]
    Manifest { path: PathBuf, source: ManifestError },
    #[error("layer {layer} of {}", path.display())]
    Layer { layer: Digest, path: PathBuf, source: LayerError },
}

/// An index, a manifest or a configuration, bytes: these are read into memory.
pub const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// Indexes that lead to indexes.
const INDEXES_MAX: usize = 4;

/// An image that was found, with nothing of it unpacked.
#[derive(Debug)]
pub struct Found {
    source: Source,
    path: PathBuf,
    /// As the image has it.
    pub document: Vec<u8>,
    pub config: Config,
    /// The lowest first.
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    place: PathBuf,
    /// Where a manifest says it.
    bytes: Option<u64>,
    expected: Expected,
}

/// Looks for what `--docker-registry` may call the image: `NAME:TAG.tar` as Mesos has it, an OCI layout of the same name,
/// or one called NAME with several tags in it.
pub fn find(registry: &Path, reference: &Reference) -> Result<Found, PullError> {
    let (full, name) = (reference.to_string(), reference.name());
    for place in [format!("{full}.tar"), full.clone(), format!("{name}.tar"), name] {
        let path = registry.join(place);
        let opened = Source::open(&path).map_err(|source| PullError::Open { path: path.clone(), source })?;
        let Some(source) = opened else { continue };
        let is_archive = matches!(source, Source::Archive { .. });
        match Found::read(source, &path, reference) {
            // A folder of images, and not an image's own.
            Err(PullError::NoImage { .. }) if !is_archive => {}
            found => return found,
        }
    }
    let path = registry.join(format!("{full}.tar"));
    Err(PullError::NotFound { reference: reference.clone(), path })
}

impl Found {
    fn read(source: Source, path: &Path, reference: &Reference) -> Result<Self, PullError> {
        let documents = Documents { source: &source, path };
        let (document, config, layers) = match documents.try_read("index.json")? {
            Some(index) => documents.of_layout(&index, reference)?,
            None => match documents.try_read("manifest.json")? {
                Some(manifest) => documents.of_saved(&manifest, reference)?,
                None => return Err(PullError::NoImage { path: path.to_owned() }),
            },
        };
        Ok(Self { path: path.to_owned(), document, config, layers, source })
    }

    /// Of the layers' contents, the lowest first. Of one that is there several times only the topmost counts: it brings,
    /// and hides, all that those below it do, and overlayfs takes none twice.
    pub fn layers(&self) -> Vec<Digest> {
        let all = || self.layers.iter().map(|layer| &layer.expected.content);
        let is_last = |(at, layer): &(usize, &Digest)| all().skip(at + 1).all(|later| later != *layer);
        all().enumerate().filter(is_last).map(|(_, layer)| layer.clone()).collect()
    }

    /// Unpacks one into an empty folder; returns about how many bytes that takes.
    pub fn unpack(&self, content: &Digest, folder: &Path) -> Result<u64, PullError> {
        let layer = self.layers.iter().find(|layer| layer.expected.content == *content);
        let layer = layer.expect("it is asked for its own");
        let documents = Documents { source: &self.source, path: &self.path };
        let part = documents.part(&layer.place)?;
        let failed = |source| PullError::Layer { layer: content.clone(), path: self.path.clone(), source };
        if let Some(expected) = layer.bytes.filter(|expected| *expected != part.left()) {
            return Err(failed(LayerError::Length { found: part.left(), expected }));
        }
        unpack(part, &layer.expected, folder).map_err(failed)
    }
}

/// A source's documents, and errors that name it.
struct Documents<'a> {
    source: &'a Source,
    path: &'a Path,
}

type Read3 = (Vec<u8>, Config, Vec<Layer>);

impl Documents<'_> {
    fn of_layout(&self, index: &[u8], reference: &Reference) -> Result<Read3, PullError> {
        let failed = |source| PullError::Manifest { path: self.path.to_owned(), source };
        let mut next = manifest::of_layout(index, reference).map_err(failed)?;
        let mut indexes = 0;
        let manifest = loop {
            match next {
                Next::Manifest(blob) => break manifest::manifest(&self.blob(&blob)?).map_err(failed)?,
                Next::Index(blob) if indexes < INDEXES_MAX => {
                    indexes += 1;
                    next = manifest::of_index(&self.blob(&blob)?).map_err(failed)?;
                }
                Next::Index(blob) => return Err(self.missing(&format!("image behind index {}", blob.digest))),
            }
        };
        let document = self.blob(&manifest.config)?;
        let (config, contents) = manifest::config(&document).map_err(failed)?;
        let layers = manifest::with_contents(manifest.layers, contents).map_err(failed)?;
        let layers = layers.into_iter().map(|(Blob { digest, bytes }, content)| Layer {
            place: blob_path(&digest),
            bytes: Some(bytes),
            expected: Expected { blob: Some(digest), content },
        });
        Ok((document, config, layers.collect()))
    }

    fn of_saved(&self, manifest: &[u8], reference: &Reference) -> Result<Read3, PullError> {
        let failed = |source| PullError::Manifest { path: self.path.to_owned(), source };
        let saved = manifest::saved(manifest, reference).map_err(failed)?;
        let document = self.read(&saved.config)?;
        // `HEX.json`, or a path of blobs as in a layout.
        let stem = Path::new(&saved.config).file_stem().and_then(|stem| stem.to_str());
        if let Some(digest) = stem.and_then(Digest::of_hex) {
            self.check(&saved.config, &document, &digest)?;
        }
        let (config, contents) = manifest::config(&document).map_err(failed)?;
        let layers = manifest::with_contents(saved.layers, contents).map_err(failed)?;
        let layers = layers.into_iter().map(|(place, content)| Layer {
            expected: Expected {
                blob: place.strip_prefix("blobs/sha256/").and_then(Digest::of_hex),
                content,
            },
            place: place.into(),
            bytes: None,
        });
        Ok((document, config, layers.collect()))
    }

    fn blob(&self, blob: &Blob) -> Result<Vec<u8>, PullError> {
        let place = blob_path(&blob.digest);
        let what = place.display().to_string();
        let content = self.read(&what)?;
        self.check(&what, &content, &blob.digest)?;
        Ok(content)
    }

    fn check(&self, what: &str, content: &[u8], expected: &Digest) -> Result<(), PullError> {
        let found = Digest::of_bytes(digest(&SHA256, content).as_ref()).expect("SHA-256 has 32 bytes");
        if found == *expected {
            return Ok(());
        }
        Err(PullError::Damaged { what: what.to_owned(), path: self.path.to_owned(), found })
    }

    fn read(&self, what: &str) -> Result<Vec<u8>, PullError> {
        self.try_read(what)?.ok_or_else(|| self.missing(what))
    }

    fn try_read(&self, what: &str) -> Result<Option<Vec<u8>>, PullError> {
        let Some(part) = self.try_part(Path::new(what))? else { return Ok(None) };
        if part.left() > DOCUMENT_BYTES_MAX {
            return Err(PullError::TooLong { what: what.to_owned(), path: self.path.to_owned() });
        }
        let mut content = Vec::new();
        part.take(DOCUMENT_BYTES_MAX)
            .read_to_end(&mut content)
            .map_err(|source| self.unreadable(what, source))?;
        Ok(Some(content))
    }

    fn part(&self, place: &Path) -> Result<Part, PullError> {
        self.try_part(place)?.ok_or_else(|| self.missing(&place.display().to_string()))
    }

    fn try_part(&self, place: &Path) -> Result<Option<Part>, PullError> {
        self.source.part(place).map_err(|source| self.unreadable(&place.display().to_string(), source))
    }

    fn unreadable(&self, what: &str, source: io::Error) -> PullError {
        PullError::Read { what: what.to_owned(), path: self.path.to_owned(), source }
    }

    fn missing(&self, what: &str) -> PullError {
        PullError::Missing { what: what.to_owned(), path: self.path.to_owned() }
    }
}

fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}
