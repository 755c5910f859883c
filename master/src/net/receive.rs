//! Receiving. All sessions of the thread read into one buffer, and whole frames are handed on from where they lie there; a
//! session keeps bytes of its own only while a frame has not come whole. So it takes no memory while nothing is said, and
//! a report, which as a rule comes in one piece, is neither copied nor costs an allocation.

use super::session::End;
use std::io::{ErrorKind, Read};
use wire::frame::{FrameError, HEADER_BYTES, Reader, frame_length};

/// What one read takes at most, of all sessions.
const SCRATCH_BYTES: usize = 256 << 10;

/// A frame up to this long is completed in the common buffer: what has come of it is copied there before each read. A longer
/// one is collected by a reader of its own, which copies nothing twice.
const PIECE_BYTES_MAX: usize = 32 << 10;

/// The common buffer.
pub(super) struct Scratch(Box<[u8]>);

impl Default for Scratch {
    fn default() -> Self {
        Self(vec![0; SCRATCH_BYTES].into())
    }
}

/// What one read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The peer has ended its side.
    End,
    /// Nothing.
    Nothing,
    /// So many bytes, and the socket has no more: what comes from now on is told by an event.
    All(usize),
    /// So many bytes, as many as there was room for.
    Some(usize),
}

/// What a session has received of a frame that is not whole.
#[derive(Debug, Default)]
pub(super) enum Kept {
    #[default]
    Nothing,
    Piece(Box<[u8]>),
    Large(Box<Reader>),
}

impl Kept {
    /// Reads once and hands on the payload of every frame that is whole.
    pub(super) fn receive(
        &mut self,
        from: &mut impl Read,
        scratch: &mut Scratch,
        mut take: impl FnMut(&[u8]) -> Result<(), End>,
    ) -> Result<Came, End> {
        let held = match self {
            Self::Large(_) => return self.receive_large(from, take),
            Self::Piece(piece) => {
                scratch.0[..piece.len()].copy_from_slice(piece);
                piece.len()
            }
            Self::Nothing => 0,
        };
        let came = read(from, &mut scratch.0[held..])?;
        let (Came::All(count) | Came::Some(count)) = came else { return Ok(came) };
        let (bytes, mut at) = (&scratch.0[..held + count], 0);
        while let Some(length) = frame_length(&bytes[at..]).map_err(End::Frame)?
            && let Some(frame) = bytes[at..].get(..length)
        {
            take(&frame[HEADER_BYTES..])?;
            at += length;
        }
        *self = Self::of(&bytes[at..]).map_err(End::Frame)?;
        Ok(came)
    }

    fn receive_large(
        &mut self,
        from: &mut impl Read,
        mut take: impl FnMut(&[u8]) -> Result<(), End>,
    ) -> Result<Came, End> {
        let Self::Large(reader) = self else { unreachable!("asked by `receive`") };
        let came = read(from, reader.space())?;
        if let Came::All(count) | Came::Some(count) = came {
            reader.filled(count);
            while let Some(payload) = reader.next().map_err(End::Frame)? {
                take(payload)?;
            }
            if reader.is_empty() {
                *self = Self::Nothing;
            }
        }
        Ok(came)
    }

    /// The beginning of a frame, or nothing.
    fn of(bytes: &[u8]) -> Result<Self, FrameError> {
        Ok(match frame_length(bytes)? {
            _ if bytes.is_empty() => Self::Nothing,
            Some(length) if length > PIECE_BYTES_MAX => {
                let (mut reader, mut rest) = (Box::<Reader>::default(), bytes);
                while !rest.is_empty() {
                    let space = reader.space();
                    let (now, later) = rest.split_at(rest.len().min(space.len()));
                    space[..now.len()].copy_from_slice(now);
                    reader.filled(now.len());
                    rest = later;
                }
                Self::Large(reader)
            }
            _ => Self::Piece(bytes.into()),
        })
    }
}

/// On a stream, a read that does not fill its buffer has emptied the socket (epoll(7)).
fn read(from: &mut impl Read, space: &mut [u8]) -> Result<Came, End> {
    loop {
        return match from.read(space) {
            Ok(0) => Ok(Came::End),
            Ok(count) if count == space.len() => Ok(Came::Some(count)),
            Ok(count) => Ok(Came::All(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Came::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(End::Read(error)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives what there is in pieces of `cut` bytes, and between two of them nothing.
    struct Pieces<'a> {
        bytes: &'a [u8],
        cut: usize,
        is_pausing: bool,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
            self.is_pausing = !self.is_pausing;
            if !self.is_pausing && !self.bytes.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = self.cut.min(self.bytes.len()).min(space.len());
            let (now, later) = self.bytes.split_at(count);
            space[..count].copy_from_slice(now);
            self.bytes = later;
            Ok(count)
        }
    }

    fn frame(fill: u8, words: usize) -> Vec<u8> {
        let length = u32::try_from(words * 8).expect("short");
        [&length.to_le_bytes()[..], &vec![fill; words * 8]].concat()
    }

    /// However the stream is cut, the same frames come out, and nothing is kept in the end.
    #[test]
    fn frames_survive_any_cut() {
        let words =
            [1, 3, 700, PIECE_BYTES_MAX / 8 - 1, PIECE_BYTES_MAX / 8 + 1, 90_000, 2, SCRATCH_BYTES / 8];
        let stream: Vec<u8> = (1..).zip(words).flat_map(|(fill, words)| frame(fill, words)).collect();
        for cut in [1, 5, 1448, 65_536, SCRATCH_BYTES, stream.len()] {
            let mut from = Pieces { bytes: &stream, cut, is_pausing: false };
            let (mut kept, mut scratch, mut seen) = (Kept::default(), Scratch::default(), Vec::new());
            loop {
                let came = kept.receive(&mut from, &mut scratch, |payload| {
                    seen.push((payload[0], payload.len() / 8));
                    Ok(())
                });
                if came.expect("well-formed") == Came::End {
                    break;
                }
            }
            assert_eq!(seen, (1..).zip(words).collect::<Vec<_>>(), "cut {cut}");
            assert!(matches!(kept, Kept::Nothing), "cut {cut}");
        }
    }

    #[test]
    fn what_is_no_frame_ends_the_session() {
        let mut from = Pieces { bytes: &[12, 0, 0, 0, 1], cut: 5, is_pausing: false };
        let received = Kept::default().receive(&mut from, &mut Scratch::default(), |_| Ok(()));
        assert!(matches!(received, Err(End::Frame(FrameError::NotWords { length: 12 }))), "{received:?}");
    }
}
