//! How people say where the masters are: `zk://[user:pass@]h1[:port],h2/path`, `host:port`, or a list of these.

use std::fmt;
use std::str::FromStr;

/// ZooKeeper's port where none is given.
const ZOOKEEPER_PORT: u16 = 2181;
/// A master's.
const MASTER_PORT: u16 = 5050;

/// Where to look for the leading master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Masters {
    Zookeeper(ZookeeperUrl),
    /// One at least.
    Addresses(Vec<Place>),
}

/// A host, and a port on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
}

/// An ensemble and a path in it.
#[derive(Clone, PartialEq, Eq)]
pub struct ZookeeperUrl {
    /// `user:pass`, for the scheme "digest".
    pub credentials: Option<String>,
    /// One at least.
    pub servers: Vec<Place>,
    /// Begins with a slash, does not end with one, and is not empty.
    pub path: String,
}

/// What is wrong with a text, for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("'{0}' is not host:port")]
    Place(String),
    #[error("'{0}' names no server")]
    NoServer(String),
    #[error("'{0}' has no path: zk://host:port/path")]
    NoPath(String),
    #[error("the credentials are not user:pass")]
    Credentials,
    #[error(
        "'{0}': allowed is zk://[user:pass@]host:port,.../path, host:port, or a list of these with commas"
    )]
    Scheme(String),
}

impl FromStr for Place {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        place(text, None)
    }
}

fn place(text: &str, port: Option<u16>) -> Result<Place, UrlError> {
    let bad = || UrlError::Place(text.to_owned());
    // [::1]:5050, and names or addresses with a single colon.
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => {
            rest.split_once(']').map(|(host, rest)| (host, rest.strip_prefix(':'))).ok_or_else(bad)?
        }
        None => text.split_once(':').map_or((text, None), |(host, rest)| (host, Some(rest))),
    };
    let port = match rest {
        Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?,
        None => port.ok_or_else(bad)?,
    };
    let is_good = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/@,".contains(c));
    if is_good { Ok(Place { host: host.to_owned(), port }) } else { Err(bad()) }
}

impl FromStr for ZookeeperUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("zk://").ok_or_else(|| UrlError::Scheme(text.to_owned()))?;
        // A password may hold anything but the last '@' before the servers.
        let (credentials, rest) = rest.rsplit_once('@').map_or((None, rest), |(who, rest)| (Some(who), rest));
        if credentials.is_some_and(|it| !it.contains(':')) {
            return Err(UrlError::Credentials);
        }
        let (servers, path) = rest.split_once('/').ok_or_else(|| UrlError::NoPath(rest.to_owned()))?;
        let path = path.trim_matches('/');
        if path.is_empty() {
            return Err(UrlError::NoPath(rest.to_owned()));
        }
        let servers = places(servers, ZOOKEEPER_PORT)?;
        Ok(Self { credentials: credentials.map(str::to_owned), servers, path: format!("/{path}") })
    }
}

fn places(text: &str, port: u16) -> Result<Vec<Place>, UrlError> {
    let each = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let places = each.map(|part| place(part, Some(port))).collect::<Result<Vec<_>, _>>()?;
    if places.is_empty() { Err(UrlError::NoServer(text.to_owned())) } else { Ok(places) }
}

impl FromStr for Masters {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.starts_with("zk://") {
            return text.parse().map(Self::Zookeeper);
        }
        if text.contains("://") {
            return Err(UrlError::Scheme(text.to_owned()));
        }
        // As Mesos writes a master's name to itself.
        places(&text.replace("master@", ""), MASTER_PORT).map(Self::Addresses)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Display for Masters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zookeeper(url) => url.fmt(f),
            Self::Addresses(places) => f.write_str(&list(places)),
        }
    }
}

/// Without what must not be seen.
impl fmt::Display for ZookeeperUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = if self.credentials.is_some() { "***@" } else { "" };
        write!(f, "zk://{hidden}{}{}", list(&self.servers), self.path)
    }
}

impl fmt::Debug for ZookeeperUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// With commas between.
pub(crate) fn list(places: &[Place]) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood() {
        let parsed = |text: &str| text.parse::<Masters>();
        for (text, shown) in [
            ("a:1", "a:1"),
            ("a", "a:5050"),
            ("master@10.0.0.1:5050", "10.0.0.1:5050"),
            ("a:1, b:2,[::1]:3", "a:1,b:2,[::1]:3"),
            ("zk://a,b:3/mesos", "zk://a:2181,b:3/mesos"),
            ("zk://user:p@ss:word@a:1/x/y/", "zk://***@a:1/x/y"),
        ] {
            assert_eq!(parsed(text).map(|it| it.to_string()), Ok(shown.to_owned()), "{text}");
        }
        let Ok(Masters::Zookeeper(url)) = parsed("zk://user:p@ss:word@a:1/x") else { panic!("a url") };
        assert_eq!(url.credentials.as_deref(), Some("user:p@ss:word"));
        assert!(!format!("{url:?}").contains("word"));
    }

    #[test]
    fn what_they_should_not_write_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "names no server"),
            (",", "names no server"),
            ("a:0", "not host:port"),
            ("a:x", "not host:port"),
            ("a b:1", "not host:port"),
            ("[::1:1", "not host:port"),
            ("zk://a:1", "has no path"),
            ("zk://a:1/", "has no path"),
            ("zk:///mesos", "names no server"),
            ("zk://user@a:1/mesos", "user:pass"),
            ("http://a:1", "allowed is"),
            ("file:///a", "allowed is"),
        ] {
            let error = text.parse::<Masters>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
