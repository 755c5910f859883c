//! Debian's kernels: the newest of a series is fetched as a package, unpacked without being installed, and its image is
//! unpacked once more, for under emulation the kernel's own unpacking takes longer than the rest of the boot.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::sh;

/// A stable series of Linux that Debian packages.
pub(super) struct Series {
    pub(super) name: &'static str,
}

/// A kernel that can be booted.
pub(super) struct Kernel {
    pub(super) version: String,
    /// Uncompressed ELF image, for a boot by PVH.
    pub(super) image: PathBuf,
    /// Module files in the order in which they can be loaded.
    pub(super) modules: Vec<PathBuf>,
}

/// What tests want that the cloud kernels do not have built in: pairs of network devices, block devices, queueing, roots of
/// images.
const MODULES: &[&str] = &[
    "veth",
    "dummy",
    "loop",
    "null_blk",
    "overlay",
    "sch_fq",
    "sch_ingress",
    "sch_netem",
    "sch_tbf",
    "mq_deadline",
    "cls_bpf",
    "virtio_pci",
    "virtio_blk",
];

/// The newest kernel of a series, from the cache under `folder` or from Debian.
pub(super) fn provide(series: &Series, folder: &Path) -> Result<Kernel> {
    let home = folder.join(format!("linux-{}", series.name));
    let unpacked = home.join("unpacked");
    let image = home.join("vmlinux");
    if !image.exists() {
        let package = newest_package(series)?;
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&unpacked).with_context(|| format!("cannot make {}", unpacked.display()))?;
        sh::run(Command::new("apt-get").args(["-qq", "download", &package]).current_dir(&home))?;
        let deb = file_in(&home, |name| name.ends_with(".deb"))?;
        sh::run(Command::new("dpkg").arg("-x").arg(&deb).arg(&unpacked))?;
        let compressed = file_in(&unpacked.join("boot"), |name| name.starts_with("vmlinuz-"))?;
        // Written last and at once: that it is there says that all is.
        let fresh = home.join("vmlinux.new");
        fs::write(&fresh, uncompressed(&compressed)?)?;
        fs::rename(&fresh, &image)?;
        fs::remove_file(&deb)?;
    }
    let versions = unpacked.join("lib/modules");
    let version_folder = file_in(&versions, |_| true)?;
    let version = version_folder.file_name().context("a version")?.to_string_lossy().into_owned();
    let modules = modules(&version_folder, &home.join("modules"))?;
    Ok(Kernel { version, image, modules })
}

/// The signed cloud image with the highest version. Names look like `linux-image-6.12.117+deb12-cloud-amd64`.
fn newest_package(series: &Series) -> Result<String> {
    let pattern = format!("^linux-image-{}\\.[0-9][^ ]*-cloud-amd64$", series.name.replace('.', "\\."));
    let found = || sh::output(Command::new("apt-cache").args(["search", "--names-only", &pattern]));
    let mut list = found()?;
    if list.trim().is_empty() && sh::is_root() {
        sh::run(Command::new("apt-get").args(["-qq", "update"]))?;
        list = found()?;
    }
    let names = list.lines().filter_map(|line| line.split(' ').next());
    let newest = names.max_by_key(|name| numbers(name));
    newest.map(ToOwned::to_owned).with_context(|| {
        format!("Debian's package lists name no cloud kernel of series {} (apt-get update?)", series.name)
    })
}

/// The numbers in a name, in order: how versions compare.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|it: char| !it.is_ascii_digit()).filter_map(|it| it.parse().ok()).collect()
}

fn file_in(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = entries.flatten().map(|it| it.path());
    paths
        .find(|path| path.file_name().is_some_and(|name| wanted(&name.to_string_lossy())))
        .with_context(|| format!("{} lacks what was looked for", folder.display()))
}

/// The ELF image inside a bzImage: whatever behind a compressor's magic unpacks to ELF (as the kernel's own
/// scripts/extract-vmlinux finds it).
fn uncompressed(bz_image: &Path) -> Result<Vec<u8>> {
    const FORMATS: [(&[u8], &str); 3] =
        [(b"\x28\xb5\x2f\xfd", "zstd"), (b"\x02\x21\x4c\x18", "lz4"), (b"\xfd7zXZ\0", "xz")];
    let bytes = fs::read(bz_image).with_context(|| format!("cannot read {}", bz_image.display()))?;
    for (magic, program) in FORMATS {
        for at in (0..bytes.len().saturating_sub(magic.len())).filter(|at| bytes[*at..].starts_with(magic)) {
            let plain = through(program, &bytes[at..])?;
            if plain.starts_with(b"\x7fELF") {
                return Ok(plain);
            }
        }
    }
    bail!("{} holds no kernel packed by zstd, lz4 or xz", bz_image.display())
}

/// Unpacks. What follows the packed part is complained of by the program and left alone.
fn through(program: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new(program)
        .args(["-dc", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut stdin = child.stdin.take().expect("asked for");
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &bytes));
    let output = child.wait_with_output()?;
    // It may have stopped reading when its part was done.
    let _ = feeder.join();
    Ok(output.stdout)
}

/// The files of [`MODULES`] and of what they depend on, unpacked. What the kernel has built in has no file.
fn modules(version_folder: &Path, unpacked: &Path) -> Result<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    index(&version_folder.join("kernel"), &mut files)?;
    fs::create_dir_all(unpacked).with_context(|| format!("cannot make {}", unpacked.display()))?;
    let mut ordered = Vec::new();
    for name in MODULES {
        add_module(name, &files, unpacked, &mut ordered)?;
    }
    Ok(ordered)
}

fn add_module(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    unpacked: &Path,
    ordered: &mut Vec<PathBuf>,
) -> Result<()> {
    let plain = unpacked.join(format!("{name}.ko"));
    let Some(file) = files.get(name) else { return Ok(()) };
    if ordered.contains(&plain) {
        return Ok(());
    }
    if !plain.exists() {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let packed = file.extension().is_some_and(|it| it == "xz");
        fs::write(&plain, if packed { through("xz", &bytes)? } else { bytes })?;
    }
    for needed in depends(&fs::read(&plain)?) {
        add_module(&needed, files, unpacked, ordered)?;
    }
    ordered.push(plain);
    Ok(())
}

/// What a module says it depends on: a `depends=a,b` string in its `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|it| it == KEY) else { return Vec::new() };
    let rest = &module[at + KEY.len()..];
    let text = String::from_utf8_lossy(&rest[..rest.iter().position(|it| *it == 0).unwrap_or(0)]);
    text.split(',').filter(|it| !it.is_empty()).map(|it| it.replace('-', "_")).collect()
}

fn index(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for path in entries.flatten().map(|it| it.path()) {
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some((name, _)) = path.file_name().and_then(|it| it.to_str()?.split_once(".ko")) {
            files.insert(name.replace('-', "_"), path.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_highest_number() {
        let names = ["linux-image-6.12.9+deb12-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64"];
        assert_eq!(names.into_iter().max_by_key(|it| numbers(it)), Some(names[1]));
        assert!(numbers("linux-image-6.1.0-56-cloud") > numbers("linux-image-6.1.0-9-cloud"));
    }

    #[test]
    fn a_modules_needs_are_read_from_its_file() {
        assert_eq!(depends(b"xx\0depends=virtio-ring,virtio\0retpoline=Y\0"), ["virtio_ring", "virtio"]);
        assert_eq!(depends(b"xx\0depends=\0"), [""; 0]);
        assert_eq!(depends(b"nothing"), [""; 0]);
    }
}
