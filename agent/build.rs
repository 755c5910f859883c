//! Compiles init, the first process of every container (`init/main.rs`), which the agent carries in itself: a static program
//! without a standard library, which cargo could not make beside this package's others (another panic strategy, other
//! arguments for the linker, nothing to test on the host).

use std::path::PathBuf;
use std::process::Command;

/// No start files and no libraries: it has its own `_start`. No relocations, hence no page that differs from the file's; no
/// gaps between segments, no notes: the whole program is two pages.
const LINKER: [&str; 5] = [
    "-nostartfiles",
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,--build-id=none,--no-eh-frame-hdr,-z,noseparate-code,-z,norelro",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=init");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let output = PathBuf::from(variable("OUT_DIR")).join("ingot-init");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-name", "ingot_init", "--crate-type", "bin", "init/main.rs"]);
    rustc.args(["-C", "panic=abort", "-C", "opt-level=s", "-C", "codegen-units=1", "-C", "strip=symbols"]);
    rustc.args(["-C", "relocation-model=static", "--target", &variable("TARGET")]);
    rustc.args(LINKER.iter().flat_map(|argument| ["-C".to_owned(), format!("link-arg={argument}")]));
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    let status = rustc.arg("-o").arg(&output).status().expect("the compiler can be run again");
    assert!(status.success(), "init cannot be compiled");
}
