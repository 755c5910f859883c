//! HTTP/1.1 by hand: what the agent really puts on the wire is what is tested.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

pub fn call(at: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(crate::agent::patience())).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(&format!("{header}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// An answer that comes by pieces, for as long as it likes.
pub struct Lasting {
    stream: BufReader<TcpStream>,
    pub status: u16,
    pub head: String,
    /// What has come of a record that is not whole.
    rest: Vec<u8>,
}

impl Lasting {
    pub fn open(at: SocketAddr, path: &str, headers: &[&str], body: &str) -> Self {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(crate::agent::patience())).unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: {at}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).unwrap();
        Self::read(stream)
    }

    fn read(stream: TcpStream) -> Self {
        let (mut stream, mut head) = (BufReader::new(stream), String::new());
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "no whole head: {head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { stream, status, head, rest: Vec::new() }
    }

    /// The next record; `None` at the end.
    pub fn record(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let length: usize = std::str::from_utf8(&self.rest[..end]).unwrap().parse().unwrap();
                if self.rest.len() > end + length {
                    let record = self.rest[end + 1..][..length].to_vec();
                    self.rest.drain(..=end + length);
                    return Some(record);
                }
            }
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "cut off");
            let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let begin = self.rest.len();
            self.rest.resize(begin + length + 2, 0);
            self.stream.read_exact(&mut self.rest[begin..]).unwrap();
            self.rest.truncate(begin + length);
            if length == 0 {
                return None;
            }
        }
    }

    /// The body of an answer that has a length.
    pub fn text(&mut self) -> String {
        let head = self.head.to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|it| it.split("\r\n").next());
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

/// A request that goes by pieces, for as long as it likes.
pub struct Sending {
    stream: TcpStream,
}

impl Sending {
    pub fn open(at: SocketAddr, path: &str, headers: &[&str]) -> Self {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(crate::agent::patience())).unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: {at}\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Self { stream }
    }

    pub fn record(&mut self, record: &[u8]) {
        let framed = [format!("{}\n", record.len()).as_bytes(), record].concat();
        self.bytes(&framed);
    }

    /// Unframed.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.stream.write_all(&chunk).unwrap();
    }

    /// The request is whole; what it got.
    pub fn end(mut self) -> Lasting {
        // Who has answered already may have hung up.
        _ = self.stream.write_all(b"0\r\n\r\n");
        self.answer()
    }

    /// What it got before it was whole.
    pub fn answer(self) -> Lasting {
        Lasting::read(self.stream)
    }
}
