//! What crosses the boundary between the agent and its programs in the kernel: records, map names, capacities, and the
//! list of kernel fields whose place the loader looks up. Plain values; neither aya nor the kernel is named here.
//!
//! Every record is a row of 64-bit words, so that both sides agree without a shared notion of padding: the programs see
//! the struct, the loader reads `[u64; WORDS]` and turns it into the struct by name.

#![no_std]

/// Declares a record of 64-bit words with its conversions and its sum.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)+
        }

        impl $name {
            /// How many 64-bit words it is.
            pub const WORDS: usize = size_of::<Self>() / size_of::<u64>();

            /// What its words are called, for [`layout`](crate::layout).
            pub const NAMES: &str = concat!(stringify!($name), $(" ", stringify!($field)),+);

            fn take(words: &mut impl Iterator<Item = u64>) -> Self {
                // Fields are read in the order they are declared, which `repr(C)` makes their order in memory.
                Self { $($field: words.next().unwrap_or(0),)+ }
            }

            /// Reads one from its words.
            pub fn from_words(words: [u64; Self::WORDS]) -> Self {
                Self::take(&mut words.into_iter())
            }

            /// Adds another CPU's copy to this one.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)+
            }
        }
    };
}

mod event;
pub mod field;
mod histogram;
pub mod hold;
pub mod io;
pub mod layout;
pub mod net;

pub use event::{EVENT_BYTES, Event, EventKind};
pub use histogram::Histogram;

/// Names of the maps, as they stand in the object and under a bpffs when pinned.
pub mod map {
    /// cgroup id -> [`Counters`](super::Counters), one copy a CPU. Also the list of containers: an id that is not a key
    /// here is nobody we know, and every program leaves at once.
    pub const CONTAINERS: &str = "CONTAINERS";
    /// cgroup id -> [`Memory`](super::Memory), one shared copy, because a peak is a property of the sum.
    pub const MEMORY: &str = "MEMORY";
    /// [`Pair`](super::Pair) -> [`Taken`](super::Taken), one shared copy.
    pub const TAKEN: &str = "TAKEN";
    /// One word: the agent's process id in the initial PID namespace.
    pub const AGENT: &str = "AGENT";
    /// cgroup id -> [`SocketCounters`](super::net::SocketCounters), one copy a CPU: the kernel keeps one for each cgroup that
    /// a program of sockets is attached to, and frees it with the cgroup.
    pub const SOCKETS: &str = "SOCKETS";
    /// [`DeviceKey`](super::io::DeviceKey) -> [`DeviceCounters`](super::io::DeviceCounters), one copy a CPU.
    pub const DEVICES: &str = "DEVICES";
    /// One word: completions of requests that found no room in DEVICES.
    pub const IO_LOST: &str = "IO_LOST";
    /// Ring buffer of [`Event`](super::Event).
    pub const EVENTS: &str = "EVENTS";
    /// One word a CPU: where the word itself lies in that CPU's memory (see `programs/memory.rs`).
    pub const ANCHOR: &str = "ANCHOR";
    /// What must be added to a per-CPU address to reach a CPU's own copy, indexed by CPU; 0 = not known.
    pub const CPU_OFFSETS: &str = "CPU_OFFSETS";
}

/// Names of the globals that the loader sets; the [`field::FIELDS`] are none.
pub mod global {
    /// Depth of a container's directory below the root of the cgroup v2 hierarchy (the root is 0).
    pub const CONTAINER_LEVEL: &str = "CONTAINER_LEVEL";
    /// Cgroup id of the directory that the containers' directories lie in.
    pub const ROOT_CGROUP: &str = "ROOT_CGROUP";
    /// CPUs the kernel may ever bring up; how far a sum over CPUs runs. 0 = per-CPU remainders cannot be read.
    pub const CPUS: &str = "CPUS";
    /// Distance of one memory counter from the next inside `mm_struct.rss_stat`, bytes.
    pub const RSS_STRIDE: &str = "RSS_STRIDE";
}

/// Containers the maps hold unless the loader asks for more. The entries are allocated as containers come, so a high
/// limit costs nothing but the buckets (16 bytes each).
pub const CONTAINERS_MAX: usize = 8192;
/// Pairs of containers of which one took CPU from the other that are kept at a time. Made beforehand, since none can be
/// made under the run-queue lock: 80 bytes each, and 16 of buckets, together 1.5 MiB.
pub const PAIRS_MAX: usize = 16384;
/// Size of the ring buffer, bytes: 5,461 events between two drains.
pub const EVENTS_BYTES: usize = 256 * 1024;
/// Most CPUs whose remainders a sum can visit (the verifier walks each turn of that loop).
pub const CPUS_MAX: usize = 512;

words! {
    /// What the threads of a container did on the CPUs (`programs/cpu.rs`).
    CpuCounters {
        /// On-CPU time, nanoseconds: the scheduler's own `sum_exec_runtime`.
        exec_ns,
        /// Ticks found in user mode, as nanoseconds. Sampled: only its ratio to `system_ns` means something.
        user_ns,
        /// Ticks found in kernel mode, as nanoseconds.
        system_ns,
        /// Switches because the thread had to wait.
        voluntary,
        /// Switches because another thread was to run.
        involuntary,
        /// Switches of threads that were not followed at that moment; what they ran comes later, or is missing if they
        /// ran before they were first seen.
        unfollowed,
        /// Page faults that were answered from memory.
        faults_minor,
        /// Page faults that waited for a device.
        faults_major,
    }
}

/// How long the threads of a container waited for a CPU (`programs/waits.rs`). 264 bytes a CPU: 33 KiB a container on
/// 128 CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitCounters {
    /// Waits from wake-up or preemption to running, but those for the container's own CPU limit.
    pub latency: Histogram,
    /// Waits because another thread of the container had taken the CPU.
    pub own: Taken,
    /// Waits after a preemption in which the container's CPU limit held the thread back.
    pub limited: Taken,
    /// Waits because of somebody else, for whom the map of pairs had no room.
    pub untold: Taken,
}

impl WaitCounters {
    pub const WORDS: usize = Histogram::WORDS + 3 * Taken::WORDS;

    fn take(words: &mut impl Iterator<Item = u64>) -> Self {
        Self {
            latency: Histogram::take(words),
            own: Taken::take(words),
            limited: Taken::take(words),
            untold: Taken::take(words),
        }
    }

    /// Adds another CPU's copy to this one.
    pub fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.own.add(&other.own);
        self.limited.add(&other.limited);
        self.untold.add(&other.untold);
    }
}

words! {
    /// Waits that somebody is to blame for.
    Taken { count, waited_ns }
}

words! {
    /// Whose CPU was taken, and by whom.
    Pair {
        /// A container's cgroup id.
        victim,
        /// A container's cgroup id, or one of [`taker`].
        taker,
    }
}

/// Takers that are no containers. No cgroup has these ids: the kernel counts up from 1.
pub mod taker {
    /// Nobody, or it cannot be told.
    pub const NOBODY: u64 = 0;
    /// A thread outside all containers, the kernel's own included.
    pub const SYSTEM: u64 = u64::MAX;
    /// A thread of the agent.
    pub const AGENT: u64 = u64::MAX - 1;
    /// The container's own CPU limit. Never in the map.
    pub const LIMIT: u64 = u64::MAX - 2;
    /// Containers that are gone. Only the agent writes these.
    pub const GONE: u64 = u64::MAX - 3;
}

words! {
    /// What happened to the processes and threads of a container (`programs/life.rs`).
    LifeCounters {
        /// Processes that began in it or were moved into it.
        forks,
        /// Processes that ended in it.
        exits,
        /// Processes that the OOM killer chose.
        oom_kills,
        /// Threads that have begun to exit.
        threads_exiting,
        /// Threads that have left the CPU for the last time. Equal to `threads_exiting` once all CPU time is counted.
        threads_gone,
        /// Events that found the ring buffer full.
        events_lost,
        /// Times that a process became another program.
        execs,
        /// Processes that ended with a code other than zero.
        exits_failed,
        /// Processes that a signal ended.
        exits_signaled,
    }
}

words! {
    /// Resident memory of a container (`programs/memory.rs`): the sum over its processes, so a page that two of them map
    /// counts twice.
    Memory {
        /// Pages now. A signed number: for a moment one CPU may have taken away what another has yet to add.
        resident_pages,
        /// Highest `resident_pages` seen, and no less than any one process's own high-water mark.
        peak_pages,
        /// Those of the `resident_pages` that no file is behind.
        anon_pages,
        /// Those that are shared memory or of a tmpfs.
        shmem_pages,
    }
}

/// Everything that is counted per CPU for one container.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub cpu: CpuCounters,
    pub waits: WaitCounters,
    pub life: LifeCounters,
}

impl Counters {
    pub const WORDS: usize = CpuCounters::WORDS + WaitCounters::WORDS + LifeCounters::WORDS;

    pub fn from_words(words: [u64; Self::WORDS]) -> Self {
        let words = &mut words.into_iter();
        Self {
            cpu: CpuCounters::take(words),
            waits: WaitCounters::take(words),
            life: LifeCounters::take(words),
        }
    }

    /// Adds another CPU's copy to this one.
    pub fn add(&mut self, other: &Self) {
        self.cpu.add(&other.cpu);
        self.waits.add(&other.waits);
        self.life.add(&other.life);
    }
}

impl Memory {
    /// Pages resident now, never below zero.
    pub fn resident(&self) -> u64 {
        u64::try_from(self.resident_pages.cast_signed()).unwrap_or(0)
    }

    /// The anonymous ones among them, and the shared memory.
    pub fn parts(&self) -> (u64, u64) {
        let anon = u64::try_from(self.anon_pages.cast_signed()).unwrap_or(0).min(self.resident());
        let shmem = u64::try_from(self.shmem_pages.cast_signed()).unwrap_or(0).min(self.resident() - anon);
        (anon, shmem)
    }
}

const _: () = assert!(size_of::<Counters>() == 400 && size_of::<Counters>() == 8 * Counters::WORDS);
const _: () = assert!(size_of::<Memory>() == 32);
// The kernel wants a ring buffer to be a power of two of whole pages; 64 KiB pages are the largest there are.
const _: () = assert!(EVENTS_BYTES.is_power_of_two() && EVENTS_BYTES >= 64 * 1024);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_the_fields_in_their_order() {
        let counters = Counters::from_words(core::array::from_fn(|index| index as u64));
        assert_eq!((counters.cpu.exec_ns, counters.cpu.faults_major), (0, 7));
        assert_eq!((counters.waits.latency.buckets[0], counters.waits.latency.sum_ns), (8, 34));
        assert_eq!((counters.waits.own.count, counters.waits.untold.waited_ns), (35, 40));
        assert_eq!((counters.life.forks, counters.life.exits_signaled), (41, 49));
    }

    #[test]
    fn a_sum_adds_every_word() {
        let one = Counters::from_words(core::array::from_fn(|index| index as u64 + 1));
        let mut sum = one;
        sum.add(&one);
        assert_eq!(sum, Counters::from_words(core::array::from_fn(|index| 2 * (index as u64 + 1))));
    }

    #[test]
    fn resident_pages_are_never_negative() {
        let of = |resident_pages, anon_pages, shmem_pages| {
            let memory = Memory { resident_pages, peak_pages: 7, anon_pages, shmem_pages };
            (memory.resident(), memory.parts())
        };
        assert_eq!(of(u64::MAX, 3, 4), (0, (0, 0)));
        assert_eq!(of(7, 4, 2), (7, (4, 2)));
        // Read in the midst of a change.
        assert_eq!(of(7, 5, 3), (7, (5, 2)));
        assert_eq!(of(7, u64::MAX, 3), (7, (0, 3)));
    }
}
