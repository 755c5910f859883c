//! RecordIO: `<length in decimal>\n<bytes>`, back to back. How streams of events and calls are framed.

use bytes::{Buf, Bytes, BytesMut};

/// Largest record a decoder accepts unless told otherwise, in bytes.
///
/// Mesos has no limit of its own; an event of this size holds the offers of some 100,000 agents.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// Digits of the longest length that is read: `u64::MAX`.
const DIGITS_MAX: usize = 20;

/// Of the length and its line break.
const HEAD_BYTES_MAX: usize = DIGITS_MAX + 1;

/// Why a stream cannot be read on: where the next record would begin is unknown.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("Failed to decode length '{0}'")]
    Length(String),
    #[error("a record of {bytes} bytes is over the limit of {max}")]
    TooLarge { bytes: u64, max: usize },
}

/// One record: the length line and the bytes.
pub fn encode(record: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(record.len() + DIGITS_MAX + 1);
    out.extend_from_slice(record.len().to_string().as_bytes());
    out.push(b'\n');
    out.extend_from_slice(record);
    out.into()
}

/// The same of a record that is written here, by `write`, to its one place.
pub fn encode_with(room: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(HEAD_BYTES_MAX + room);
    out.resize(HEAD_BYTES_MAX, 0);
    write(&mut out);
    // The length is known last and stands first: written backwards from where the record begins.
    let (mut length, mut start) = (out.len() - HEAD_BYTES_MAX, HEAD_BYTES_MAX - 1);
    out[start] = b'\n';
    loop {
        start -= 1;
        out[start] = b'0' + (length % 10) as u8;
        length /= 10;
        if length == 0 {
            return Bytes::from(out).slice(start..);
        }
    }
}

/// Cuts a byte stream into records, however it arrives. Memory is bounded by the limit plus one chunk.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// The length of the record being read, once its line is complete.
    length: Option<usize>,
    bytes_max: usize,
    failed: Option<Error>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(RECORD_BYTES_MAX)
    }
}

impl Decoder {
    /// Refuses records of more than `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), length: None, bytes_max, failed: None }
    }

    /// Takes the next bytes of the stream. Follow with [`Self::next_record`] until it gives `None`.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next complete record. After an error every call gives the same error.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.step().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer.clear();
        })
    }

    /// True between records: a stream that ends here was not cut off.
    pub fn is_idle(&self) -> bool {
        self.buffer.is_empty() && self.length.is_none()
    }

    fn step(&mut self) -> Result<Option<Bytes>, Error> {
        let length = match self.length {
            Some(length) => length,
            None => {
                let Some(length) = self.length_line()? else { return Ok(None) };
                self.length = Some(length);
                length
            }
        };
        if self.buffer.len() < length {
            return Ok(None);
        }
        self.length = None;
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn length_line(&mut self) -> Result<Option<usize>, Error> {
        let window = &self.buffer[..self.buffer.len().min(DIGITS_MAX + 1)];
        let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
            if window.len() > DIGITS_MAX {
                return Err(Error::Length(String::from_utf8_lossy(window).into_owned()));
            }
            return Ok(None);
        };
        let line = &window[..end];
        // Digits only: `parse` would also take a sign.
        let length = std::str::from_utf8(line)
            .ok()
            .filter(|line| line.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|line| line.parse::<u64>().ok())
            .ok_or_else(|| Error::Length(String::from_utf8_lossy(line).into_owned()))?;
        if length > self.bytes_max as u64 {
            return Err(Error::TooLarge { bytes: length, max: self.bytes_max });
        }
        self.buffer.advance(end + 1);
        Ok(Some(length as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(decoder: &mut Decoder, records: &mut Vec<Bytes>) -> Result<(), Error> {
        while let Some(record) = decoder.next_record()? {
            records.push(record);
        }
        Ok(())
    }

    #[test]
    fn a_record_is_the_same_however_it_is_written() {
        for length in [0, 1, 9, 10, 99, 100, 12_345] {
            let record = vec![b'x'; length];
            assert_eq!(encode_with(length, |out| out.extend_from_slice(&record)), encode(&record));
        }
    }

    proptest! {
        #[test]
        fn records_survive_any_split(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
            cuts in prop::collection::vec(1usize..30, 1..60),
        ) {
            let stream: Vec<u8> = records.iter().flat_map(|record| encode(record)).collect();
            let (mut decoder, mut got, mut rest) = (Decoder::default(), Vec::new(), &stream[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                decoder.push(head);
                drain(&mut decoder, &mut got).expect("well-formed");
                rest = tail;
            }
            prop_assert!(decoder.is_idle());
            prop_assert_eq!(got, records);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(64);
            decoder.push(&bytes);
            let _ = drain(&mut decoder, &mut Vec::new());
        }
    }

    #[test]
    fn a_bad_length_fails_for_good() {
        for line in ["x\n", "-1\n", "+5\n", "\n", "1 \n", "184467440737095516160\n"] {
            let mut decoder = Decoder::default();
            decoder.push(line.as_bytes());
            let error = decoder.next_record().expect_err(line);
            assert!(matches!(error, Error::Length(_)), "{line:?}: {error}");
            decoder.push(b"0\n");
            assert_eq!(decoder.next_record(), Err(error), "{line:?}");
        }
    }

    #[test]
    fn a_record_over_the_limit_is_refused_before_it_is_stored() {
        let mut decoder = Decoder::new(3);
        decoder.push(b"3\nabc4\n");
        assert_eq!(decoder.next_record(), Ok(Some(Bytes::from_static(b"abc"))));
        assert_eq!(decoder.next_record(), Err(Error::TooLarge { bytes: 4, max: 3 }));
    }

    #[test]
    fn an_empty_record_is_a_record() {
        let mut decoder = Decoder::default();
        decoder.push(&encode(b""));
        assert_eq!(decoder.next_record(), Ok(Some(Bytes::new())));
        assert_eq!(decoder.next_record(), Ok(None));
    }
}
