//! HTTP as clients write it: sockets and bytes, so that what is on the wire is what is tested.

use crate::PATIENCE;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// By name, to the letter: some clients look no closer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

fn connect(master: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(master).expect("the master listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

fn read_head(reader: &mut impl BufRead) -> Answer {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    };
    let status = line();
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let mut headers = Vec::new();
    loop {
        let line = line();
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    Answer { status: status.expect("a status line"), headers, body: Vec::new() }
}

/// One request on a connection of its own.
pub(crate) fn send(
    master: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = connect(master);
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {master}\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("written");
    let mut reader = BufReader::new(stream);
    let mut answer = read_head(&mut reader);
    let length = answer.header("Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
    answer.body.resize(length, 0);
    if method != "HEAD" {
        reader.read_exact(&mut answer.body).expect("the whole body");
    }
    answer
}

pub(crate) fn get(master: SocketAddr, path: &str) -> Answer {
    send(master, "GET", path, &[], b"")
}

pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A scheduler that speaks JSON.
pub(crate) struct Scheduler {
    master: SocketAddr,
    pub(crate) framework_id: String,
    pub(crate) stream_id: String,
    events: BufReader<TcpStream>,
}

impl Scheduler {
    /// Subscribes and reads SUBSCRIBED and HEARTBEAT.
    pub(crate) fn subscribe(master: SocketAddr, info: Value) -> Self {
        Self::open(master, info).subscribed()
    }

    /// Reads SUBSCRIBED and HEARTBEAT.
    pub(crate) fn subscribed(mut self) -> Self {
        let scheduler = &mut self;
        let subscribed = scheduler.next().expect("SUBSCRIBED");
        assert_eq!(subscribed["type"], "SUBSCRIBED");
        assert_eq!(subscribed["subscribed"]["heartbeat_interval_seconds"], 15.0);
        scheduler.framework_id =
            subscribed["subscribed"]["framework_id"]["value"].as_str().expect("an id").to_owned();
        assert_eq!(scheduler.next(), Some(json!({"type": "HEARTBEAT"})), "it comes at once");
        self
    }

    /// Subscribes, whatever the answer.
    pub(crate) fn open(master: SocketAddr, info: Value) -> Self {
        Self::open_with(master, json!({"framework_info": info}))
    }

    /// Likewise, with what else a subscription may say.
    pub(crate) fn open_with(master: SocketAddr, subscribe: Value) -> Self {
        let mut stream = connect(master);
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": subscribe});
        if let Some(id) = call["subscribe"]["framework_info"].get("id").cloned() {
            call["framework_id"] = id;
        }
        let call = call.to_string();
        let head = format!(
            "POST /api/v1/scheduler HTTP/1.1\r\nHost: {master}\r\nContent-Type: application/json\r\nAccept: \
             application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{call}",
            call.len()
        );
        stream.write_all(head.as_bytes()).expect("written");
        let mut events = BufReader::new(stream);
        let answer = read_head(&mut events);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"));
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        let stream_id = answer.header("Mesos-Stream-Id").expect("a stream id").to_owned();
        Self { master, framework_id: String::new(), stream_id, events }
    }

    /// The next record, which must be a whole chunk; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let mut size = String::new();
        self.events.read_line(&mut size).expect("a chunk");
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        self.events.read_exact(&mut chunk).expect("a whole chunk");
        if size == 0 {
            return None;
        }
        let text = std::str::from_utf8(&chunk[..size]).expect("text");
        let (length, record) = text.split_once('\n').expect("a length line");
        assert_eq!(length.parse(), Ok(record.len()), "one record a chunk");
        Some(serde_json::from_str(record).expect("JSON"))
    }

    /// The next event of that type; heartbeats are passed over.
    pub(crate) fn expect(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().expect("the stream is open");
            if event["type"] == kind {
                return event;
            }
            assert_eq!(event["type"], "HEARTBEAT", "{event}");
        }
    }

    /// The next event of that type; heartbeats and these others are passed over.
    pub(crate) fn expect_among(&mut self, kind: &str, others: &[&str]) -> Value {
        loop {
            let event = self.next().expect("the stream is open");
            if event["type"] == kind {
                return event;
            }
            let other = event["type"].as_str().expect("a type");
            assert!(other == "HEARTBEAT" || others.contains(&other), "{event}");
        }
    }

    /// The first offer of the next OFFERS.
    pub(crate) fn offer(&mut self) -> Value {
        self.expect("OFFERS")["offers"]["offers"][0].clone()
    }

    pub(crate) fn call(&self, kind: &str, field: &str, value: Value) -> Answer {
        let call = json!({"framework_id": {"value": self.framework_id}, "type": kind, field: value});
        let headers = [JSON, ("Mesos-Stream-Id", &self.stream_id)];
        send(self.master, "POST", "/api/v1/scheduler", &headers, call.to_string().as_bytes())
    }

    /// Accepts an offer with one LAUNCH of these tasks.
    pub(crate) fn launch(&self, offer: &Value, tasks: Value, refuse_seconds: f64) {
        let accept = json!({
            "offer_ids": [offer["id"]],
            "operations": [{"type": "LAUNCH", "launch": {"task_infos": tasks}}],
            "filters": {"refuse_seconds": refuse_seconds},
        });
        let answer = self.call("ACCEPT", "accept", accept);
        assert_eq!((answer.status, answer.header("Content-Length")), (202, Some("0")), "{answer:?}");
    }
}

pub(crate) fn framework() -> Value {
    json!({"user": "root", "name": "f", "failover_timeout": 100})
}

/// A command task on the offer's agent.
pub(crate) fn task(id: &str, offer: &Value, cpus: f64) -> Value {
    json!({
        "name": id,
        "task_id": {"value": id},
        "agent_id": offer["agent_id"],
        "command": {"value": "true"},
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}}],
    })
}
