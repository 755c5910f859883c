//! What a privileged test may need, and what happens where it is missing: the one place that skips.

use std::path::{Path, PathBuf};

/// Something of the machine that a test cannot do without.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    Root,
    /// Kernel type information, for BPF programs.
    Btf,
    /// A cgroup v2 hierarchy, unified or beside v1.
    Cgroup2,
    /// A program that makes network namespaces usable, or the like.
    Program(&'static str),
}

impl Need {
    /// Why it is missing; `None` if it is there.
    fn missing(self) -> Option<String> {
        match self {
            Self::Root if !nix::unistd::Uid::effective().is_root() => Some("not root".to_owned()),
            Self::Btf if !Path::new("/sys/kernel/btf/vmlinux").exists() => {
                Some("no /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF)".to_owned())
            }
            Self::Cgroup2 if cgroup2_root().is_none() => Some("no cgroup v2 hierarchy is mounted".to_owned()),
            Self::Program(name) if program(name).is_none() => Some(format!("no `{name}` on the PATH")),
            _ => None,
        }
    }
}

/// How many times longer than elsewhere things may take here: an emulated machine says so (`cargo xtask vm`). What multiplies
/// deadlines, and nothing else: no test may pass by it that does not pass without.
pub fn slowdown() -> u32 {
    let said = std::env::var("INGOT_TEST_SLOWDOWN").ok();
    said.map_or(1, |times| times.parse().expect("INGOT_TEST_SLOWDOWN is a number"))
}

/// Where that program is, if it is on the PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Whether a test can run. If not it has been said why, and the test is to return; with `REQUIRE=all` this panics instead.
pub fn met(test: &str, needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
    missing.is_empty() || skip(test, &missing.join("; "))
}

/// Skips a test for a reason found later. Always `false`, for `return`ing on.
pub fn skip(test: &str, reason: &str) -> bool {
    assert!(
        std::env::var("REQUIRE").as_deref() != Ok("all"),
        "{test} cannot run here and REQUIRE=all: {reason}"
    );
    // Past the test harness, which keeps what a passing test prints to itself.
    let line = format!("skipped {test}: {reason}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), line.as_bytes());
    false
}

/// Where the v2 hierarchy is mounted: alone, or beside v1.
pub fn cgroup2_root() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let of = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        tail.starts_with("cgroup2 ").then(|| head.split(' ').nth(4).map(PathBuf::from))?
    };
    mounts.lines().find_map(of)
}
