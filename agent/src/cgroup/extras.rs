//! What an operator sets for all containers alike, beyond what tasks ask for: which CPUs and memory nodes they may use, how
//! fast each may read and write a device, how many huge pages each may have. Decides; reads and writes nothing.
//! (Kernel doc: Documentation/admin-guide/cgroup-v2.rst, "Cpuset", "IO", "HugeTLB".)

use super::knobs::Controller;

/// Nothing of it is set where the operator does not say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// For all containers together, in the kernel's form (`0-3,8`); `None`: all that the agent's parent has.
    pub cpuset_cpus: Option<CpuSet>,
    pub cpuset_mems: Option<CpuSet>,
    /// For each container.
    pub io_max: Vec<IoMax>,
    /// For each container.
    pub hugetlb_max: Vec<HugetlbMax>,
}

/// A list of numbers and ranges of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSet(String);

/// A line of `io.max`: how fast one block device may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoMax(String);

/// Most bytes in huge pages of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HugetlbMax {
    /// As the kernel names it: `2MB`, `1GB`.
    size: String,
    bytes: u64,
}

/// A file of a group's directory, and what belongs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub file: String,
    pub value: String,
}

impl Extras {
    /// The controllers that it cannot do without.
    pub fn asked(&self) -> Vec<Controller> {
        let asked = [
            (Controller::Cpuset, self.cpuset_cpus.is_some() || self.cpuset_mems.is_some()),
            (Controller::Io, !self.io_max.is_empty()),
            (Controller::Hugetlb, !self.hugetlb_max.is_empty()),
        ];
        asked.into_iter().filter(|(_, is_asked)| *is_asked).map(|(controller, _)| controller).collect()
    }

    /// For the group above all containers. What is not asked for is set back: an earlier agent may have set it.
    pub fn of_tree(&self) -> [Setting; 2] {
        [("cpuset.cpus", &self.cpuset_cpus), ("cpuset.mems", &self.cpuset_mems)].map(|(file, set)| Setting {
            file: file.to_owned(),
            value: set.as_ref().map_or_else(|| "\n".to_owned(), |set| set.0.clone()),
        })
    }

    /// For the group of each container, with the controller of each.
    pub fn of_container(&self) -> impl Iterator<Item = (Controller, Setting)> {
        let io = |max: &IoMax| Setting { file: "io.max".to_owned(), value: max.0.clone() };
        let hugetlb = |max: &HugetlbMax| Setting {
            file: format!("hugetlb.{}.max", max.size),
            value: max.bytes.to_string(),
        };
        let io = self.io_max.iter().map(move |max| (Controller::Io, io(max)));
        io.chain(self.hugetlb_max.iter().map(move |max| (Controller::Hugetlb, hugetlb(max))))
    }
}

impl CpuSet {
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
        };
        let is_set = text.split(',').all(is_range);
        is_set
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| "expected numbers and ranges (such as '0-3,8')".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl IoMax {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `MAJOR:MINOR`
    pub fn device(&self) -> &str {
        self.0.split_ascii_whitespace().next().unwrap_or_default()
    }

    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = "expected a device and its limits a second (such as '8:0 rbps=1048576 wiops=120')";
        let mut words = text.split_ascii_whitespace();
        let device = words.next().and_then(|device| device.split_once(':'));
        let is_device = device.is_some_and(|(major, minor)| number(major).and(number(minor)).is_some());
        let is_limit = |word: &str| {
            let Some((key, value)) = word.split_once('=') else { return false };
            // The kernel refuses a limit of zero.
            let is_value = value == "max" || number(value).is_some_and(|value| value > 0);
            ["rbps", "wbps", "riops", "wiops"].contains(&key) && is_value
        };
        let limits: Vec<&str> = words.collect();
        let is_good = is_device && !limits.is_empty() && limits.into_iter().all(is_limit);
        is_good.then(|| Self(text.to_owned())).ok_or_else(|| bad.to_owned())
    }
}

impl HugetlbMax {
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || "expected a size of pages and bytes (such as '2MB=67108864')".to_owned();
        let (size, bytes) = text.split_once('=').ok_or_else(bad)?;
        let is_size =
            ["KB", "MB", "GB"].iter().any(|unit| size.strip_suffix(unit).and_then(number).is_some());
        let bytes = number(bytes).filter(|_| is_size).ok_or_else(bad)?;
        Ok(Self { size: size.to_owned(), bytes })
    }
}

/// Digits only: `parse` would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_becomes_files_of_the_tree_and_of_each_container() {
        let extras = Extras {
            cpuset_cpus: CpuSet::parse("0-3,8").ok(),
            cpuset_mems: None,
            io_max: vec![IoMax::parse("8:0 rbps=1048576 wiops=max").expect("good")],
            hugetlb_max: vec![HugetlbMax::parse("2MB=67108864").expect("good")],
        };
        assert_eq!(extras.asked(), [Controller::Cpuset, Controller::Io, Controller::Hugetlb]);
        let shown = |it: &Setting| format!("{} {}", it.file, it.value);
        assert_eq!(extras.of_tree().each_ref().map(shown), ["cpuset.cpus 0-3,8", "cpuset.mems \n"]);
        let of_container: Vec<_> =
            extras.of_container().map(|(controller, it)| (controller, shown(&it))).collect();
        let io = (Controller::Io, "io.max 8:0 rbps=1048576 wiops=max".to_owned());
        assert_eq!(of_container, [io, (Controller::Hugetlb, "hugetlb.2MB.max 67108864".to_owned())]);
        assert!(Extras::default().asked().is_empty());
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_before() {
        for bad in ["", "3-1", "a", "1,", "+1", "1-2-3"] {
            assert!(CpuSet::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "8:0", "8 rbps=1", "8:0 rbps=0", "8:0 rbps=-1", "8:0 speed=1", "8:0 rbps"] {
            assert!(IoMax::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "2MB", "2=1", "MB=1", "2MB=x", "2TB=1"] {
            assert!(HugetlbMax::parse(bad).is_err(), "{bad}");
        }
    }
}
