//! Cgroup v2: what a container may use, told to the kernel, and everything it forked found again. `knobs` and `extras` decide
//! the values; `mounts` reads where things are; `hierarchy` and `container` do, over cgroups-rs, at any root.
//! Mounts of cgroup v1 are never touched.

pub mod container;
mod divide;
pub mod extras;
pub mod hierarchy;
pub mod knobs;
pub mod met;
pub mod mounts;
pub mod squeeze;

use crate::bpf::hold::HoldError;
use crate::cgroup::knobs::Controller;
use crate::containerizer::service::message;
use std::path::PathBuf;

/// Whether the kernel holds containers to their share of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enforced {
    Yes,
    No { reason: String },
}

impl Enforced {
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }
}

/// What is enforced on this host and, where something is not, why. Found out once, at the agent's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforcement {
    pub cpu: Enforced,
    pub memory: Enforced,
    pub pids: Enforced,
    pub io: Enforced,
    pub cpuset: Enforced,
    pub hugetlb: Enforced,
    pub devices: Enforced,
    pub egress: Enforced,
}

impl Enforcement {
    /// What came of enabling each controller.
    fn by(enable: impl Fn(Controller) -> Result<(), String>) -> Self {
        let enforced = |controller| match enable(controller) {
            Ok(()) => Enforced::Yes,
            Err(reason) => Enforced::No { reason },
        };
        Self {
            cpu: enforced(Controller::Cpu),
            memory: enforced(Controller::Memory),
            pids: enforced(Controller::Pids),
            io: enforced(Controller::Io),
            cpuset: enforced(Controller::Cpuset),
            hugetlb: enforced(Controller::Hugetlb),
            devices: enforced(Controller::Devices),
            egress: enforced(Controller::Egress),
        }
    }

    /// Nothing is, for one reason: there are no cgroups to use.
    pub fn none(reason: &str) -> Self {
        Self::by(|_| Err(reason.to_owned()))
    }

    /// What came of trying the programs that hold devices and egress.
    pub fn tried(&mut self, [devices, egress]: [Result<(), HoldError>; 2]) {
        let enforced = |tried| match tried {
            Ok(()) => Enforced::Yes,
            Err(error) => Enforced::No { reason: message(&error) },
        };
        (self.devices, self.egress) = (enforced(devices), enforced(egress));
    }

    pub fn of(&self, controller: Controller) -> &Enforced {
        match controller {
            Controller::Cpu => &self.cpu,
            Controller::Memory => &self.memory,
            Controller::Pids => &self.pids,
            Controller::Io => &self.io,
            Controller::Cpuset => &self.cpuset,
            Controller::Hugetlb => &self.hugetlb,
            Controller::Devices => &self.devices,
            Controller::Egress => &self.egress,
        }
    }

    /// One line for the operator; `None` when everything is enforced that every container has, and what was `asked` for.
    pub fn warning(&self, asked: &[Controller]) -> Option<String> {
        let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
        for &controller in Controller::OF_EACH.iter().chain(asked) {
            if let Enforced::No { reason } = self.of(controller) {
                match by_reason.iter_mut().find(|(r, _)| r == reason) {
                    Some((_, names)) => names.push(controller.as_str()),
                    None => by_reason.push((reason, vec![controller.as_str()])),
                }
            }
        }
        let parts: Vec<_> =
            by_reason.iter().map(|(why, what)| format!("{} ({why})", what.join(", "))).collect();
        (!parts.is_empty()).then(|| format!("limits are not enforced: {}", parts.join("; ")))
    }
}

/// A step on the cgroup tree that failed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("no cgroup2 file system is mounted")]
    NotMounted,
    #[error("create cgroup {}", path.display())]
    Create { path: PathBuf, source: std::io::Error },
    #[error("open cgroup {}", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("cgroup {} is in a threaded subtree, where no container can run", path.display())]
    Threaded { path: PathBuf },
    #[error("write \"{value}\" to {}", path.display())]
    Set { path: PathBuf, value: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("kill everything in cgroup {}", path.display())]
    Kill { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("remove cgroup {}", path.display())]
    Remove { path: PathBuf, source: std::io::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_groups_controllers_by_reason() {
        let none = Enforcement::none("cgroup2 is not mounted");
        let expect = "limits are not enforced: cpu, memory, pids (cgroup2 is not mounted)";
        assert_eq!(none.warning(&[]).as_deref(), Some(expect));
        let some = Enforcement { cpu: Enforced::Yes, ..none };
        let expect = "limits are not enforced: memory, pids, io (cgroup2 is not mounted)";
        assert_eq!(some.warning(&[Controller::Io]).as_deref(), Some(expect));
        let all = Enforcement { memory: Enforced::Yes, pids: Enforced::Yes, ..some };
        assert_eq!(all.warning(&[]), None);
    }
}
