//! What this process may do, as far as BPF asks for it: read once, so that an ordinary user is told what is missing in
//! one clean line instead of the first system call that failed.

use std::fs;

use super::support::Reason;

/// Bit numbers of include/uapi/linux/capability.h.
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Tracing programs want the first two, programs on a cgroup's packets all three (kernel doc: capabilities(7)).
const NEEDED: [(u32, &str); 3] = [(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON"), (NET_ADMIN, "CAP_NET_ADMIN")];

pub(super) fn check() -> Result<(), Reason> {
    let lacking = lacking_here();
    if lacking.is_empty() { Ok(()) } else { Err(Reason::NotPermitted(lacking)) }
}

/// What this thread lacks: capabilities are a thread's, not a process's.
pub(super) fn lacking_here() -> Vec<&'static str> {
    lacking(effective(&fs::read_to_string("/proc/thread-self/status").unwrap_or_default()))
}

/// The effective set. All ones where it cannot be read: then the kernel itself will say what is missing.
pub(super) fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX)
}

pub(super) fn lacking(effective: u64) -> Vec<&'static str> {
    let has = |bit: u32| effective & (1 << bit) != 0;
    // CAP_SYS_ADMIN stands for BPF and PERFMON, for it did before they were split off; never for NET_ADMIN.
    let enough = |bit: u32| has(bit) || (bit != NET_ADMIN && has(SYS_ADMIN));
    NEEDED.iter().filter(|(bit, _)| !enough(*bit)).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_lacks_nothing_and_a_user_everything() {
        assert_eq!(lacking(effective("Name:\tx\nCapEff:\t000001fffeffffff\n")), [""; 0]);
        assert_eq!(
            lacking(effective("CapEff:\t0000000000000000\n")),
            ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]
        );
    }

    #[test]
    fn sys_admin_stands_for_the_two_split_off_it() {
        assert_eq!(lacking(1 << SYS_ADMIN), ["CAP_NET_ADMIN"]);
        assert_eq!(lacking(1 << BPF | 1 << PERFMON | 1 << NET_ADMIN), [""; 0]);
    }
}
