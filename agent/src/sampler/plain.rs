//! Reads held files one after another, in the calling thread: where io_uring may not be used, or would not read at once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::engine::{Request, Room};

/// Files read before others get their turn; about a tenth of a millisecond.
const WINDOW: usize = 64;

/// Files held by descriptors of the process.
#[derive(Debug, Default)]
pub(super) struct Plain {
    files: Vec<Option<File>>,
    free: Vec<u32>,
}

impl Plain {
    pub(super) fn hold(&mut self, file: File) -> u32 {
        if let Some(place) = self.free.pop() {
            self.files[place as usize] = Some(file);
            return place;
        }
        self.files.push(Some(file));
        u32::try_from(self.files.len() - 1).expect("fewer than there are descriptors")
    }

    pub(super) fn release(&mut self, place: u32) {
        if self.files[place as usize].take().is_some() {
            self.free.push(place);
        }
    }

    /// As [`super::ring::Ring::read`].
    pub(super) async fn read(&self, requests: &[Request], mut see: impl FnMut(usize, io::Result<&[u8]>)) {
        for (index, request) in requests.iter().enumerate() {
            match &self.files[request.place as usize] {
                Some(file) => read(file, request.room, |text| see(index, text)),
                None => see(index, Err(io::Error::from(io::ErrorKind::NotFound))),
            }
            if (index + 1) % WINDOW == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Shows the text of a file.
pub(super) fn read(file: &File, room: Room, see: impl FnOnce(io::Result<&[u8]>)) {
    let mut block = [0; Room::Page.bytes()];
    let block = &mut block[..room.bytes()];
    match read_at(file, block, 0) {
        Ok(length) if room.may_go_on(length) => {
            let mut text = block[..length].to_vec();
            let rest = loop {
                match read_at(file, block, text.len() as u64) {
                    Ok(0) => break Ok(()),
                    Ok(length) => text.extend_from_slice(&block[..length]),
                    Err(error) => break Err(error),
                }
            };
            see(rest.map(|()| text.as_slice()));
        }
        Ok(length) => see(Ok(&block[..length])),
        Err(error) => see(Err(error)),
    }
}

fn read_at(file: &File, block: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(block, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
