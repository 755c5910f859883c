//! The kernel fields that the programs read by offset. Rust has no CO-RE relocations, so the programs' instructions name
//! each field by its place in the table here, under a mark, and the loader, which finds the field in the running kernel's
//! BTF, writes its offset there before the kernel sees them. So a field costs one instruction, as in C.

/// A field of a kernel struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is called here.
    pub name: &'static str,
    /// The struct's name in BTF.
    pub of: &'static str,
    /// The way to it through nested structs, by dots. Unnamed structs and unions are seen through.
    pub path: &'static str,
}

/// In an instruction that loads from memory: the offset of the field of which this is the place in [`FIELDS`]. No struct
/// of the programs' own reaches that far.
pub const LOAD_MARK: i16 = 0x7f00;
/// In an instruction that sets a register: the same. A field that the kernel does not have has the offset 0.
pub const SET_MARK: i32 = 0x4f66_0000;
/// How many fields there can be at most: what a mark leaves for a place.
pub const FIELDS_MAX: usize = 0x80;

/// Declares the table and each field's name.
macro_rules! fields {
    ($($name:ident: $of:literal, $path:literal;)+) => {
        $(pub const $name: &str = stringify!($name);)+

        /// Every field that some program reads.
        pub const FIELDS: &[Field] = &[$(Field { name: $name, of: $of, path: $path },)+];
    };
}

const _: () = assert!(FIELDS.len() <= FIELDS_MAX);

/// The place of a field in the table, for the programs, which have it computed when they are compiled.
pub const fn place(name: &str) -> usize {
    let mut place = 0;
    while !is_same(FIELDS[place].name.as_bytes(), name.as_bytes()) {
        place += 1;
    }
    place
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

fields! {
    TASK_FLAGS: "task_struct", "flags";
    TASK_EXEC_RUNTIME: "task_struct", "se.sum_exec_runtime";
    TASK_UTIME: "task_struct", "utime";
    TASK_STIME: "task_struct", "stime";
    TASK_NVCSW: "task_struct", "nvcsw";
    TASK_NIVCSW: "task_struct", "nivcsw";
    TASK_MIN_FLT: "task_struct", "min_flt";
    TASK_MAJ_FLT: "task_struct", "maj_flt";
    TASK_PCOUNT: "task_struct", "sched_info.pcount";
    TASK_RUN_DELAY: "task_struct", "sched_info.run_delay";
    TASK_THROTTLED: "task_struct", "throttled";
    TASK_CFS_RQ: "task_struct", "se.cfs_rq";
    CFS_THROTTLE_COUNT: "cfs_rq", "throttle_count";
    CFS_THROTTLED_TIME: "cfs_rq", "throttled_clock_pelt_time";
    TASK_PID: "task_struct", "pid";
    TASK_TGID: "task_struct", "tgid";
    TASK_COMM: "task_struct", "comm";
    TASK_EXIT_CODE: "task_struct", "exit_code";
    TASK_GROUP_LEADER: "task_struct", "group_leader";
    TASK_SIGNAL: "task_struct", "signal";
    TASK_MM: "task_struct", "mm";
    TASK_CGROUPS: "task_struct", "cgroups";
    TASK_STORAGE: "task_struct", "bpf_storage";
    SIGNAL_LIVE: "signal_struct", "live";
    SIGNAL_FLAGS: "signal_struct", "flags";
    SIGNAL_GROUP_EXIT_CODE: "signal_struct", "group_exit_code";
    SIGNAL_MAXRSS: "signal_struct", "maxrss";
    CSET_DEFAULT_CGROUP: "css_set", "dfl_cgrp";
    CGROUP_LEVEL: "cgroup", "level";
    CGROUP_PARENT: "cgroup", "self.parent";
    CGROUP_ANCESTORS: "cgroup", "ancestors";
    CGROUP_KN: "cgroup", "kn";
    CSS_CGROUP: "cgroup_subsys_state", "cgroup";
    KERNFS_ID: "kernfs_node", "id";
    MM_OWNER: "mm_struct", "owner";
    MM_RSS_STAT: "mm_struct", "rss_stat";
    MM_HIWATER_RSS: "mm_struct", "hiwater_rss";
    COUNTER_COUNT: "percpu_counter", "count";
    COUNTER_REMAINDERS: "percpu_counter", "counters";
    CGROUP_ROOT: "cgroup", "root";
    REQUEST_FLAGS: "request", "cmd_flags";
    REQUEST_BYTES: "request", "__data_len";
    REQUEST_BIO: "request", "bio";
    REQUEST_QUEUE: "request", "q";
    QUEUE_DISK: "request_queue", "disk";
    DISK_MAJOR: "gendisk", "major";
    DISK_MINOR: "gendisk", "first_minor";
    BIO_GROUP: "bio", "bi_blkg";
    GROUP_BLKCG: "blkcg_gq", "blkcg";
    BLKCG_CGROUP: "blkcg", "css.cgroup";
    BPF_ARRAY_PPTRS: "bpf_array", "pptrs";
}
