//! The folder an executor runs in: made for its user alone, with the files its output goes to.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid};

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
pub fn create(sandbox: &Path, latest: Option<&Path>, owner: Option<&Identity>) -> Result<(), SandboxError> {
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
    let Some(latest) = latest else { return Ok(()) };
    // Made beside and renamed over, so that the link is there at every moment.
    let name = sandbox.file_name().unwrap_or_default();
    let mut fresh = name.to_owned();
    fresh.push(".latest");
    let fresh = sandbox.with_file_name(fresh);
    std::os::unix::fs::symlink(name, &fresh).map_err(error("create link", &fresh))?;
    std::fs::rename(&fresh, latest).map_err(error("replace link", latest))
}

/// Makes the sandbox of a container in another: `sandbox` is below `outermost`, whose user may do there as it likes while
/// we are at it. So no link on the way is followed, and what was opened is what is written to.
pub fn create_nested(
    outermost: &Path,
    sandbox: &Path,
    owner: Option<&Identity>,
) -> Result<OwnedFd, SandboxError> {
    let error = |action: &'static str| {
        move |errno: Errno| SandboxError { action, path: sandbox.to_owned(), source: errno.into() }
    };
    let (above, name) = folder_above(outermost, sandbox, |folder, name| mkdirat(folder, name, PUBLIC))?;
    mkdirat(&above, name, Mode::from_bits_truncate(0o750)).map_err(error("create folder"))?;
    let folder = openat(&above, name, FOLDER, Mode::empty()).map_err(error("open folder"))?;
    nix::sys::stat::fchmod(&folder, Mode::from_bits_truncate(0o750)).map_err(error("set mode of"))?;
    if let Some(owner) = owner {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        nix::unistd::fchown(&folder, Some(uid), Some(gid)).map_err(error("set owner of"))?;
    }
    Ok(folder)
}

/// Deletes the sandbox of a container in another, with the same care. That it is gone is no error.
pub fn remove_nested(outermost: &Path, sandbox: &Path) -> Result<(), SandboxError> {
    let error = |source| SandboxError { action: "delete", path: sandbox.to_owned(), source };
    let (above, name) = match folder_above(outermost, sandbox, |_, _| Err(Errno::EEXIST)) {
        Err(SandboxError { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    match std::fs::remove_dir_all(path_of(&above).join(name)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(error(source)),
        _ => Ok(()),
    }
}

/// [`open_stdio`] for a sandbox that is there, perhaps nested in another.
pub fn reopen_stdio(outermost: Option<&Path>, sandbox: &Path) -> Result<[OwnedFd; 3], SandboxError> {
    let Some(outermost) = outermost else { return open_stdio(sandbox, None) };
    let error =
        |errno: Errno| SandboxError { action: "open folder", path: sandbox.to_owned(), source: errno.into() };
    let (above, name) = folder_above(outermost, sandbox, |_, _| Err(Errno::EEXIST))?;
    let folder = openat(&above, name, FOLDER, Mode::empty()).map_err(error)?;
    open_stdio(&path_of(&folder), None)
}

/// A path that leads to this very folder, whatever has become of its name.
pub fn path_of(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const PUBLIC: Mode =
    Mode::S_IRWXU.union(Mode::S_IRGRP).union(Mode::S_IXGRP).union(Mode::S_IROTH).union(Mode::S_IXOTH);

/// The folder that the last name of `path` stands in, and that name. `make`: for those on the way that are not there; that
/// one is there is no error.
fn folder_above<'p>(
    outermost: &Path,
    path: &'p Path,
    make: impl Fn(&OwnedFd, &Path) -> nix::Result<()>,
) -> Result<(OwnedFd, &'p Path), SandboxError> {
    let error =
        |errno: Errno| SandboxError { action: "open folder", path: path.to_owned(), source: errno.into() };
    let below = path.strip_prefix(outermost).map_err(|_| error(Errno::EINVAL))?;
    let mut names: Vec<&Path> = below.iter().map(Path::new).collect();
    let last = names.pop().ok_or_else(|| error(Errno::EINVAL))?;
    let mut folder = nix::fcntl::open(outermost, FOLDER, Mode::empty()).map_err(error)?;
    for name in names {
        match make(&folder, name) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(error(errno)),
        }
        folder = openat(folder.as_fd(), name, FOLDER, Mode::empty()).map_err(error)?;
    }
    Ok((folder, last))
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
            create(&sandbox, Some(&latest), None).expect("it can be made");
            assert_eq!(std::fs::metadata(&sandbox).expect("there").mode() & 0o7777, 0o750);
            assert_eq!(std::fs::canonicalize(&latest).expect("leads somewhere"), sandbox);
        }
        let mut names: Vec<_> =
            std::fs::read_dir(&runs).expect("readable").map(|e| e.expect("readable").file_name()).collect();
        names.sort();
        assert_eq!(names, ["latest", "r1", "r2"]);
        let again = create(&runs.join("r1"), Some(&latest), None).expect_err("it is there");
        assert_eq!(again.to_string(), format!("create folder {}", runs.join("r1").display()));
    }

    #[test]
    fn a_nested_sandbox_is_made_nowhere_else_whatever_links_its_user_plants() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (outermost, elsewhere) = (folder.path().join("r"), folder.path().join("elsewhere"));
        for made in [&outermost, &elsewhere] {
            std::fs::create_dir(made).expect("mkdir");
        }
        let nested = outermost.join("containers/a/containers/b");
        create_nested(&outermost, &outermost.join("containers/a"), None).expect("it can be made");
        let opened = create_nested(&outermost, &nested, None).expect("it can be made");
        open_stdio(&path_of(&opened), None).expect("it can be written to");
        assert!(nested.join("stdout").exists());
        assert_eq!(std::fs::metadata(&nested).expect("there").mode() & 0o7777, 0o750);
        let again = create_nested(&outermost, &nested, None).expect_err("it is there");
        assert_eq!(again.source.kind(), io::ErrorKind::AlreadyExists);
        remove_nested(&outermost, &nested).expect("it can be deleted");
        remove_nested(&outermost, &nested).expect("it is gone");
        assert!(!nested.exists());

        std::fs::create_dir(elsewhere.join("c")).expect("mkdir");
        std::fs::rename(outermost.join("containers"), folder.path().join("away")).expect("rename");
        std::os::unix::fs::symlink(&elsewhere, outermost.join("containers")).expect("link");
        let planted = create_nested(&outermost, &outermost.join("containers/d"), None).expect_err("a link");
        assert_eq!(planted.source.raw_os_error(), Some(libc::ENOTDIR));
        remove_nested(&outermost, &outermost.join("containers/c")).expect_err("a link");
        assert!(elsewhere.join("c").exists() && !elsewhere.join("d").exists());
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
