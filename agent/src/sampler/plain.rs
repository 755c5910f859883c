//! Reads held files one after another: where io_uring may not be used, and what a ring's buffer was too small for.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The text of a file from `offset` on. Blocks.
pub(super) fn read_from(file: &File, mut offset: u64, text: &mut Vec<u8>) -> io::Result<()> {
    let mut block = [0; 4096];
    loop {
        match file.read_at(&mut block, offset) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                text.extend_from_slice(&block[..length]);
                offset += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(1024);
    read_from(file, 0, &mut text).map(|()| text)
}
