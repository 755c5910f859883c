//! Takes a compressed stream for what its first bytes say, not for what its name does.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::WINDOW_BYTES_MAX;

/// What is in it, decompressed; itself, if none of the compressions is seen.
pub(crate) fn open<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(128 << 10, source);
    let start = source.fill_buf()?;
    let window_kib = u32::try_from(WINDOW_BYTES_MAX >> 10).expect("less than 4 TiB");
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(source)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::read::MultiBzDecoder::new(source)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, window_kib))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(Zstd { source: Some(source), frame: None })
        }
        _ => Box::new(source),
    })
}

/// Every frame of a zstd file (RFC 8878): some compressors write many, and frames to be skipped between them.
struct Zstd<R: BufRead> {
    /// `None` while a frame has it.
    source: Option<R>,
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let count = frame.read(into)?;
                if count > 0 || into.is_empty() {
                    return Ok(count);
                }
                self.source = self.frame.take().map(StreamingDecoder::into_inner);
            }
            let mut source = self.source.take().expect("where no frame is, the source is");
            let start = source.fill_buf()?;
            if start.is_empty() {
                self.source = Some(source);
                return Ok(0);
            }
            if matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
                let mut header = [0; 8];
                source.read_exact(&mut header)?;
                let [_, _, _, _, length @ ..] = header;
                let length = u64::from(u32::from_le_bytes(length));
                if io::copy(&mut source.by_ref().take(length), &mut io::sink())? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.source = Some(source);
                continue;
            }
            let frame = StreamingDecoder::new_with_max_window_size(source, WINDOW_BYTES_MAX);
            self.frame = Some(frame.map_err(|error| io::Error::other(error.to_string()))?);
        }
    }
}
