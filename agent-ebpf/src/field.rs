//! The kernel fields that the programs read by offset. Rust has no CO-RE relocations, so the loader finds each field in
//! the running kernel's BTF and writes its offset into the global of that name before the programs are loaded.

/// A field of a kernel struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The global of the object that holds its offset in bytes (`u32`).
    pub global: &'static str,
    /// The struct's name in BTF.
    pub of: &'static str,
    /// The way to it through nested structs, by dots. Unnamed structs and unions are seen through.
    pub path: &'static str,
}

/// Declares the table and each global's name. The programs declare the globals again; loading fails where one is missing.
macro_rules! fields {
    ($($global:ident: $of:literal, $path:literal;)+) => {
        $(pub const $global: &str = stringify!($global);)+

        /// Every field that some program reads.
        pub const FIELDS: &[Field] = &[$(Field { global: $global, of: $of, path: $path },)+];
    };
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
    SIGNAL_LIVE: "signal_struct", "live";
    SIGNAL_FLAGS: "signal_struct", "flags";
    SIGNAL_GROUP_EXIT_CODE: "signal_struct", "group_exit_code";
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
