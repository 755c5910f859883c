//! Which devices containers may use: those without which programs do not work, and what the operator adds. Decides; looks at
//! nothing.

use crate::bpf::hold::{Kind, Rule};

/// All that a container may open or make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceList(Vec<Rule>);

const READ_WRITE: u32 = Rule::READ | Rule::WRITE;

/// Numbers of Linux' Documentation/admin-guide/devices.txt: null, zero, full, random, urandom, tty, ptmx.
const USUAL: [(u32, u32); 7] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];
/// The terminals that ptmx makes.
const PTS: u32 = 136;

impl DeviceList {
    /// As in Mesos, but for consoles and tun. To make a device's file is harmless where it cannot be opened, and who unpacks a
    /// file system has to.
    pub fn usual() -> Self {
        let make = [Kind::Char, Kind::Block].map(|kind| Rule {
            kind,
            major: None,
            minor: None,
            access: Rule::MKNOD,
        });
        let one = |(major, minor)| Rule {
            kind: Kind::Char,
            major: Some(major),
            minor: Some(minor),
            access: READ_WRITE,
        };
        let pts = Rule { kind: Kind::Char, major: Some(PTS), minor: None, access: READ_WRITE };
        // The most wanted first: rules are tried in their order.
        Self(USUAL.into_iter().map(one).chain([pts]).chain(make).collect())
    }

    pub fn and(mut self, more: &[Rule]) -> Self {
        self.0.extend_from_slice(more);
        self
    }

    pub fn rules(&self) -> &[Rule] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_ones_are_not_consoles_disks_or_the_kernels_log() {
        let list = DeviceList::usual();
        let allows = |kind, access: u32, major, minor| {
            let wanted = (access << 16) | kind as u32;
            list.rules().iter().any(|rule| Rule::allows(rule.words(), wanted, major, minor))
        };
        for (major, minor) in USUAL.into_iter().chain([(136, 17)]) {
            assert!(allows(Kind::Char, READ_WRITE, major, minor), "{major}:{minor}");
        }
        for (kind, major, minor) in
            [(Kind::Char, 1, 11), (Kind::Char, 5, 1), (Kind::Block, 7, 0), (Kind::Char, 1, 1)]
        {
            assert!(!allows(kind, Rule::READ, major, minor), "{major}:{minor}");
            assert!(allows(kind, Rule::MKNOD, major, minor), "{major}:{minor}");
        }
    }
}
