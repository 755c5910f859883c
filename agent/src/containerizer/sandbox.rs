//! The folder an executor runs in: made for its user alone, with the files its output goes to.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::sys::identity::Identity;

#[derive(Debug, thiserror::Error)]
#[error("{action} {}", path.display())]
pub struct SandboxError {
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

/// Makes the sandbox, which must not be there yet, and points the `latest` link to it. Private data of a task is in it:
/// nobody but its user, that user's group and root may look in.
pub fn create(sandbox: &Path, latest: &Path, owner: Option<&Identity>) -> Result<(), SandboxError> {
    let error = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| SandboxError { action, path, source }
    };
    let parent = sandbox.parent().unwrap_or(sandbox);
    std::fs::create_dir_all(parent).map_err(error("create folder", parent))?;
    DirBuilder::new().mode(0o750).create(sandbox).map_err(error("create folder", sandbox))?;
    // mkdir's mode went through our umask, and what a task may do in its folder must not depend on that.
    std::fs::set_permissions(sandbox, Permissions::from_mode(0o750))
        .map_err(error("set mode of", sandbox))?;
    if let Some(owner) = owner {
        std::os::unix::fs::chown(sandbox, Some(owner.uid), Some(owner.gid))
            .map_err(error("set owner of", sandbox))?;
    }
    // Made beside and renamed over, so that the link is there at every moment.
    let name = sandbox.file_name().unwrap_or_default();
    let mut fresh = name.to_owned();
    fresh.push(".latest");
    let fresh = sandbox.with_file_name(fresh);
    std::os::unix::fs::symlink(name, &fresh).map_err(error("create link", &fresh))?;
    std::fs::rename(&fresh, latest).map_err(error("replace link", latest))
}

/// Standard input (nothing to read), output and error of an executor.
pub fn open_stdio(sandbox: &Path, owner: Option<&Identity>) -> Result<[OwnedFd; 3], SandboxError> {
    let output = |name: &str| {
        let path = sandbox.join(name);
        let open = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            let file =
                options.append(true).create(true).mode(0o644).custom_flags(libc::O_NOFOLLOW).open(&path)?;
            if let Some(owner) = owner {
                std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
            }
            Ok(file)
        };
        open().map_err(|source| SandboxError { action: "open", path: path.clone(), source })
    };
    let null = File::open("/dev/null").map_err(|source| SandboxError {
        action: "open",
        path: PathBuf::from("/dev/null"),
        source,
    })?;
    Ok([null.into(), output("stdout")?.into(), output("stderr")?.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_sandbox_is_private_and_latest_leads_to_the_newest() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runs = folder.path().join("executors/e1/runs");
        let latest = runs.join("latest");
        for run in ["r1", "r2"] {
            let sandbox = runs.join(run);
            create(&sandbox, &latest, None).expect("it can be made");
            assert_eq!(std::fs::metadata(&sandbox).expect("there").mode() & 0o7777, 0o750);
            assert_eq!(std::fs::canonicalize(&latest).expect("leads somewhere"), sandbox);
        }
        let mut names: Vec<_> =
            std::fs::read_dir(&runs).expect("readable").map(|e| e.expect("readable").file_name()).collect();
        names.sort();
        assert_eq!(names, ["latest", "r1", "r2"]);
        let again = create(&runs.join("r1"), &latest, None).expect_err("it is there");
        assert_eq!(again.to_string(), format!("create folder {}", runs.join("r1").display()));
    }

    #[test]
    fn output_is_appended_and_a_planted_link_is_not_followed() {
        use std::io::Write;
        let folder = tempfile::tempdir().expect("a temporary folder");
        for text in ["one\n", "two\n"] {
            let [_, stdout, _] = open_stdio(folder.path(), None).expect("it can be opened");
            File::from(stdout).write_all(text.as_bytes()).expect("write");
        }
        assert_eq!(std::fs::read_to_string(folder.path().join("stdout")).expect("readable"), "one\ntwo\n");
        std::fs::remove_file(folder.path().join("stderr")).expect("it is there");
        std::os::unix::fs::symlink("/dev/null", folder.path().join("stderr")).expect("link");
        let error = open_stdio(folder.path(), None).expect_err("a link");
        assert_eq!(error.source.raw_os_error(), Some(libc::ELOOP));
    }
}
