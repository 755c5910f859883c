//! What the programs that hold containers to limits (`programs/hold`) share with the agent: which devices may be opened, how
//! fast packets may leave, and what became of those that were too many.

/// Names of the maps, of one entry each: every limited container has a program and maps of its own.
pub mod map {
    /// [`EgressLimit`](super::EgressLimit).
    pub const LIMIT: &str = "EGRESS_LIMIT";
    /// [`EgressState`](super::EgressState), one shared copy: the limit is one for all CPUs.
    pub const STATE: &str = "EGRESS_STATE";
}

/// Names of the programs, as the kernel tells them; it keeps 15 characters.
pub mod program {
    pub const DEVICES: &str = "device_list";
    pub const EGRESS: &str = "egress_limit";
}

/// Name of the table of [`Rule`]s, which is completed before the program is loaded and does not change afterwards.
pub const RULES: &str = "DEVICE_RULES";
/// Most rules of a list. Each is two words.
pub const RULES_MAX: usize = 64;

/// Devices that may be used, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub kind: Kind,
    /// `None`: every number.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// A set of [`Rule::MKNOD`], [`Rule::READ`] and [`Rule::WRITE`].
    pub access: u32,
}

/// `BPF_DEVCG_DEV_BLOCK` and `_CHAR` of include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Kind {
    Block = 1,
    Char = 2,
}

impl Rule {
    /// `BPF_DEVCG_ACC_*` of include/uapi/linux/bpf.h.
    pub const MKNOD: u32 = 1;
    pub const READ: u32 = 2;
    pub const WRITE: u32 = 4;

    const ANY_MAJOR: u64 = 1 << 32;
    const ANY_MINOR: u64 = 1 << 33;

    /// As it stands in the table. No rule is zero, which ends the table.
    pub fn words(self) -> [u64; 2] {
        let any = |number: Option<u32>, flag| if number.is_none() { flag } else { 0 };
        let what = (u64::from(self.access) << 16) | self.kind as u64;
        let numbers = (u64::from(self.major.unwrap_or(0)) << 32) | u64::from(self.minor.unwrap_or(0));
        [what | any(self.major, Self::ANY_MAJOR) | any(self.minor, Self::ANY_MINOR), numbers]
    }

    /// Whether what a rule's words say lets one use a device so. `access_type` as the kernel tells it: the kind in the lower
    /// half, the wanted access above. One rule has to allow all that is wanted, as with cgroup v1.
    #[inline(always)]
    pub const fn allows([what, numbers]: [u64; 2], access_type: u32, major: u32, minor: u32) -> bool {
        let (kind, wanted) = (access_type & 0xffff, access_type >> 16);
        let (rule_kind, rule_access) = (what as u32 & 0xffff, (what >> 16) as u32 & 0xffff);
        kind == rule_kind
            && wanted & !rule_access == 0
            && (what & Self::ANY_MAJOR != 0 || major == (numbers >> 32) as u32)
            && (what & Self::ANY_MINOR != 0 || minor == numbers as u32)
    }
}

words! {
    /// How fast packets may leave.
    EgressLimit {
        /// Bytes a second, counted from the IP header up; 0: as fast as they like.
        bytes_per_second,
        /// How long a container that was silent may send at once, as time at that rate.
        burst_ns,
        /// How far ahead packets may be put, as time at that rate; what does not fit is dropped.
        queue_ns,
    }
}

words! {
    /// What became of packets since there is a limit.
    EgressState {
        /// When the next packet may leave, by the monotonic clock.
        next_ns,
        /// Packets that left later than they came, where the device's queue keeps to the time that a packet bears.
        delayed_packets,
        /// By how much, together.
        delayed_ns,
        dropped_packets,
        dropped_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn wants(kind: Kind, access: u32) -> u32 {
        (access << 16) | kind as u32
    }

    #[test]
    fn a_rule_allows_what_it_says_and_nothing_else() {
        let null =
            Rule { kind: Kind::Char, major: Some(1), minor: Some(3), access: Rule::READ | Rule::WRITE };
        let allows = |rule: Rule, kind, access, major, minor| {
            Rule::allows(rule.words(), wants(kind, access), major, minor)
        };
        assert!(allows(null, Kind::Char, Rule::READ | Rule::WRITE, 1, 3));
        assert!(allows(null, Kind::Char, Rule::READ, 1, 3));
        assert!(!allows(null, Kind::Char, Rule::READ | Rule::MKNOD, 1, 3));
        assert!(!allows(null, Kind::Char, Rule::READ, 1, 11));
        assert!(!allows(null, Kind::Char, Rule::READ, 2, 3));
        assert!(!allows(null, Kind::Block, Rule::READ, 1, 3));
        let any = Rule { kind: Kind::Block, major: None, minor: None, access: Rule::MKNOD };
        assert!(allows(any, Kind::Block, Rule::MKNOD, 7, 0));
        assert!(!allows(any, Kind::Block, Rule::READ, 7, 0));
        assert_ne!(any.words(), [0, 0]);
        let pts = Rule { kind: Kind::Char, major: Some(136), minor: None, access: Rule::READ };
        assert!(allows(pts, Kind::Char, Rule::READ, 136, 9) && !allows(pts, Kind::Char, Rule::READ, 5, 9));
        // What ends the table allows nothing.
        assert!(!Rule::allows([0, 0], wants(Kind::Char, 0), 0, 0));
    }
}
