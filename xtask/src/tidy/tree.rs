//! What tidy looks at: the tracked text files and the manifests' dependencies, read once. Judges nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::sh;

/// The tracked files of a checkout, and its packages.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
    pub(crate) packages: Vec<Package>,
    /// Path prefixes that betray the machine a file was written on.
    pub(crate) machine_paths: Vec<String>,
}

/// A tracked text file; its path is relative to the root.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A package and the names of everything it depends on, of whatever kind.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its folder, relative to the root.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<String>,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let listed = sh::output(Command::new("git").current_dir(root).args(["ls-files", "-z"]))
            .context("tidy looks at tracked files, so it needs git and a checkout")?;
        let mut files = Vec::new();
        for path in listed.split_terminator('\0') {
            // Not there: deleted but not yet committed. Not UTF-8: an object file. Neither is text to judge.
            if let Ok(text) = std::fs::read_to_string(root.join(path)) {
                files.push(File { path: path.to_owned(), text });
            }
        }
        let metadata = sh::metadata()?;
        let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
        let packages = packages.iter().map(|it| package(root, it)).collect::<Result<_>>()?;
        Ok(Self { files, packages, machine_paths: machine_paths(root) })
    }
}

fn package(root: &Path, value: &Value) -> Result<Package> {
    let text =
        |value: &Value| value.as_str().map(str::to_owned).context("cargo metadata has changed its shape");
    let manifest = text(&value["manifest_path"])?;
    let folder = Path::new(&manifest).parent().expect("a manifest lies in a folder");
    let folder = folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().into_owned();
    let dependencies = value["dependencies"].as_array().context("a package without dependencies list")?;
    let dependencies = dependencies.iter().map(|it| text(&it["name"])).collect::<Result<_>>()?;
    Ok(Package { name: text(&value["name"])?, folder, dependencies })
}

/// The folder this checkout lies in, the user's home, and the usual places of homes.
fn machine_paths(root: &Path) -> Vec<String> {
    let mut prefixes = vec![concat!("/ho", "me/").to_owned(), concat!("/Us", "ers/").to_owned()];
    let near = [root.parent().map(Path::to_owned), std::env::var_os("HOME").map(Into::into)];
    for folder in near.into_iter().flatten() {
        let prefix = format!("{}/", folder.display());
        if prefix.len() > "/x/".len() && folder.is_absolute() {
            prefixes.push(prefix);
        }
    }
    prefixes
}
