//! Frames: how messages are cut out of a byte stream.
//!
//! ```text
//! +----------------+---------------------------------------------+
//! | length: u32 LE | Cap'n Proto message, standard stream framing |
//! +----------------+---------------------------------------------+
//! ```
//! `length` counts the bytes after it and is a multiple of 8, as every Cap'n Proto message is. A peer that sends
//! something else is not speaking our language; the session ends.

use model::limits::FRAME_BYTES_MAX;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 4;

/// Why a stream cannot be cut into frames any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame of {length} bytes is longer than the {FRAME_BYTES_MAX} allowed")]
    TooLong { length: usize },
    #[error("frame of {length} bytes is not a whole number of 8-byte words")]
    NotWords { length: usize },
}

/// The length of the first frame in `bytes`, header included: `None` while the header is incomplete. The frame itself may
/// not be there yet.
pub fn frame_length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length });
    }
    if length == 0 || !length.is_multiple_of(8) {
        return Err(FrameError::NotWords { length });
    }
    Ok(Some(HEADER_BYTES + length))
}

/// Collects bytes as they come and hands out whole frames without copying them again.
///
/// Use: [`Reader::space`] to read into, [`Reader::filled`] with how much came, then [`Reader::next`] until `None`.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// Room that is asked of the reader at least, bytes; about what a socket hands out at once.
const SPACE_BYTES_MIN: usize = 64 << 10;

/// A buffer that has grown beyond this for one large frame is given back when it is empty, bytes.
const KEPT_BYTES_MAX: usize = 1 << 20;

impl Reader {
    /// Where the next bytes go; never empty.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEPT_BYTES_MAX {
                self.buffer = Vec::new();
            }
        }
        let wanted = match frame_length(&self.buffer[self.start..self.end]) {
            Ok(Some(length)) => length.saturating_sub(self.end - self.start).max(SPACE_BYTES_MIN),
            _ => SPACE_BYTES_MIN,
        };
        if self.buffer.len() - self.end < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.buffer.len() - self.end < wanted {
                self.buffer.resize(self.end + wanted, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// `count` bytes were written to the front of [`Reader::space`].
    pub fn filled(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.buffer.len(), "more bytes than there was space for");
    }

    /// Whether no byte waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The payload of the next whole frame, valid until the reader is touched again.
    #[expect(clippy::should_implement_trait, reason = "it lends from the buffer, which an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(length) = frame_length(&self.buffer[self.start..self.end])? else { return Ok(None) };
        if self.end - self.start < length {
            return Ok(None);
        }
        let payload = self.start + HEADER_BYTES..self.start + length;
        self.start += length;
        Ok(Some(&self.buffer[payload]))
    }
}

/// Finishes a frame: `frame` begins with [`HEADER_BYTES`] of room for the length.
pub(crate) fn seal(mut frame: Vec<u8>) -> Result<Vec<u8>, FrameError> {
    let length = frame.len() - HEADER_BYTES;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length });
    }
    let header = u32::try_from(length).expect("FRAME_BYTES_MAX fits in 32 bits").to_le_bytes();
    frame[..HEADER_BYTES].copy_from_slice(&header);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(fill: u8, words: usize) -> Vec<u8> {
        let mut frame = vec![0; HEADER_BYTES];
        frame.extend(std::iter::repeat_n(fill, words * 8));
        seal(frame).expect("short enough")
    }

    /// However the stream is cut, the same frames come out.
    #[test]
    fn frames_survive_any_cut() {
        let stream: Vec<u8> = (1..=9u8).flat_map(|n| frame(n, usize::from(n) * 700)).collect();
        for cut in [1, 3, 4, 5, 8, 1000, 65_536, stream.len()] {
            let (mut reader, mut seen) = (Reader::default(), Vec::new());
            for mut piece in stream.chunks(cut) {
                while !piece.is_empty() {
                    let space = reader.space();
                    let n = space.len().min(piece.len());
                    space[..n].copy_from_slice(&piece[..n]);
                    reader.filled(n);
                    piece = &piece[n..];
                    while let Some(payload) = reader.next().expect("well-formed") {
                        seen.push((payload[0], payload.len()));
                    }
                }
            }
            assert_eq!(seen, (1..=9u8).map(|n| (n, usize::from(n) * 5600)).collect::<Vec<_>>(), "cut {cut}");
        }
    }

    #[test]
    fn a_length_nobody_would_send_is_refused_before_anything_is_allocated() {
        let length = u32::try_from(FRAME_BYTES_MAX + 8).expect("fits");
        let expected = FrameError::TooLong { length: FRAME_BYTES_MAX + 8 };
        assert_eq!(frame_length(&length.to_le_bytes()), Err(expected));
        assert_eq!(frame_length(&12u32.to_le_bytes()), Err(FrameError::NotWords { length: 12 }));
        assert_eq!(frame_length(&[0; 4]), Err(FrameError::NotWords { length: 0 }));
        assert_eq!(frame_length(&[8, 0, 0]), Ok(None));
    }
}
