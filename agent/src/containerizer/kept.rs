//! Which persistent volumes a container has, and where it finds them. Decides; `persistent` does.

use std::path::{Path, PathBuf};

use api::convert::volume;

use super::isolation::asked::cannot;
use super::isolation::confinement::{Source, Target, Volume};
use super::limits::Share;
use super::plan::PlanError;

/// One that a container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub folder: PathBuf,
    /// In the sandbox, where it is to be found by a link: the container has no mounts of its own.
    pub link: Option<PathBuf>,
}

/// Where all of them are.
pub fn folder(work_dir: &Path) -> PathBuf {
    work_dir.join("volumes")
}

/// What the executor and its tasks were given: to be made, and to be mounted where the container can have mounts.
pub(super) fn given(
    work_dir: &Path,
    shares: &[Share],
    has_mounts: bool,
) -> Result<(Vec<Kept>, Vec<Volume>), PlanError> {
    const FIELD: &str = "resources.disk.volume.container_path";
    let (mut kept, mut volumes) = (Vec::new(), Vec::new());
    for part in shares.iter().flat_map(|share| share.resources.iter()) {
        let Some((named, below)) = volume::of(part).zip(volume::folder(part)) else { continue };
        let path = PathBuf::from(named.container_path);
        let folder = folder(work_dir).join(below);
        if has_mounts {
            let target = if path.is_absolute() { Target::Absolute(path) } else { Target::Sandbox(path) };
            let source = Source::Machine(folder.clone());
            volumes.push(Volume { source, target, read_only: named.read_only });
            kept.push(Kept { folder, link: None });
        } else if path.is_absolute() {
            let why =
                "an absolute path needs an agent that runs as root, with filesystem/linux in --isolation";
            return Err(cannot(FIELD, why));
        } else {
            kept.push(Kept { folder, link: Some(path) });
        }
    }
    Ok((kept, volumes))
}
