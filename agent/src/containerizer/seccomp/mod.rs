//! Filters of system calls: profiles in Docker's form (`profile`), compiled (`compile`) to what init installs. Done once, at
//! the agent's start: a launch only copies bytes.

mod compile;
mod profile;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::profile::Profile;
use super::isolation::asked::{Filters, Seccomp};

/// For containers that name no profile, where the operator has none.
const USUAL: &str = include_str!("usual.json");

#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error("read the seccomp profiles in {} (--seccomp-config-dir)", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("seccomp profile {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("seccomp profile {}: {why}", path.display())]
    Bad { path: PathBuf, why: String },
    #[error("there is no seccomp profile '{name}' (--seccomp-profile-name) in --seccomp-config-dir")]
    NoSuch { name: String },
}

/// Reads and compiles every file of the folder. `usual`: the name of that for who names none; without one, our own.
/// `capabilities`: the most that a container gets, by which profiles decide.
pub fn load(folder: Option<&Path>, usual: Option<&str>, capabilities: u64) -> Result<Seccomp, SeccompError> {
    let mut profiles = BTreeMap::new();
    for entry in folder.map(entries).transpose()?.into_iter().flatten() {
        let content = std::fs::read_to_string(&entry)
            .map_err(|source| SeccompError::Read { path: entry.clone(), source })?;
        let filters =
            filters(&content, capabilities).map_err(|why| SeccompError::Bad { path: entry.clone(), why })?;
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        profiles.insert(name, filters);
    }
    let usual = match usual {
        Some(name) => {
            profiles.get(name).cloned().ok_or_else(|| SeccompError::NoSuch { name: name.to_owned() })?
        }
        None => {
            filters(USUAL, capabilities).map_err(|why| SeccompError::Bad { path: "(usual)".into(), why })?
        }
    };
    Ok(Seccomp { is_on: true, usual: Some(usual), profiles })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, SeccompError> {
    let error = |source| SeccompError::Folder { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(error)?;
    let mut paths =
        entries.map(|entry| entry.map(|it| it.path())).collect::<Result<Vec<_>, _>>().map_err(error)?;
    paths.retain(|path| path.is_file());
    Ok(paths)
}

fn filters(content: &str, capabilities: u64) -> Result<Filters, String> {
    let profile: Profile = serde_json::from_str(content).map_err(|error| error.to_string())?;
    Ok(compile::filters(&profile, capabilities)?.into_iter().map(Arc::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_profile_is_one() {
        // One an action: EPERM, and ENOSYS for calls that who may administer can make.
        let [administers, others] = [u64::MAX, 0].map(|it| filters(USUAL, it).expect("it is good"));
        assert_eq!((administers.len(), others.len()), (1, 2));
        let bytes = |filters: &Filters| filters.iter().map(|filter| filter.len()).sum::<usize>();
        assert!(bytes(&administers) < bytes(&others));
    }

    #[test]
    fn profiles_are_found_by_their_files_names() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("none.json"), r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#)
            .expect("write");
        let seccomp = load(Some(folder.path()), Some("none.json"), 0).expect("good");
        assert!(seccomp.profiles.contains_key("none.json"));
        assert!(seccomp.usual.expect("it is there").is_empty(), "nothing is filtered");
        let error = load(Some(folder.path()), Some("other.json"), 0).expect_err("not there").to_string();
        assert!(error.contains("'other.json'"), "{error}");
        std::fs::write(folder.path().join("bad.json"), "{}").expect("write");
        let error = load(Some(folder.path()), None, 0).expect_err("bad").to_string();
        assert!(error.contains("bad.json: missing field `defaultAction`"), "{error}");
    }
}
