//! Which persistent volumes come and go with what the agent is told to have.

use api::convert::volume;
use model::resources::{Resource, Resources};
use std::path::PathBuf;

/// What has become of the volumes of an agent that had something else before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Below the folder of all volumes.
    pub made: Vec<PathBuf>,
    pub gone: Vec<PathBuf>,
}

impl Changes {
    pub(super) fn between(before: &Resources, after: &Resources) -> Self {
        let folders = |resources: &Resources| -> Vec<PathBuf> {
            let is_volume = |part: &&Resource| volume::of(part).is_some();
            resources.iter().filter(is_volume).filter_map(volume::folder).collect()
        };
        let (before, after) = (folders(before), folders(after));
        let without = |these: &[PathBuf], those: &[PathBuf]| -> Vec<PathBuf> {
            these.iter().filter(|it| !those.contains(it)).cloned().collect()
        };
        Self { made: without(&after, &before), gone: without(&before, &after) }
    }

    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.gone.is_empty()
    }
}
