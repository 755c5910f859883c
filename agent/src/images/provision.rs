//! What the agent calls: a root for a container from an image, and what is to be kept of images.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use api::v1;

use super::config::Config;
use super::manifest::{self, ManifestError};
use super::overlay::{self, OverlayError, Rootfs};
use super::reference::{BadReference, Reference};
use super::said::Said;
use super::store::{Figures, Places, Store, core};
use super::users::{self, User, UserError};

/// Why a container has no root. Becomes the message of TASK_FAILED.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("this agent has no images (--image-providers)")]
    NoProvider,
    #[error("{field} is not supported")]
    Unsupported { field: &'static str },
    #[error("container.mesos.image has no docker.name")]
    NoName,
    #[error(transparent)]
    Reference(#[from] BadReference),
    #[error("Failed to pull image '{reference}': {why}")]
    Pull { reference: String, why: Arc<str> },
    #[error("the configuration that was kept of image '{reference}'")]
    Document { reference: String, source: ManifestError },
    #[error("the root of image '{reference}'")]
    Root { reference: String, source: OverlayError },
    #[error("image '{reference}'")]
    User { reference: String, source: UserError },
}

/// Where images come from, and the roots that containers have of them.
#[derive(Debug)]
pub struct Images {
    store: Store,
    work_dir: PathBuf,
}

/// A container's root, not yet mounted, and what its image says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provided {
    pub rootfs: Rootfs,
    pub said: Said,
}

impl Images {
    /// Starts the store with what it holds, and what containers of an earlier life of the agent may run on.
    pub fn start(work_dir: &Path, places: Places, settings: core::Settings) -> io::Result<Self> {
        let containers = overlay::found(work_dir)?;
        Ok(Self { store: Store::start(places, settings, containers)?, work_dir: work_dir.to_owned() })
    }

    pub fn figures(&self) -> &Figures {
        self.store.figures()
    }

    /// Pulls the image if it has to, and makes a root of it for the container. On an error nothing is left.
    /// `container`: its id, which is a plain name.
    pub async fn provide(&self, image: &v1::Image, container: &str) -> Result<Provided, ImageError> {
        let reference = reference(image)?;
        let given = self.store.want(reference.clone(), container, image.cached()).await;
        let given = given.map_err(|why| ImageError::Pull { reference: reference.to_string(), why })?;
        let (work_dir, name) = (self.work_dir.clone(), container.to_owned());
        let make = move || provided(&work_dir, &name, &reference, &given.layers, &given.document);
        let made = tokio::task::spawn_blocking(make).await;
        let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        if made.is_err() {
            self.withdraw(container).await;
        }
        made
    }

    /// What the image says that the container has its root of. `None`: it has none, or has it of an agent that did not
    /// write it down.
    pub async fn said(&self, container: &str) -> Option<Said> {
        let folder = overlay::folder(&self.work_dir).join(container);
        tokio::task::spawn_blocking(move || Said::read(&folder)).await.ok().flatten()
    }

    /// Deletes a container's root; none of its processes is there any more. That it has none is no error.
    pub async fn withdraw(&self, container: &str) {
        let (work_dir, name) = (self.work_dir.clone(), container.to_owned());
        let removed = tokio::task::spawn_blocking(move || overlay::remove(&work_dir, &name)).await;
        if let Ok(Err(error)) = removed {
            // It is tried again by the next agent; until then its layers stay.
            let cause = &error as &dyn std::error::Error;
            self.figures().remove_errors.fetch_add(1, Ordering::Relaxed);
            return tracing::warn!(cause, container, "root of a container that is over stays");
        }
        self.store.release(container);
    }

    /// Deletes the roots of all containers but these, and those that are nested in them (`CONTAINER.NESTED`). What is
    /// provided after this call is not concerned.
    pub async fn withdraw_others(&self, known: &BTreeSet<String>) {
        let is_known = |name: &str| known.contains(name.split('.').next().unwrap_or(name));
        let work_dir = self.work_dir.clone();
        let found = tokio::task::spawn_blocking(move || overlay::found(&work_dir)).await;
        match found {
            Ok(Ok(found)) => {
                for (container, _) in found.iter().filter(|(name, _)| !is_known(name)) {
                    self.withdraw(container).await;
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "roots of containers that are over stay"),
            Err(_) => {}
        }
    }

    /// Deletes all images that no container has, but for those; if none are named, for those that the operator excludes.
    ///
    /// # Errors
    /// Names the one that is no image.
    pub async fn prune(&self, excluded: &[v1::Image]) -> Result<(), ImageError> {
        let excluded = excluded.iter().map(reference).collect::<Result<_, _>>()?;
        self.store.prune(excluded).await;
        Ok(())
    }

    /// Has the store look at its disk, and make room if it is too full.
    pub fn measure(&self) {
        self.store.measure();
    }
}

/// Which image is meant.
pub(crate) fn reference(image: &v1::Image) -> Result<Reference, ImageError> {
    if image.r#type() != v1::image::Type::Docker {
        return Err(ImageError::Unsupported { field: "container.mesos.image.type APPC" });
    }
    let docker = image.docker.as_ref().ok_or(ImageError::NoName)?;
    if docker.credential.is_some() || docker.config.is_some() {
        // They are for registries of others.
        return Err(ImageError::Unsupported { field: "container.mesos.image.docker.config" });
    }
    Ok(Reference::parse(&docker.name)?)
}

fn provided(
    work_dir: &Path,
    container: &str,
    reference: &Reference,
    layers: &[PathBuf],
    document: &str,
) -> Result<Provided, ImageError> {
    let config = manifest::config(document.as_bytes());
    let (config, _) =
        config.map_err(|source| ImageError::Document { reference: reference.to_string(), source })?;
    let failed = |source| ImageError::Root { reference: reference.to_string(), source };
    let rootfs = Rootfs::create(work_dir, container, layers).map_err(failed)?;
    let user = user(&rootfs, &config, reference)?;
    let said = Said { config, user };
    said.write(rootfs.folder()).map_err(|source| {
        let path = rootfs.folder().to_owned();
        failed(OverlayError::Make { path, source })
    })?;
    Ok(Provided { rootfs, said })
}

/// Whom the image names; and makes the folder in which it wants to be run.
fn user(rootfs: &Rootfs, config: &Config, reference: &Reference) -> Result<Option<User>, ImageError> {
    if config.user.is_empty() && config.working_dir.is_none() {
        return Ok(None);
    }
    let failed = |source| ImageError::Root { reference: reference.to_string(), source };
    let see = |root: &Path| {
        if let Some(path) = &config.working_dir {
            overlay::make_folder(root, Path::new(path))?;
        }
        Ok((overlay::text(root, "etc/passwd")?, overlay::text(root, "etc/group")?))
    };
    let (passwd, group) = rootfs.look(see).and_then(|texts| texts).map_err(failed)?;
    let user = Some(&*config.user).filter(|user| !user.is_empty());
    let user = user.map(|user| users::find(user, &passwd, &group)).transpose();
    user.map_err(|source| ImageError::User { reference: reference.to_string(), source })
}
