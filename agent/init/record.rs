//! How a container's program ended, as init writes it for an agent that may be away, or be another one by then: 64 bytes in
//! a file that the agent made, all at once. Compiled into both. A file of zeros says that it has not ended.
//!
//! ```text
//!   magic u64 | version u32 | wait status i32 | user time µs u64 | system time µs u64 | largest, bytes u64 |
//!   ended at, µs since 1970 u64 | 0 u64 | checksum u64                                  all little-endian
//! ```
//! Unlike the spec this outlives builds: a later agent reads what an earlier one's init wrote.

pub const BYTES: usize = 64;
const MAGIC: u64 = u64::from_le_bytes(*b"INGOTEND");
const VERSION: u64 = 1;

/// The end of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// As waitpid(2) tells it.
    pub wait_status: i32,
    /// Of the program and of everything else that init reaped.
    pub user_us: u64,
    pub system_us: u64,
    /// The largest that any one of them was, resident.
    pub rss_peak_bytes: u64,
    pub ended_unix_us: u64,
}

impl Record {
    pub fn encode(&self) -> [u8; BYTES] {
        let kind = VERSION | u64::from(self.wait_status.cast_unsigned()) << 32;
        let words = [MAGIC, kind, self.user_us, self.system_us, self.rss_peak_bytes, self.ended_unix_us, 0];
        let mut bytes = [0; BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let (content, sum) = bytes.split_at_mut(BYTES - 8);
        sum.copy_from_slice(&checksum(content).to_le_bytes());
        bytes
    }

    /// `None`: it has not ended, or nobody could write it down, or not all of it came through a crash of the machine.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.get(..BYTES)?.try_into().ok()?;
        let mut words = [0; BYTES / 8];
        for (word, eight) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(eight.try_into().ok()?);
        }
        let [magic, kind, user_us, system_us, rss_peak_bytes, ended_unix_us, _, sum] = words;
        let is_whole = magic == MAGIC && sum == checksum(&bytes[..BYTES - 8]);
        let wait_status = ((kind >> 32) as u32).cast_signed();
        // Later versions may use the word that is zero now; what this one reads stays where it is.
        (is_whole && kind as u32 >= VERSION as u32).then_some(Self {
            wait_status,
            user_us,
            system_us,
            rss_peak_bytes,
            ended_unix_us,
        })
    }
}

/// FNV-1a, 64 bits: tells torn from whole.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
