//! A lent container's group, held back and let go, as the QoS controller wants it. Each is one write of some ten
//! microseconds. Freezing needs no controller; the others do nothing where theirs is not enabled.

use std::path::Path;

use super::CgroupError;

/// Of `cpu.max`, microseconds; the kernel's own default.
const PERIOD_US: u64 = 100_000;

/// The kernel takes no less.
const QUOTA_MIN_US: u64 = 1_000;

fn write(group: &Path, file: &str, value: String) -> Result<(), CgroupError> {
    let path = group.join(file);
    std::fs::write(&path, &value).map_err(|source| CgroupError::Set { path, value, source: source.into() })
}

/// Stops everything in the group and below, or lets it go on. A frozen process can be killed.
pub fn freeze(group: &Path, is_frozen: bool) -> Result<(), CgroupError> {
    write(group, "cgroup.freeze", u8::from(is_frozen).to_string())
}

/// It was told to freeze; it may not have stopped yet.
pub fn is_frozen(group: &Path) -> bool {
    std::fs::read_to_string(group.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1")
}

/// Most CPU time of the group, thousandths of a CPU; `None`: no limit.
pub fn cpu_max(group: &Path, milli: Option<u64>) -> Result<(), CgroupError> {
    let quota_us = milli.map(|milli| (milli * PERIOD_US / 1000).max(QUOTA_MIN_US));
    let quota = quota_us.map_or_else(|| "max".to_owned(), |us| us.to_string());
    write(group, "cpu.max", format!("{quota} {PERIOD_US}"))
}

/// From where on the kernel takes back the group's memory and slows it down; `None`: nowhere.
pub fn memory_high(group: &Path, bytes: Option<u64>) -> Result<(), CgroupError> {
    write(group, "memory.high", bytes.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string()))
}

/// Of the group and those below it. One that is being born may be missing.
pub fn threads(group: &Path) -> Vec<i32> {
    numbers(group, "cgroup.threads")
}

/// As [`threads`].
pub fn processes(group: &Path) -> Vec<i32> {
    numbers(group, "cgroup.procs")
}

fn numbers(group: &Path, file: &str) -> Vec<i32> {
    let text = std::fs::read_to_string(group.join(file)).unwrap_or_default();
    let own = text.lines().filter_map(|line| line.parse().ok());
    let below = std::fs::read_dir(group).into_iter().flatten().flatten();
    let below = below.filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()));
    own.chain(below.flat_map(|entry| numbers(&entry.path(), file))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_the_kernel_wants_them() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let group = folder.path();
        let read = |file: &str| std::fs::read_to_string(group.join(file)).expect("written");
        assert!(!is_frozen(group));
        freeze(group, true).expect("written");
        assert!(is_frozen(group));
        freeze(group, false).expect("written");
        assert_eq!(read("cgroup.freeze"), "0");
        cpu_max(group, Some(1500)).expect("written");
        assert_eq!(read("cpu.max"), "150000 100000");
        cpu_max(group, Some(1)).expect("written");
        assert_eq!(read("cpu.max"), "1000 100000");
        cpu_max(group, None).expect("written");
        assert_eq!(read("cpu.max"), "max 100000");
        memory_high(group, Some(7)).expect("written");
        assert_eq!(read("memory.high"), "7");
        std::fs::write(group.join("cgroup.procs"), "4\n5\n").expect("written");
        std::fs::create_dir(group.join("web")).expect("made");
        std::fs::write(group.join("web/cgroup.procs"), "6\n").expect("written");
        assert_eq!((processes(group), threads(group)), (vec![4, 5, 6], vec![]));
        let error = freeze(&group.join("gone"), true).expect_err("it is not there");
        assert!(error.to_string().starts_with("write \"1\" to "), "{error}");
    }
}
