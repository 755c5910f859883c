//! `cargo xtask codegen`: capnp/schema/*.capnp -> capnp/generated/*.rs, committed so that nobody who builds Ingot needs
//! the `capnp` compiler. `--check` generates beside the committed files and fails on a difference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::sh;

/// How to generate.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if the committed files are not what the schemas give.
    #[arg(long)]
    pub(crate) check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let crate_dir = sh::root().join("capnp");
    let committed = crate_dir.join("generated");
    if !sh::works("capnp", &["--version"]) {
        bail!("codegen needs the `capnp` compiler: sudo apt-get install capnproto");
    }
    let fresh = sh::target_dir()?.join("codegen");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh).with_context(|| format!("cannot empty {}", fresh.display()))?;
    }
    std::fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    generate(&crate_dir.join("schema"), &fresh)?;
    if args.check { check(&committed, &fresh) } else { replace(&committed, &fresh) }
}

fn generate(schema_dir: &Path, output: &Path) -> Result<()> {
    let schemas = files(schema_dir, "capnp")?;
    if schemas.is_empty() {
        bail!("no *.capnp in {}", schema_dir.display());
    }
    let mut command = capnpc::CompilerCommand::new();
    command.src_prefix(schema_dir).output_path(output).default_parent_module(vec!["generated".into()]);
    for schema in schemas.values() {
        command.file(schema);
    }
    command.run().context("the capnp compiler refused the schemas")
}

fn check(committed: &Path, fresh: &Path) -> Result<()> {
    let (old, new) = (contents(committed)?, contents(fresh)?);
    let names = old.keys().chain(new.keys()).collect::<std::collections::BTreeSet<_>>();
    let stale: Vec<&str> =
        names.into_iter().filter(|name| old.get(*name) != new.get(*name)).map(|name| &**name).collect();
    if !stale.is_empty() {
        bail!(
            "capnp/generated is not what capnp/schema gives: {}; run `cargo xtask codegen`",
            stale.join(", ")
        );
    }
    Ok(())
}

fn replace(committed: &Path, fresh: &Path) -> Result<()> {
    std::fs::create_dir_all(committed).with_context(|| format!("cannot make {}", committed.display()))?;
    for path in files(committed, "rs")?.values() {
        std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    for (name, text) in contents(fresh)? {
        std::fs::write(committed.join(&name), text)
            .with_context(|| format!("cannot write generated/{name}"))?;
    }
    Ok(())
}

fn contents(dir: &Path) -> Result<BTreeMap<String, String>> {
    let read = |(name, path): (String, PathBuf)| {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((name, text))
    };
    files(dir, "rs")?.into_iter().map(read).collect()
}

/// The files of one kind in a folder, by name. A folder that is not there has none.
fn files(dir: &Path, extension: &str) -> Result<BTreeMap<String, PathBuf>> {
    if !dir.exists() {
        return Ok(BTreeMap::new());
    }
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == extension) {
            let name = path.file_name().expect("a listed file has a name").to_string_lossy().into_owned();
            found.insert(name, path);
        }
    }
    Ok(found)
}
