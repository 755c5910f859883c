//! A framework over real HTTP: one connection with its event stream, one for its calls, which are sent without waiting for
//! the answers to those before.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::{Context, bail};
use api::media::{self, Encoding};
use api::recordio::Decoder;
use api::v1;
use api::v1::scheduler::{Call, Event, call};
use client::scheduler;
use nix::sys::socket::{MsgFlags, recv};

use super::turns::Turns;

pub(super) struct Subscriber {
    encoding: Encoding,
    events: TcpStream,
    chunks: Chunks,
    records: Decoder,
    calls: TcpStream,
    /// Of answers that have not come whole.
    answers: Vec<u8>,
    framework_id: v1::FrameworkId,
    stream_id: String,
}

impl Subscriber {
    /// Subscribes. Its connections have the numbers `number` (events) and `number + 1` (calls) in `turns`.
    pub(super) fn subscribe(
        master: SocketAddrV4,
        encoding: Encoding,
        number: u64,
        turns: &Turns,
    ) -> anyhow::Result<Self> {
        let framework_info = scheduler::framework(&format!("bench-{number}"), "*")?;
        let subscribe = call::Subscribe { framework_info, ..call::Subscribe::default() };
        let mut call = Call { subscribe: Some(subscribe), ..Call::default() };
        call.set_type(call::Type::Subscribe);
        let mut events = TcpStream::connect(master)?;
        events.write_all(&request(encoding, None, &media::encode(encoding, &call)))?;
        let (head, rest) = read_head(&mut events)?;
        let stream_id = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("Mesos-Stream-Id").then(|| value.trim().to_owned())
        });
        let calls = TcpStream::connect(master)?;
        calls.set_nodelay(true)?;
        let mut subscriber = Self {
            encoding,
            events,
            chunks: Chunks::default(),
            records: Decoder::default(),
            calls,
            answers: Vec::new(),
            framework_id: v1::FrameworkId::default(),
            stream_id: stream_id.with_context(|| format!("a stream without an id: {head}"))?,
        };
        subscriber.chunks.push(&rest, &mut subscriber.records)?;
        subscriber.learn_id()?;
        subscriber.events.set_nonblocking(true)?;
        turns.add(&subscriber.events, number)?;
        turns.add(&subscriber.calls, number + 1)?;
        Ok(subscriber)
    }

    /// Its first event tells who it is.
    fn learn_id(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(record) = self.records.next_record()? {
                let event: Event = decode(self.encoding, &record)?;
                self.framework_id = event.subscribed.context("SUBSCRIBED comes first")?.framework_id;
                return Ok(());
            }
            let mut buffer = [0; 4096];
            let count = self.events.read(&mut buffer)?;
            self.chunks.push(&buffer[..count], &mut self.records)?;
        }
    }

    pub(super) fn framework_id(&self) -> &str {
        &self.framework_id.value
    }

    /// Takes what has come of the stream. How many bytes; the events are got by [`Self::next`].
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> anyhow::Result<usize> {
        match self.events.read(buffer) {
            Ok(0) => bail!("the master ended the stream of {}", self.framework_id.value),
            Ok(count) => {
                self.chunks.push(&buffer[..count], &mut self.records)?;
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error).context("a framework hears the master"),
        }
    }

    pub(super) fn next(&mut self) -> anyhow::Result<Option<Event>> {
        let Some(record) = self.records.next_record()? else { return Ok(None) };
        decode(self.encoding, &record).map(Some)
    }

    /// Sends a call. The framework's id is filled in.
    pub(super) fn call(&mut self, kind: call::Type, mut call: Call) -> anyhow::Result<()> {
        call.set_type(kind);
        call.framework_id = Some(self.framework_id.clone());
        let body = media::encode(self.encoding, &call);
        let request = request(self.encoding, Some(&self.stream_id), &body);
        self.calls.write_all(&request).context("a framework speaks to the master")
    }

    /// Reads answers to its calls: all are `202 Accepted`, or the bench is wrong.
    pub(super) fn hear_answers(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        let count = match recv(self.calls.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => bail!("the master closed a framework's connection"),
            Ok(count) => count,
            Err(nix::Error::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.answers.extend_from_slice(&buffer[..count]);
        let mut at = 0;
        while let Some(length) = find(&self.answers[at..], b"\r\n\r\n") {
            if !self.answers[at..].starts_with(b"HTTP/1.1 202 ") {
                bail!("a call was refused: {}", String::from_utf8_lossy(&self.answers[at..]));
            }
            at += length + 4;
        }
        self.answers.drain(..at);
        Ok(())
    }
}

fn decode(encoding: Encoding, record: &bytes::Bytes) -> anyhow::Result<Event> {
    media::decode(encoding, record).map_err(|refusal| anyhow::anyhow!("no event: {refusal:?}"))
}

fn request(encoding: Encoding, stream_id: Option<&str>, body: &[u8]) -> Vec<u8> {
    let (kind, length) = (encoding.as_str(), body.len());
    let stream_id = stream_id.map(|id| format!("Mesos-Stream-Id: {id}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /api/v1/scheduler HTTP/1.1\r\nHost: master\r\nContent-Type: {kind}\r\nAccept: {kind}\r\n{stream_id}\
         Content-Length: {length}\r\n\r\n"
    );
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    request
}

/// The head of an answer, and what came behind it.
fn read_head(stream: &mut TcpStream) -> anyhow::Result<(String, Vec<u8>)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            let head = String::from_utf8(bytes)?;
            if !head.starts_with("HTTP/1.1 200 ") {
                bail!("not subscribed: {head}{}", String::from_utf8_lossy(&rest));
            }
            return Ok((head, rest));
        }
        if count == 0 {
            bail!("the master closed a connection");
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Takes a body out of its chunks.
#[derive(Default)]
struct Chunks {
    /// Bytes of the chunk that are still to come, its last line break included.
    left: usize,
    /// Of a chunk's first line.
    line: Vec<u8>,
}

const LINE_BREAK: usize = b"\r\n".len();

impl Chunks {
    fn push(&mut self, mut bytes: &[u8], records: &mut Decoder) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                    self.line.extend_from_slice(bytes);
                    return Ok(());
                };
                self.line.extend_from_slice(&bytes[..end]);
                bytes = &bytes[end + 1..];
                let line = std::str::from_utf8(&self.line)?.trim_end();
                let length = usize::from_str_radix(line, 16).with_context(|| format!("chunk '{line}'"))?;
                self.left = length + LINE_BREAK;
                self.line.clear();
            }
            let here = bytes.len().min(self.left);
            let data = here.min(self.left.saturating_sub(LINE_BREAK));
            records.push(&bytes[..data]);
            self.left -= here;
            bytes = &bytes[here..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_may_be_cut_anywhere() {
        let body: Vec<u8> = [&b"5\nhello"[..], b"3\nyou"].concat();
        let wire: Vec<u8> = body
            .chunks(4)
            .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
            .collect();
        for cut in 1..wire.len() {
            let (mut chunks, mut records) = (Chunks::default(), Decoder::default());
            for piece in wire.chunks(cut) {
                chunks.push(piece, &mut records).expect("well-formed");
            }
            let mut next = || records.next_record().expect("well-formed").expect("whole");
            assert_eq!((&next()[..], &next()[..]), (&b"hello"[..], &b"you"[..]), "cut {cut}");
        }
    }
}
