//! Where a master or agent listens, as a user writes it.

use std::fmt;
use std::str::FromStr;

/// The port of a master where none is given.
const MASTER_PORT: u16 = 5050;

/// A host name or IP address, and a port. Resolved anew for each connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

/// The text is no address.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no address: expected HOST:PORT, such as 127.0.0.1:5050")]
pub struct Malformed(String);

impl FromStr for Address {
    type Err = Malformed;

    /// Takes `host`, `host:port`, `[v6]:port`, each also as a URL (`http://host:port/…`, `//host:port`).
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed(text.to_owned());
        let rest = text.strip_prefix("http:").unwrap_or(text);
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let rest = rest.split('/').next().unwrap_or_default();
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(malformed)?,
            None => rest.find(':').map_or((rest, ""), |colon| rest.split_at(colon)),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port != 0).ok_or_else(malformed)?,
            None if port.is_empty() => MASTER_PORT,
            None => return Err(malformed()),
        };
        let host_is_plausible =
            !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '@' || c == ',');
        if host_is_plausible { Ok(Self { host: host.to_owned(), port }) } else { Err(malformed()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        let read = text.parse::<Address>().ok().map(|it| it.to_string());
        assert_eq!(read.as_deref(), expect, "{text}");
    }

    #[test]
    fn addresses_are_read_as_users_and_masters_write_them() {
        check("127.0.0.1:5050", Some("127.0.0.1:5050"));
        check("master.example", Some("master.example:5050"));
        check("http://10.0.0.1:80/master/state", Some("10.0.0.1:80"));
        check("//localhost:5051", Some("localhost:5051"));
        check("[::1]:5050", Some("[::1]:5050"));
        check("[::1]", Some("[::1]:5050"));
        for bad in
            ["", ":5050", "host:", "host:0", "host:65536", "host:x", "[::1", "a b:1", "zk@host:1", "::1"]
        {
            check(bad, None);
        }
    }
}
