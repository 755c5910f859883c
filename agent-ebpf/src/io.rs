//! What is counted of a container's use of block devices (`programs/io.rs`).

use crate::Histogram;

/// Containers times devices that are counted at a time; allocated as they come.
pub const DEVICES_MAX: usize = 16384;
/// Requests of containers that are on their way at a time; allocated as they come. A device rarely takes more than 1,023.
pub const REQUESTS_MAX: usize = 16384;

/// A container's use of one device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceKey {
    /// Cgroup id of the container.
    pub container: u64,
    /// Major number in the upper half, minor in the lower.
    pub device: u64,
}

impl DeviceKey {
    pub const WORDS: usize = 2;

    pub const fn from_words([container, device]: [u64; Self::WORDS]) -> Self {
        Self { container, device }
    }

    pub const fn major(&self) -> u32 {
        (self.device >> 32) as u32
    }

    pub const fn minor(&self) -> u32 {
        (self.device & 0xffff_ffff) as u32
    }
}

words! {
    /// Requests of one direction that have been completed.
    Requests { bytes, ops }
}

/// What is counted per CPU of one container's use of one device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    pub read: Requests,
    pub write: Requests,
    /// From a request's issue to the device to its completion.
    pub latency: Histogram,
}

impl DeviceCounters {
    pub const WORDS: usize = 2 * Requests::WORDS + Histogram::WORDS;

    pub fn from_words(words: [u64; Self::WORDS]) -> Self {
        let words = &mut words.into_iter();
        // Fields are read in the order they are declared, which `repr(C)` makes their order in memory.
        Self { read: Requests::take(words), write: Requests::take(words), latency: Histogram::take(words) }
    }

    /// Adds another CPU's copy to this one.
    pub fn add(&mut self, other: &Self) {
        self.read.add(&other.read);
        self.write.add(&other.write);
        self.latency.add(&other.latency);
    }
}

const _: () = assert!(size_of::<DeviceCounters>() == 8 * DeviceCounters::WORDS);
const _: () = assert!(size_of::<DeviceKey>() == 8 * DeviceKey::WORDS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_to_the_fields_in_their_order() {
        let mut read = DeviceCounters::from_words(core::array::from_fn(|index| index as u64));
        assert_eq!((read.read, read.write), (Requests { bytes: 0, ops: 1 }, Requests { bytes: 2, ops: 3 }));
        assert_eq!((read.latency.buckets[0], read.latency.sum_ns), (4, 30));
        read.add(&read.clone());
        assert_eq!(read, DeviceCounters::from_words(core::array::from_fn(|index| 2 * index as u64)));
    }

    #[test]
    fn a_device_is_two_numbers() {
        let key = DeviceKey::from_words([9, (254 << 32) | 3]);
        assert_eq!((key.container, key.major(), key.minor()), (9, 254, 3));
    }
}
