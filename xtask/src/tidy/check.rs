//! The checks of tidy: each takes the tree and says which rules of the table it breaks. No file is read here.

use super::names::{self, Named};
use super::tree::{File, Package, Tree};
use super::{
    BANNED_WORDS, CORE_CRATES, CORES, CORES_MAY_NAME, EDGES, GENERATED, HOMES, LINES_MAX,
    LINES_WITHOUT_REASON_MAX, LONG_BECAUSE, NOT_IN_CORES, SHELLS_IN_CORES, Violation,
};

/// Every broken rule, sorted by place.
pub(crate) fn all(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in &tree.packages {
        edges(package, &mut violations);
    }
    let tests = test_files(&tree.files);
    for file in &tree.files {
        machine_paths(file, &tree.machine_paths, &mut violations);
        if file.path.ends_with("Cargo.toml") {
            inherits(file, &mut violations);
        }
        if file.path.ends_with(".rs") && !lies_in(&file.path, GENERATED) {
            head(file, &mut violations);
            size(file, &mut violations);
            banned_words(file, &mut violations);
            let paths = names::paths(&file.text);
            homes(file, &paths, &mut violations);
            if !lies_in(&file.path, &tests.iter().map(String::as_str).collect::<Vec<_>>()) {
                cores(file, &paths, &tree.packages, &mut violations);
            }
        }
    }
    violations.sort();
    violations
}

fn edges(package: &Package, violations: &mut Vec<Violation>) {
    let place = format!("{}/Cargo.toml", package.folder);
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
        violations
            .push(Violation { place, message: format!("package `{}` has no row in EDGES", package.name) });
        return;
    };
    let ours = |name: &str| EDGES.iter().any(|(it, _)| *it == name);
    for dependency in &package.dependencies {
        if ours(dependency) && !allowed.contains(&dependency.as_str()) {
            let message = format!("`{}` may not depend on `{dependency}`", package.name);
            violations.push(Violation { place: place.clone(), message });
        }
    }
}

fn machine_paths(file: &File, prefixes: &[String], violations: &mut Vec<Violation>) {
    if file.path == "Cargo.lock" {
        return;
    }
    for (number, line) in file.text.lines().enumerate() {
        if let Some(prefix) = prefixes.iter().find(|prefix| line.contains(prefix.as_str())) {
            let place = format!("{}:{}", file.path, number + 1);
            violations.push(Violation { place, message: format!("a path of one machine: {prefix}…") });
        }
    }
}

/// A member's manifest takes lints, edition and licence from the root, and names no version of its own.
fn inherits(file: &File, violations: &mut Vec<Violation>) {
    let mut lacks = |message: &str| {
        violations.push(Violation { place: file.path.clone(), message: message.to_owned() });
    };
    if file.text.contains("[workspace]") {
        return; // The root itself, or a workspace apart (the BPF programs, whose toolchain is another).
    }
    if !file.text.contains("[lints]\nworkspace = true") {
        lacks("does not inherit the lints: [lints] workspace = true");
    }
    for key in ["edition", "license", "rust-version", "version"] {
        if !file.text.contains(&format!("\n{key}.workspace = true")) {
            lacks(&format!("does not inherit `{key}` from the workspace"));
        }
    }
}

fn head(file: &File, violations: &mut Vec<Violation>) {
    if !file.text.starts_with("//! ") {
        let message = "does not begin with `//!` and what lives here".to_owned();
        violations.push(Violation { place: format!("{}:1", file.path), message });
    }
}

fn size(file: &File, violations: &mut Vec<Violation>) {
    let lines = file.text.lines().count();
    let mut message = None;
    if lines > LINES_MAX {
        message = Some(format!("{lines} lines; {LINES_MAX} is the end: split it"));
    } else if lines > LINES_WITHOUT_REASON_MAX
        && !file.text.lines().any(|line| line.starts_with(LONG_BECAUSE))
    {
        message = Some(format!("{lines} lines: split it, or say `{LONG_BECAUSE} …` in its head"));
    }
    if let Some(message) = message {
        violations.push(Violation { place: file.path.clone(), message });
    }
}

fn banned_words(file: &File, violations: &mut Vec<Violation>) {
    for (folder, banned) in BANNED_WORDS.iter().filter(|(folder, _)| lies_in(&file.path, &[folder])) {
        for (word, line) in names::words(&file.text) {
            if banned.contains(&word.as_str()) {
                let message = format!("`{word}` may not be used in {folder}");
                violations.push(Violation { place: format!("{}:{line}", file.path), message });
            }
        }
    }
}

fn homes(file: &File, paths: &[Named], violations: &mut Vec<Violation>) {
    for named in paths {
        let Some((name, folders)) = HOMES.iter().find(|(name, _)| *name == named.segments[0]) else {
            continue;
        };
        if !lies_in(&file.path, folders) {
            let message = format!("`{name}` is named only in {}", folders.join(", "));
            violations.push(Violation { place: format!("{}:{}", file.path, named.line), message });
        }
    }
}

/// Files and folders that are compiled for tests only.
fn test_files(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|it| it.path.ends_with(".rs")) {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let folder = match name {
            "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
            _ => file.path.trim_end_matches(".rs").to_owned(),
        };
        for module in names::test_modules(&file.text) {
            found.push(format!("{folder}/{module}.rs"));
            found.push(format!("{folder}/{module}"));
        }
    }
    found
}

fn cores(file: &File, paths: &[Named], packages: &[Package], violations: &mut Vec<Violation>) {
    if !lies_in(&file.path, CORES) || lies_in(&file.path, SHELLS_IN_CORES) {
        return;
    }
    let package = packages.iter().find(|it| lies_in(&file.path, &[&it.folder]));
    for named in paths {
        let path = named.segments.join("::");
        let message = match named.segments[0].as_str() {
            "std" | "core" | "alloc" => forbidden_std(&path).map(|it| format!("a core may not name `{it}`")),
            "crate" | "super" => shell_named(&file.path, &named.segments),
            name => package.and_then(|it| foreign_named(it, name, &path)),
        };
        if let Some(message) = message {
            violations.push(Violation { place: format!("{}:{}", file.path, named.line), message });
        }
    }
}

/// Also a module that leads to something forbidden: `use std::time;` would hide `time::Instant` from this check.
fn forbidden_std(path: &str) -> Option<&'static str> {
    let under = |whole: &str, part: &str| whole == part || whole.starts_with(&format!("{part}::"));
    let leads = |it: &str| path.contains("::") && under(it, path);
    NOT_IN_CORES.iter().find(|it| under(path, it) || leads(it)).copied()
}

/// A path into this crate must end in another core. `crate::A` with a capital is an item of the crate's root.
fn shell_named(file: &str, segments: &[String]) -> Option<String> {
    let (package, inside) = file.split_once("/src/")?;
    let mut module: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
    if matches!(module.last(), Some(&("mod" | "lib" | "main"))) {
        module.pop();
    }
    let supers = segments.iter().take_while(|it| *it == "super").count();
    let rest = if segments[0] == "crate" {
        module.clear();
        &segments[1..]
    } else {
        module.truncate(module.len().saturating_sub(supers));
        &segments[supers..]
    };
    let modules = rest.iter().map(String::as_str).take_while(|it| it.starts_with(char::is_lowercase));
    module.extend(modules);
    let target = format!("{package}/src/{}", module.join("/"));
    let names = |places: &[&str]| {
        let module = |it: &&str| it.trim_end_matches(".rs").to_owned();
        places.iter().map(module).any(|it| target == it || target.starts_with(&format!("{it}/")))
    };
    // A module that only leads to cores and shells alike, such as the crate's root, is nobody's.
    let leads = CORES.iter().any(|it| it.starts_with(&target));
    let allowed = names(CORES) && !names(SHELLS_IN_CORES) || names(CORES_MAY_NAME) || leads;
    (!allowed).then(|| format!("a core may not name the shell `{}`", segments.join("::")))
}

fn foreign_named(package: &Package, name: &str, path: &str) -> Option<String> {
    let foreign = package.dependencies.iter().any(|it| it.replace('-', "_") == name);
    let allowed = |it: &&str| path == *it || path.starts_with(&format!("{it}::"));
    (foreign && !CORE_CRATES.iter().any(allowed)).then(|| format!("a core may not name `{path}`"))
}

/// Whether a path is one of these files or lies in one of these folders.
fn lies_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| {
        path.strip_prefix(place)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || place.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"x\"\nversion.workspace = true\nedition.workspace = true\n\
                            rust-version.workspace = true\nlicense.workspace = true\n\n[lints]\nworkspace = true\n";

    /// Judges one made-up file in a tree whose packages are `master` and `agent`.
    #[track_caller]
    fn check(path: &str, text: &str, expect: &[&str]) {
        let package = |name: &str, dependencies: &[&str]| Package {
            name: name.to_owned(),
            folder: name.to_owned(),
            dependencies: dependencies.iter().map(|it| (*it).to_owned()).collect(),
        };
        let tree = Tree {
            files: vec![File { path: path.to_owned(), text: text.to_owned() }],
            packages: vec![
                package("master", &["tokio", "model", "mio"]),
                package("agent", &["aya", "io-uring"]),
            ],
            machine_paths: vec!["/somewhere/".to_owned()],
        };
        let found: Vec<String> =
            all(&tree).into_iter().map(|it| format!("{}: {}", it.place, it.message)).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn a_file_says_what_lives_in_it() {
        check("master/src/a.rs", "//! What.\n", &[]);
        check(
            "master/src/a.rs",
            "use b::c;\n",
            &["master/src/a.rs:1: does not begin with `//!` and what lives here"],
        );
        check("capnp/generated/a.rs", "use b::c;\n", &[]);
    }

    #[test]
    fn a_long_file_gives_a_reason_and_a_longer_one_fails() {
        let lines = |count| "//! What.\n".repeat(count);
        check("api/src/a.rs", &lines(600), &[]);
        let told = "api/src/a.rs: 601 lines: split it, or say `//! Long because …` in its head";
        check("api/src/a.rs", &lines(601), &[told]);
        check("api/src/a.rs", &format!("{}//! Long because it is one table.\n", lines(600)), &[]);
        let told = "api/src/a.rs: 1001 lines; 1000 is the end: split it";
        check("api/src/a.rs", &format!("{}//! Long because it is one table.\n", lines(1_000)), &[told]);
    }

    #[test]
    fn a_foreign_crate_has_one_home() {
        check("master/src/net/poll.rs", "//! A.\nuse mio::Poll;\n", &[]);
        let told = "master/src/http/poll.rs:2: `mio` is named only in master/src/net";
        check("master/src/http/poll.rs", "//! A.\nuse mio::Poll;\n", &[told]);
        check(
            "master/src/network.rs",
            "//! A.\ntype A = mio::Token;\n",
            &["master/src/network.rs:2: `mio` is named only in master/src/net"],
        );
    }

    #[test]
    fn a_core_neither_does_nor_looks() {
        let path = "master/src/cluster/agents.rs";
        check(
            path,
            "//! A.\nuse std::collections::BTreeMap;\nuse std::time::Duration;\nuse model::Role;\n",
            &[],
        );
        check(path, "//! A.\nuse super::input::Input;\nuse crate::cluster::effect::Effect;\n", &[]);
        check(path, "//! A.\nuse crate::allocator::policy::Drf;\n", &[]);
        check(
            path,
            "//! A.\nuse std::{fs, time::{Duration, Instant}};\n",
            &[
                "master/src/cluster/agents.rs:2: a core may not name `std::fs`",
                "master/src/cluster/agents.rs:2: a core may not name `std::time::Instant`",
            ],
        );
        check(
            path,
            "//! A.\nuse std::time;\n",
            &["master/src/cluster/agents.rs:2: a core may not name `std::time::Instant`"],
        );
        check(
            path,
            "//! A.\nuse super::super::net::Session;\nuse crate::http;\n",
            &[
                "master/src/cluster/agents.rs:2: a core may not name the shell `super::super::net::Session`",
                "master/src/cluster/agents.rs:3: a core may not name the shell `crate::http`",
            ],
        );
        check(
            path,
            "//! A.\nfn f() { tokio::spawn(x) }\n",
            &["master/src/cluster/agents.rs:2: a core may not name `tokio::spawn`"],
        );
        check(
            path,
            "//! A.\nuse crate::usage::Row;\nuse crate::allocator::worker::Worker;\n",
            &[
                "master/src/cluster/agents.rs:3: a core may not name the shell `crate::allocator::worker::Worker`",
            ],
        );
        check(path, "//! A.\n#[cfg(test)]\nmod tests { use std::fs; }\n", &[]);
    }

    #[test]
    fn a_file_for_tests_only_may_look() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: format!("//! A.\n{text}") };
        let files = vec![
            file("master/src/cluster/mod.rs", "#[cfg(test)]\nmod scenes;\n"),
            file("master/src/cluster/scenes.rs", "use std::fs;\n"),
            file("master/src/cluster/scenes/deep.rs", "use std::fs;\n"),
            file("master/src/cluster/scenery.rs", "use std::fs;\n"),
        ];
        let found = all(&Tree { files, ..Tree::default() });
        assert_eq!(
            found.iter().map(|it| it.place.as_str()).collect::<Vec<_>>(),
            ["master/src/cluster/scenery.rs:2"]
        );
    }

    #[test]
    fn the_allocator_waits_for_no_lock() {
        let told = "master/src/allocator/ring.rs:2: `Mutex` may not be used in master/src/allocator";
        check("master/src/allocator/ring.rs", "//! A Mutex is not used.\nuse parking_lot::Mutex;\n", &[told]);
    }

    #[test]
    fn manifests_inherit() {
        check("master/Cargo.toml", MANIFEST, &[]);
        check(
            "master/Cargo.toml",
            &MANIFEST.replace("\n[lints]\nworkspace = true\n", ""),
            &["master/Cargo.toml: does not inherit the lints: [lints] workspace = true"],
        );
        check(
            "master/Cargo.toml",
            &MANIFEST.replace("edition.workspace = true", "edition = \"2021\""),
            &["master/Cargo.toml: does not inherit `edition` from the workspace"],
        );
    }

    #[test]
    fn no_file_names_the_machine_it_was_written_on() {
        let told = "README.md:2: a path of one machine: /somewhere/…";
        check("README.md", "# A\nrun /somewhere/ingot\n", &[told]);
    }

    #[test]
    fn crates_depend_downwards() {
        let package = |name: &str, on: &str| Package {
            name: name.to_owned(),
            folder: name.to_owned(),
            dependencies: vec![on.to_owned()],
        };
        let packages = vec![package("master", "agent"), package("agent", "model"), package("extra", "model")];
        let found = all(&Tree { packages, ..Tree::default() });
        let found: Vec<&str> = found.iter().map(|it| it.message.as_str()).collect();
        assert_eq!(found, ["package `extra` has no row in EDGES", "`master` may not depend on `agent`"]);
    }
}
