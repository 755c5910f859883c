//! Containers' own roots: what is asked of the images, by the life of containers and by the clock.

use crate::containerizer::isolation::confinement::{Overlay, Rootfs, SANDBOX};
use crate::containerizer::nested::Place;
use crate::containerizer::plan::Plan;
use crate::images::{Provided, Said};
use crate::runtime::Agent;
use crate::runtime::containers::chain;
use api::v1;
use model::id::ContainerId;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::PathBuf;
use std::rc::Rc;

impl Agent {
    /// Gives the container the root that it asks for, if it asks for one.
    pub(super) async fn provide_root(&self, plan: &mut Plan) -> Result<(), String> {
        let Some(wish) = plan.image.take() else { return Ok(()) };
        let Some(images) = &self.images else {
            return Err("container.mesos.image: this agent has no images (--image-providers)".to_owned());
        };
        let container = plan.container_id.as_str().to_owned();
        let provided = images.provide(&wish.image, &container).await.map_err(|error| chain(&error))?;
        let Provided { rootfs, said: Said { config, user } } = provided;
        let options = CString::new(rootfs.options()).expect("numbers and names of our own");
        let root = Rootfs {
            path: rootfs.path(),
            overlay: Some(Overlay {
                folder: rootfs.folder().to_owned(),
                layers: rootfs.layers().to_owned(),
                options,
            }),
            sandbox: SANDBOX.into(),
            directory: config.working_dir.as_ref().map(PathBuf::from),
        };
        let given = plan.set_image(&wish, root, &config, user);
        if given.is_err() {
            images.withdraw(&container).await;
        }
        given.map_err(|error| chain(&error))
    }

    /// What the image says on which that container runs, if it runs on one.
    pub(super) async fn image_of(&self, place: Option<Place>) -> Option<Said> {
        self.images.as_ref()?.said(place?.container_id().as_str()).await
    }

    /// Nothing of the container runs any more.
    pub(super) async fn withdraw_root(&self, container_id: &ContainerId) {
        if let Some(images) = &self.images {
            images.withdraw(container_id.as_str()).await;
        }
    }

    /// Deletes the roots of containers of earlier lives that are over.
    pub(super) async fn withdraw_other_roots(&self) {
        let known: BTreeSet<String> = self.containers.borrow().keys().map(ToString::to_string).collect();
        if let Some(images) = &self.images {
            images.withdraw_others(&known).await;
        }
    }

    /// For ever; nothing where the operator does not want it.
    pub(super) async fn keep_watching_images(self: Rc<Self>) {
        let Some((images, interval)) = self.images.as_ref().zip(self.config.images.watch_interval()) else {
            return;
        };
        loop {
            images.measure();
            tokio::time::sleep(interval).await;
        }
    }

    /// PRUNE_IMAGES.
    pub(crate) async fn prune_images(&self, excluded: &[v1::Image]) -> Result<(), String> {
        match &self.images {
            Some(images) => images.prune(excluded).await.map_err(|error| chain(&error)),
            None => Ok(()),
        }
    }
}
