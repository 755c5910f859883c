//! What the tests need beside Rust, in one table: how to see that it is there, which Debian packages bring it, and how
//! the Python clients are set up. Knows nothing of which test uses what; tests declare that themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{sh, vm};

/// One thing that some tests or checks need.
struct Need {
    /// What it is for, in the words a reader of a skip needs.
    what: &'static str,
    packages: &'static [&'static str],
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need {
        what: "Python 3 with venv and headers, and a C compiler (the pymesos end-to-end tests)",
        packages: &["python3", "python3-venv", "python3-dev", "gcc", "libc6-dev"],
        present: python_present,
    },
    Need {
        what: "the Cap'n Proto compiler (the freshness check of capnp/generated)",
        packages: &["capnproto"],
        present: || sh::works("capnp", &["--version"]),
    },
    Need {
        what: "a busybox that needs no libraries (the tests of container images are made of it)",
        packages: &["busybox-static"],
        present: || sh::works("busybox", &["true"]),
    },
    Need {
        what: "ZooKeeper and Java (the tests of masters that fail over)",
        packages: &["zookeeper", "default-jre-headless"],
        present: || Path::new("/usr/share/java/zookeeper.jar").exists() && sh::works("java", &["-version"]),
    },
    Need {
        what: "promtool (the end-to-end test of both daemons' pages of metrics)",
        packages: &["prometheus"],
        present: || sh::works("promtool", &["--version"]),
    },
];

/// Not among [`NEEDS`], for only CI wants them whatever it runs.
const MACHINES: &[Need] = &[Need {
    what: "qemu, busybox and what packs kernels (the tests on other kernels)",
    packages: vm::PACKAGES,
    present: || vm::missing_tools().is_empty(),
}];

/// Likewise.
const CALLGRIND: &[Need] = &[Need {
    what: "valgrind (the counts of instructions)",
    packages: &["valgrind"],
    present: || sh::works("valgrind", &["--version"]),
}];

/// The versions that the end-to-end tests are written against. http-parser's C file is too old for Python 3.11 and
/// later, so it is made anew from its Cython source.
const PYMESOS: &str = "pymesos==0.3.15";
const HTTP_PARSER: &str = "http-parser==0.9.0";
const CYTHON: &str = "cython>=3,<4";
/// http-parser's setup.py imports a module that Python 3.12 dropped; this is the part of it that is used.
const IMP_PY: &str = "from importlib.machinery import SourceFileLoader\n\n\n\
                      def load_source(name, path):\n    return SourceFileLoader(name, path).load_module()\n";

fn python_present() -> bool {
    let probe = "import venv, ensurepip, sysconfig, os, sys; \
                 sys.exit(not os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')))";
    sh::works("python3", &["-c", probe]) && sh::works("cc", &["--version"])
}

/// Installs what is missing where it can (root on Debian), else prints what is missing and the command that brings it.
/// With `REQUIRE=all` something that stays missing is an error.
pub(crate) fn provide() -> Result<()> {
    let (missing, packages) = left(NEEDS)?;
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("Missing on this machine; what needs it is skipped:");
    for need in &missing {
        eprintln!("  - {}", need.what);
    }
    eprintln!("Install with: sudo apt-get install {}", packages.join(" "));
    if sh::everything_required() {
        bail!("REQUIRE=all, and something is missing");
    }
    Ok(())
}

/// The same for what `cargo xtask vm` needs, which without it can do nothing.
pub(crate) fn provide_machines() -> Result<()> {
    match left(MACHINES)? {
        (missing, _) if missing.is_empty() => Ok(()),
        (_, packages) => bail!(
            "missing on this machine: {}; sudo apt-get install {}",
            vm::missing_tools().join(", "),
            packages.join(" ")
        ),
    }
}

/// Whether there is valgrind, or could be installed; with `REQUIRE=all` it is an error that there is not.
pub(crate) fn provide_callgrind() -> Result<bool> {
    let (missing, packages) = left(CALLGRIND)?;
    for need in &missing {
        eprintln!("not here, so left out: {}; sudo apt-get install {}", need.what, packages.join(" "));
        if sh::everything_required() {
            bail!("REQUIRE=all, and something is missing");
        }
    }
    Ok(missing.is_empty())
}

/// What is missing after what can be installed here was, and the packages that were wanted for it.
fn left(needs: &'static [Need]) -> Result<(Vec<&'static Need>, Vec<&'static str>)> {
    let mut missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    if !missing.is_empty() && sh::is_root() && Path::new("/etc/debian_version").exists() {
        install(&packages).with_context(|| format!("cannot install {}", packages.join(" ")))?;
        missing.retain(|need| !(need.present)());
    }
    Ok((missing, packages))
}

pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        command
    };
    sh::run(&mut apt(&["-qq", "update"]))?;
    sh::run(apt(&["-qq", "-y", "--no-install-recommends", "install"]).args(packages))
}

/// The Python that has pymesos, made under the target folder the first time. `None` where it cannot be had (no
/// Python); an error where making it fails with `REQUIRE=all`.
pub(crate) fn pymesos_python() -> Result<Option<PathBuf>> {
    if !python_present() {
        return Ok(None);
    }
    let home = sh::target_dir()?.join("needs").join(PYMESOS.replace("==", "-"));
    let python = home.join("bin/python");
    if sh::works(&python.to_string_lossy(), &["-c", "import pymesos"]) {
        return Ok(Some(python));
    }
    match make_venv(&home, &python) {
        Ok(()) => Ok(Some(python)),
        Err(error) if sh::everything_required() => Err(error),
        Err(error) => {
            eprintln!("no {PYMESOS}: {error:#}");
            Ok(None)
        }
    }
}

fn make_venv(home: &Path, python: &Path) -> Result<()> {
    sh::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(home))?;
    let pip = |args: &[&str]| {
        let mut command = Command::new(python);
        command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(args);
        command
    };
    sh::run(&mut pip(&["install", "setuptools<81", "wheel", CYTHON]))?;
    let sources = home.join("src");
    std::fs::create_dir_all(&sources).with_context(|| format!("cannot make {}", sources.display()))?;
    sh::run(
        pip(&["download", "--no-deps", "--no-binary=:all:", "--no-build-isolation", HTTP_PARSER, "-d"])
            .arg(&sources),
    )?;
    let name = HTTP_PARSER.replace("==", "-");
    sh::run(
        Command::new("tar").arg("-xzf").arg(sources.join(format!("{name}.tar.gz"))).arg("-C").arg(&sources),
    )?;
    let unpacked = sources.join(&name);
    let cython = ["-m", "cython", "-2", "http_parser/parser.pyx"];
    sh::run(Command::new(python).args(cython).current_dir(&unpacked).stderr(Stdio::null()))?; // 8 warnings
    let shim = sources.join("shim");
    std::fs::create_dir_all(&shim).with_context(|| format!("cannot make {}", shim.display()))?;
    std::fs::write(shim.join("imp.py"), IMP_PY)
        .with_context(|| format!("cannot write to {}", shim.display()))?;
    sh::run(pip(&["install", "--no-build-isolation"]).arg(&unpacked).env("PYTHONPATH", &shim))?;
    sh::run(&mut pip(&["install", PYMESOS]))
}
