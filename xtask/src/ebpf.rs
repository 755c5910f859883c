//! `cargo xtask ebpf`: agent-ebpf/programs -> agent-ebpf/object/*.bpf.o, committed so that nobody who builds Ingot needs a
//! BPF toolchain. `--check` builds beside the committed objects and fails on a difference.
//!
//! The toolchain is Debian's: its rustc comes with `core` for the BPF target and with the LLVM that bpf-linker loads, so
//! no nightly and no Rust sources are wanted. The same compiler and linker give the same bytes wherever the checkout,
//! the target folder and Cargo's home lie; another compiler does not, so its name is kept beside the object.

use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{needs, sh};

/// How to build.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if the committed object is not what the sources give.
    #[arg(long)]
    pub(crate) check: bool,
}

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const TARGET: &str = "bpfel-unknown-none";
const BPF_LINKER: &str = "0.10.3";
/// Debian 12 and later. The LLVM tools carry the version of the LLVM that this rustc is built with.
const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "llvm-22"];

/// What measures and what holds to limits: each a program of agent-ebpf, and its object from the workspace's root.
const OBJECTS: [(&str, &str); 2] =
    [("ingot-bpf", "agent-ebpf/object/ingot.bpf.o"), ("ingot-bpf-hold", "agent-ebpf/object/hold.bpf.o")];
/// Which toolchain made the objects.
const TOOLCHAIN: &str = "agent-ebpf/object/toolchain";

/// Where the tools are.
struct Toolchain {
    /// First line of `rustc --version`.
    rustc: String,
    strip: PathBuf,
    /// bpf-linker with the right LLVM.
    linker: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}\nbpf-linker {BPF_LINKER}", self.rustc)
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let root = sh::root();
    let Some(tools) = toolchain()? else {
        if sh::everything_required() || !args.check {
            bail!("the BPF programs cannot be built here");
        }
        sh::say("agent-ebpf/object not checked");
        return Ok(());
    };
    let made_by = fs::read_to_string(root.join(TOOLCHAIN)).unwrap_or_default();
    let fresh = build(&root, &tools)?;
    if args.check {
        let here = tools.to_string();
        return fresh.iter().try_for_each(|(object, bytes)| check(&root, object, bytes, &made_by, &here));
    }
    let write = |path: &str, bytes: &[u8]| {
        fs::write(root.join(path), bytes).with_context(|| format!("cannot write {path}"))
    };
    for (object, bytes) in &fresh {
        write(object, bytes)?;
        sh::say(&format!("{object}: {} bytes", bytes.len()));
    }
    write(TOOLCHAIN, tools.to_string().as_bytes())
}

fn check(root: &Path, object: &str, fresh: &[u8], made_by: &str, here: &str) -> Result<()> {
    let committed = fs::read(root.join(object)).with_context(|| format!("cannot read {object}"))?;
    if committed == fresh {
        return Ok(());
    }
    if made_by == here {
        bail!("{object} is not what the sources give; run `cargo xtask ebpf`");
    }
    let (made_by, here) = (one_line(made_by), one_line(here));
    let message =
        format!("{object} was made by {made_by}; {here} makes other bytes, so it cannot be checked");
    if sh::everything_required() {
        bail!("{message}; run `cargo xtask ebpf` with the toolchain that CI has");
    }
    sh::say(&message);
    Ok(())
}

fn one_line(toolchain: &str) -> String {
    toolchain.lines().collect::<Vec<_>>().join(", ")
}

/// Builds the objects, without debug sections but with BTF.
fn build(root: &Path, tools: &Toolchain) -> Result<Vec<(&'static str, Vec<u8>)>> {
    // Apart from the other target folder: another compiler would only drive out what lies there.
    let target = sh::target_dir()?.join("bpf");
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    // Nothing of where things lie may reach the object: the crates' names and the debug information have paths.
    let flags = format!(
        "-C link-arg=--btf --remap-path-prefix={}=/ingot --remap-path-prefix={}=/cargo",
        root.display(),
        cargo_home.join("registry/src").display()
    );
    let mut cargo = Command::new(CARGO);
    cargo
        .current_dir(root)
        .args(["build", "--quiet", "--locked", "--profile", "bpf", "--target", TARGET])
        .args(["--package", "agent-ebpf", "--features", "programs"])
        .args(OBJECTS.iter().flat_map(|(program, _)| ["--bin", *program]))
        .env("RUSTC", RUSTC)
        // aya-ebpf uses inline assembly of the BPF target, which is unstable.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &tools.linker)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS", flags);
    // What the user has set for other builds, and what the cargo that runs us has.
    for name in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTUP_TOOLCHAIN",
    ] {
        cargo.env_remove(name);
    }
    sh::run(&mut cargo)?;
    let strip = |(program, object): (&str, &'static str)| {
        let stripped = target.join(format!("{program}.o"));
        let linked = target.join(TARGET).join("bpf").join(program);
        sh::run(Command::new(&tools.strip).arg("-g").arg("-o").arg(&stripped).arg(&linked))?;
        let bytes = fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
        Ok((object, bytes))
    };
    OBJECTS.into_iter().map(strip).collect()
}

/// Finds the toolchain, and as root on Debian installs it. `None`, after saying what is missing, where it cannot be had.
fn toolchain() -> Result<Option<Toolchain>> {
    if compiler().is_none() && sh::is_root() && Path::new("/etc/debian_version").exists() {
        needs::install(PACKAGES)?;
    }
    let Some((rustc, llvm, strip)) = compiler() else {
        eprintln!(
            "Building the BPF programs needs rustc with the {TARGET} target, and LLVM's tools of its version:"
        );
        eprintln!("  sudo apt-get install {}", PACKAGES.join(" "));
        return Ok(None);
    };
    let linker = linker(&llvm)?;
    Ok(Some(Toolchain { rustc, strip, linker }))
}

/// The compiler's version, the LLVM library it is built with, and llvm-strip of the same version.
fn compiler() -> Option<(String, PathBuf, PathBuf)> {
    let version = sh::output(Command::new(RUSTC).arg("-vV")).ok()?;
    let libs = sh::output(Command::new(RUSTC).args(["--print", "target-libdir", "--target", TARGET])).ok()?;
    let has_core = fs::read_dir(libs.trim()).ok()?.flatten().any(|it| {
        let name = it.file_name();
        name.to_string_lossy().starts_with("libcore-")
    });
    if !has_core || !Path::new(CARGO).exists() {
        return None;
    }
    let major = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.split('.').next()?;
    let strip = PathBuf::from(format!("/usr/bin/llvm-strip-{major}"));
    let host = version.lines().find_map(|line| line.strip_prefix("host: "))?;
    let machine = host.split('-').next()?;
    let folder = PathBuf::from(format!("/usr/lib/{machine}-linux-gnu"));
    let prefix = format!("libLLVM.so.{major}");
    let llvm = fs::read_dir(&folder)
        .ok()?
        .flatten()
        .map(|it| it.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))?;
    strip.exists().then(|| (version.lines().next().unwrap_or_default().to_owned(), llvm, strip))
}

/// bpf-linker, built once a machine and kept in the user's cache, and a script that shows it the one LLVM to load: the
/// system's library folder may hold older ones too.
fn linker(llvm: &Path) -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    let home = cache.join("ingot").join(format!("bpf-linker-{BPF_LINKER}"));
    let program = home.join("bin/bpf-linker");
    if !program.exists() {
        let mut install = sh::cargo();
        install
            .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--debug", "--root"])
            .arg(&home)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env_remove("CARGO_TARGET_DIR");
        sh::run(&mut install)?;
    }
    let libs = home.join("llvm");
    fs::create_dir_all(&libs).with_context(|| format!("cannot make {}", libs.display()))?;
    let link = libs.join("libLLVM.so");
    if fs::read_link(&link).ok().as_deref() != Some(llvm) {
        let _ = fs::remove_file(&link);
        symlink(llvm, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    let script = home.join("link");
    let text =
        format!("#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n", libs.display(), program.display());
    fs::write(&script, text).with_context(|| format!("cannot write {}", script.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", script.display()))?;
    Ok(script)
}
