//! A task's log of updates, as bytes: entries back to back, each a frame and a checksum of its payload.
//!
//! ```text
//! +-------------------------------+------------------+
//! | frame (wire: UpdateRecord)    | checksum: u64 LE |   ... and so on
//! +-------------------------------+------------------+
//! ```
//! A crash may leave the last entry short, or long but with zeros or older bytes in it; the checksum tells. Entries before
//! the last cannot be torn: one is appended only after those before it are durable.

use wire::WireError;
use wire::checkpoint::UpdateRecord;
use wire::frame::{HEADER_BYTES, frame_length};

const CHECKSUM_BYTES: usize = 8;

/// Why a log cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the entry at byte {at} is damaged, and there are whole ones behind it")]
    Damaged { at: usize },
    #[error("the entry at byte {at} means nothing")]
    Meaningless { at: usize, source: WireError },
}

pub(super) fn entry(record: &UpdateRecord) -> Vec<u8> {
    // It came in a call or a frame that was shorter than this limit.
    let mut entry = record.encode().expect("an update fits in a frame");
    let checksum = checksum(&entry[HEADER_BYTES..]);
    entry.extend(checksum.to_le_bytes());
    entry
}

/// The whole records of a log, and where they end.
pub(super) fn records(bytes: &[u8]) -> Result<(Vec<UpdateRecord>, usize), LogError> {
    let (mut records, mut at) = (Vec::new(), 0);
    while let Some((payload, next)) = whole_entry(bytes, at) {
        records.push(UpdateRecord::decode(payload).map_err(|source| LogError::Meaningless { at, source })?);
        at = next;
    }
    // A torn entry is the last. What can be believed behind one that cannot is damage, not a crash.
    match frame_length(&bytes[at..]) {
        Ok(Some(length)) if whole_entry(bytes, at + length + CHECKSUM_BYTES).is_some() => {
            Err(LogError::Damaged { at })
        }
        _ => Ok((records, at)),
    }
}

/// The payload of the entry at `at`, if all of it is there as it was written, and where the next one begins.
fn whole_entry(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let length = frame_length(rest).ok()??;
    let payload = rest.get(HEADER_BYTES..length)?;
    let written = rest.get(length..length + CHECKSUM_BYTES)?;
    (written == checksum(payload).to_le_bytes()).then_some((payload, at + length + CHECKSUM_BYTES))
}

/// FNV-1a, 64 bits. It has to tell torn from whole, not to withstand an enemy, who could write a log of his own.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::id::UpdateId;

    fn log() -> Vec<u8> {
        (1..=3u8).flat_map(|id| entry(&UpdateRecord::Acknowledged(UpdateId([id; 16])))).collect()
    }

    #[test]
    fn damage_in_the_middle_is_not_taken_for_a_torn_end() {
        let mut log = log();
        let length = log.len() / 3;
        assert_eq!(records(&log).expect("whole").0.len(), 3);
        log[length + HEADER_BYTES + 20] ^= 1;
        assert!(matches!(records(&log), Err(LogError::Damaged { at }) if at == length));
        log.truncate(2 * length);
        assert_eq!(records(&log).expect("torn").1, length);
    }
}
