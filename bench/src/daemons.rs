//! The daemons that whole clusters are made of.

use std::path::PathBuf;

use anyhow::{Context, bail};

/// Where `ingot-master` and `ingot-agent` are: beside this program.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    programs_with(&["ingot-master", "ingot-agent"])
}

/// The folder of this program, in which these are, too.
pub(crate) fn programs_with(names: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = std::env::current_exe()?.parent().context("this program lies in no folder")?.to_owned();
    for program in names {
        if !folder.join(program).exists() {
            bail!("{program} is not beside ingot-bench: cargo build --release -p agent -p master");
        }
    }
    Ok(folder)
}
