//! What the words of a map mean, as one number a map. Maps outlive the agent that made them; another agent goes on with
//! their counts only where the number that stands beside them is its own. The numbers follow from the records' names and
//! fields, in their order; who gives words another meaning under the same names raises [`MEANING`].

use crate::io::{DeviceCounters, DeviceKey, Requests};
use crate::net::{Packets, Protocol, SocketCounters, Version};
use crate::{Counters, CpuCounters, Histogram, LifeCounters, Memory, Pair, Taken, map};

/// To be raised when words begin to mean something else: units, what is counted, the law of the histogram's buckets.
const MEANING: u64 = 1;

/// Of every map that holds counts, by the map's name.
pub const LAYOUTS: [(&str, u64); 5] = [
    (map::CONTAINERS, CONTAINERS),
    (map::MEMORY, number(Memory::WORDS, &[Memory::NAMES])),
    (map::TAKEN, number(Pair::WORDS + Taken::WORDS, &[Pair::NAMES, Taken::NAMES])),
    (map::SOCKETS, SOCKETS),
    (map::DEVICES, DEVICES),
];

// Records of records are declared by hand, so their parts are said again here; a part more or less changes their length.
const CONTAINERS: u64 = number(
    Counters::WORDS,
    &[CpuCounters::NAMES, HISTOGRAM, "own limited untold", Taken::NAMES, LifeCounters::NAMES],
);
const SOCKETS: u64 = number(
    SocketCounters::WORDS + Protocol::COUNT * Version::COUNT,
    &["rx tx", Packets::NAMES, "retransmits connects accepts", HISTOGRAM],
);
const DEVICES: u64 = number(
    DeviceKey::WORDS + DeviceCounters::WORDS,
    &["container device", "read write", Requests::NAMES, HISTOGRAM],
);
const HISTOGRAM: &str = "buckets sum_ns";
const _: () = assert!(Histogram::WORDS == Histogram::BUCKETS + 1);

/// The number of the layout of that map; `None`: it holds no counts.
pub fn of(map: &str) -> Option<u64> {
    LAYOUTS.iter().find(|(it, _)| *it == map).map(|(_, number)| *number)
}

/// FNV-1a, 64 bits.
const fn number(words: usize, parts: &[&str]) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ MEANING;
    hash = hash.wrapping_mul(PRIME) ^ words as u64;
    let mut part = 0;
    while part < parts.len() {
        let bytes = parts[part].as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(PRIME);
            at += 1;
        }
        // Where one part ends and the next begins counts, too.
        hash = (hash ^ 0xff).wrapping_mul(PRIME);
        part += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_order_or_length_is_another_layout() {
        let one = number(2, &["a b"]);
        for other in [number(2, &["b a"]), number(3, &["a b"]), number(2, &["a", "b"]), number(2, &[])] {
            assert_ne!(one, other);
        }
        assert_eq!(one, number(2, &["a b"]));
        assert!(CpuCounters::NAMES.starts_with("CpuCounters exec_ns user_ns"), "{}", CpuCounters::NAMES);
    }

    #[test]
    fn every_map_of_counts_has_its_own() {
        for (at, (name, number)) in LAYOUTS.iter().enumerate() {
            assert_eq!(of(name), Some(*number));
            assert!(LAYOUTS[..at].iter().all(|(_, other)| other != number), "{name}");
        }
        assert_eq!(of(map::EVENTS), None);
    }
}
