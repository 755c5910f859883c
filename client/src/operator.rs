//! Requests that are answered at once: an operator's questions to a master or an agent.

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::Value;

use crate::http::{Call, Connection};
use crate::{Address, Error};

const CONTENT_TYPE: &str = "content-type";
const ACCEPT: &str = "accept";

/// Asks one daemon. A standby master's redirect is followed.
#[derive(Debug)]
pub struct Operator {
    connection: Connection,
}

/// A piece of a file in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// As the agent shows it in JSON: bytes that are not UTF-8 are already replaced.
    pub data: String,
    /// Where it begins, in bytes. Asked for as `None`, it is the file's size.
    pub offset: u64,
}

impl Operator {
    pub fn new(address: Address) -> Self {
        Self { connection: Connection::new(address) }
    }

    /// Where the daemon is, after redirects.
    pub fn address(&self) -> &Address {
        self.connection.address()
    }

    /// The answer to a GET, such as `/tasks?limit=10`. The path must be escaped.
    pub async fn get(&mut self, path: &str) -> Result<Bytes, Error> {
        self.connection.fetch(&get(path)).await
    }

    /// The answer to a GET, as JSON.
    pub async fn get_json(&mut self, path: &str) -> Result<Value, Error> {
        let call = get(path);
        let body = self.connection.fetch(&call).await?;
        serde_json::from_slice(&body).map_err(|error| self.connection.nonsense(&call, error.to_string()))
    }

    /// Makes a call of the operator API; its answer is JSON, or nothing.
    pub async fn call(&mut self, path: &str, call: &Value) -> Result<Option<Value>, Error> {
        let name = call["type"].as_str().unwrap_or("a call").to_owned();
        let json = HeaderValue::from_static("application/json");
        let headers = vec![(CONTENT_TYPE, json.clone()), (ACCEPT, json)];
        let body = Bytes::from(call.to_string());
        let call = Call { name, method: Method::POST, path: path.to_owned(), headers, body };
        let answer = self.connection.fetch(&call).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        let read = serde_json::from_slice(&answer);
        read.map(Some).map_err(|error| self.connection.nonsense(&call, error.to_string()))
    }

    /// Reads at most `length` bytes of a file from `offset`; its size and no data if `offset` is `None`.
    pub async fn read_file(&mut self, path: &str, offset: Option<u64>, length: u64) -> Result<Piece, Error> {
        let offset = offset.map_or_else(|| "-1".to_owned(), |it| it.to_string());
        let path = format!("/files/read?path={}&offset={offset}&length={length}", escaped(path));
        let answer = self.get_json(&path).await?;
        match (answer["data"].as_str(), answer["offset"].as_u64()) {
            (Some(data), Some(offset)) => Ok(Piece { data: data.to_owned(), offset }),
            _ => Err(self.connection.nonsense(&get("/files/read"), answer.to_string())),
        }
    }
}

fn get(path: &str) -> Call {
    let name = format!("GET {}", path.split('?').next().unwrap_or_default());
    Call { name, method: Method::GET, path: path.to_owned(), headers: Vec::new(), body: Bytes::new() }
}

/// A query's value with everything escaped that could end it.
pub fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_could_end_a_value_is_escaped() {
        assert_eq!(escaped("/a-b_c.d~1"), "/a-b_c.d~1");
        assert_eq!(escaped("a b&c=d%ü"), "a%20b%26c%3Dd%25%C3%BC");
    }
}
