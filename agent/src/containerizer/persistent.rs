//! Persistent volumes: folders of the agent's that outlive the tasks that use them, each for one role.
//!
//! ```text
//!   WORK_DIR/volumes/roles/ROLE/ID     a volume; a `/` in the role's name is a space, as in Mesos
//!   WORK_DIR/volumes/.gone-N           one that was destroyed, until its content is deleted
//! ```
//! Made by CREATE, empty; gone with DESTROY, and with nothing else: no reboot, no restart, no change of the agent's id.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::kept::{Kept, folder};
use super::sandbox::SandboxError;
use crate::collector::remove::remove_tree;
use crate::node::volumes::Changes;
use crate::sys::identity::Identity;

/// Before the name of what is being deleted.
const GONE: &str = ".gone-";

/// Makes sure of a container's volumes; a new one belongs to who uses it first. `sandbox`: nobody but us has seen it yet.
/// Blocks.
pub(super) fn provide(kept: &[Kept], sandbox: &Path, owner: Option<&Identity>) -> Result<(), SandboxError> {
    let error = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| SandboxError { action, path, source }
    };
    for Kept { folder, link } in kept {
        own(folder, owner).map_err(error("make volume", folder))?;
        let Some(link) = link else { continue };
        let link = sandbox.join(link);
        let parent = link.parent().unwrap_or(sandbox);
        std::fs::create_dir_all(parent).map_err(error("create folder", parent))?;
        std::os::unix::fs::symlink(folder, &link).map_err(error("create link", &link))?;
    }
    Ok(())
}

/// A volume that nobody has used belongs to us, and nothing is in it.
fn own(folder: &Path, owner: Option<&Identity>) -> io::Result<()> {
    make(folder)?;
    let Some(owner) = owner else { return Ok(()) };
    let meta = std::fs::symlink_metadata(folder)?;
    let is_ours = std::os::unix::fs::MetadataExt::uid(&meta) == nix::unistd::geteuid().as_raw();
    if is_ours && std::fs::read_dir(folder)?.next().is_none() {
        std::os::unix::fs::chown(folder, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(())
}

/// The folders above it can be passed through by everybody: a task finds its own by a link.
fn make(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

/// A new one is empty, whatever was there by its name; what is gone cannot be found any more when this returns, and is
/// deleted by [`clear`].
pub fn carry_out(changes: &Changes, work_dir: &Path) -> io::Result<()> {
    let all = folder(work_dir);
    make(&all)?;
    for below in changes.gone.iter().chain(&changes.made) {
        let name = format!("{GONE}{:016x}", fastrand::u64(..));
        match std::fs::rename(all.join(below), all.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    changes.made.iter().try_for_each(|below| make(&all.join(below)))
}

/// Deletes what destroyed volumes held, of earlier lives of the agent as well. Blocks for as long as that takes.
pub fn clear(work_dir: &Path) {
    for entry in std::fs::read_dir(folder(work_dir)).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(GONE) {
            continue;
        }
        if let Err(error) = remove_tree(&entry.path()) {
            let cause = &error as &dyn std::error::Error;
            tracing::warn!(cause, path = %entry.path().display(), "what a destroyed volume held stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_volume_is_empty_when_it_is_made_and_gone_when_it_is_destroyed() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let of = |name: &str| vec![PathBuf::from(format!("roles/eng/{name}"))];
        let at = |name: &str| folder(place.path()).join(format!("roles/eng/{name}"));
        let left = || {
            let entries = std::fs::read_dir(folder(place.path())).expect("it is there");
            entries
                .filter(|it| it.as_ref().is_ok_and(|it| it.file_name().to_string_lossy().starts_with(GONE)))
                .count()
        };
        let made = Changes { made: of("a"), gone: Vec::new() };
        carry_out(&made, place.path()).expect("it can be made");
        std::fs::write(at("a").join("file"), "old").expect("it can be written to");
        let replaced = Changes { made: of("b"), gone: of("a") };
        carry_out(&replaced, place.path()).expect("it can be done");
        assert!(at("b").exists() && !at("a").exists());
        assert_eq!(left(), 1, "its content is still to be deleted");
        carry_out(&made, place.path()).expect("it can be made again");
        assert!(!at("a").join("file").exists(), "nobody finds what another left");
        // Made twice, since the agent was killed in between: it is what it was asked to be, empty.
        carry_out(&made, place.path()).expect("it can be made again");
        clear(place.path());
        assert_eq!(left(), 0);
        assert!(at("a").exists());
    }

    #[test]
    fn a_link_leads_to_a_volume_that_belongs_to_who_uses_it() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let kept = Kept { folder: place.path().join("volumes/roles/eng/a"), link: Some("data/here".into()) };
        provide(std::slice::from_ref(&kept), place.path(), None).expect("it can be provided");
        std::fs::write(place.path().join("data/here/file"), "kept").expect("it can be written to");
        assert_eq!(std::fs::read_to_string(kept.folder.join("file")).expect("it is there"), "kept");
    }
}
