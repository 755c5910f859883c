//! Asks web servers for files: HTTP/1.1, plain or over TLS, one connection a file, through redirections.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use http::uri::Authority;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

const REDIRECTS_MAX: usize = 10;

/// What all fetches have in common.
#[derive(Debug)]
pub(super) struct Client {
    stall_max: Duration,
    /// Trusted beside those that the machine trusts.
    authorities: Vec<CertificateDer<'static>>,
    /// Made when the first needs it: that reads the machine's whole list of authorities.
    tls: OnceLock<Result<Arc<rustls::ClientConfig>, String>>,
}

/// A file that a server has begun to send.
pub(super) struct Download {
    body: Incoming,
    /// What the server says that it will be.
    pub length: Option<u64>,
    stall_max: Duration,
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Certificates of a PEM file.
pub fn read_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate is in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

impl Client {
    pub(super) fn new(stall_max: Duration, authorities: Vec<CertificateDer<'static>>) -> Self {
        Self { stall_max, authorities, tls: OnceLock::new() }
    }

    pub(super) async fn get(&self, uri: &http::Uri) -> Result<Download, String> {
        let mut uri = uri.clone();
        // Only for the server that it was meant for.
        let mut credentials = uri.authority().and_then(credentials);
        for _ in 0..=REDIRECTS_MAX {
            let asked = self.ask(&uri, credentials.as_deref());
            let response = unstalled(self.stall_max, asked).await.and_then(|response| response)?;
            let status = response.status();
            if status.is_redirection()
                && let Some(location) = response.headers().get(http::header::LOCATION)
            {
                let location = location.to_str().map_err(|_| "a redirection to nowhere".to_owned())?;
                let next = redirected(&uri, location)?;
                let stays = next.scheme() == uri.scheme() && next.authority() == uri.authority();
                credentials = credentials.filter(|_| stays);
                uri = next;
                continue;
            }
            if status != http::StatusCode::OK {
                return Err(format!("received HTTP return code {}", status.as_u16()));
            }
            let length = response.headers().get(http::header::CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            return Ok(Download { body: response.into_body(), length, stall_max: self.stall_max });
        }
        Err(format!("more than {REDIRECTS_MAX} redirections"))
    }

    async fn ask(
        &self,
        uri: &http::Uri,
        credentials: Option<&str>,
    ) -> Result<http::Response<Incoming>, String> {
        let text = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let authority = uri.authority().ok_or("it names no host")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_tls = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(|e| text("connect", &e))?;
        let stream: Box<dyn Wire> = if is_tls {
            let name = ServerName::try_from(host.to_owned()).map_err(|e| text("its host", &e))?;
            let tls = tokio_rustls::TlsConnector::from(self.tls()?);
            Box::new(tls.connect(name, stream).await.map_err(|e| text("TLS", &e))?)
        } else {
            Box::new(stream)
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| text("connect", &e))?;
        // Ends with the answer, which is the only one on this connection.
        tokio::spawn(connection);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let address = authority.as_str().rsplit('@').next().unwrap_or_default();
        let mut request = http::Request::get(path)
            .header(http::header::HOST, address)
            .header(http::header::USER_AGENT, "ingot-agent");
        if let Some(credentials) = credentials {
            request = request.header(http::header::AUTHORIZATION, credentials);
        }
        let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|e| text("ask", &e))?;
        sender.send_request(request).await.map_err(|e| text("ask", &e))
    }

    fn tls(&self) -> Result<Arc<rustls::ClientConfig>, String> {
        self.tls.get_or_init(|| tls(&self.authorities)).clone()
    }
}

impl Download {
    /// The next bytes; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<bytes::Bytes>, String> {
        loop {
            match unstalled(self.stall_max, self.body.frame()).await? {
                None => return Ok(None),
                Some(Err(error)) => return Err(format!("the answer broke off: {error}")),
                Some(Ok(frame)) => {
                    if let Ok(block) = frame.into_data() {
                        return Ok(Some(block));
                    }
                }
            }
        }
    }
}

async fn unstalled<T>(stall_max: Duration, work: impl Future<Output = T>) -> Result<T, String> {
    let waited = tokio::time::timeout(stall_max, work).await;
    waited.map_err(|_| format!("nothing arrived for {} seconds", stall_max.as_secs_f64()))
}

fn tls(authorities: &[CertificateDer<'static>]) -> Result<Arc<rustls::ClientConfig>, String> {
    let mut trusted = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    trusted.add_parsable_certificates(found.certs);
    let (added, _) = trusted.add_parsable_certificates(authorities.iter().cloned());
    if trusted.is_empty() {
        return Err("TLS: this machine trusts no authorities (ca-certificates, --fetcher-ca-file)".to_owned());
    }
    if added < authorities.len() {
        return Err("TLS: not every certificate of --fetcher-ca-file is an authority's".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// `user:password@` of a URI, as a server wants them (RFC 7617).
fn credentials(authority: &Authority) -> Option<String> {
    let (userinfo, _) = authority.as_str().rsplit_once('@')?;
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let mut plain = decoded(user);
    plain.push(b':');
    plain.extend(decoded(password));
    Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain)))
}

/// Each `%41` is an `A`.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// Where a redirection leads: a reference that the URL before it completes (RFC 3986, section 4.2). Never from TLS to where
/// there is none.
pub(crate) fn redirected(from: &http::Uri, location: &str) -> Result<http::Uri, String> {
    let nowhere = || "a redirection to nowhere".to_owned();
    let location = location.split('#').next().unwrap_or_default();
    let scheme = from.scheme_str().ok_or_else(nowhere)?;
    let authority = from.authority().ok_or_else(nowhere)?;
    let before_path = location.split(['/', '?']).next().unwrap_or_default();
    let complete = if before_path.ends_with(':') {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", from.path())
    } else {
        // Servers take `.` and `..` out of a path themselves.
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let to: http::Uri = complete.parse().map_err(|_| nowhere())?;
    match to.scheme_str() {
        Some("http") if scheme == "https" => {
            Err("redirected from https to http, which is not followed".to_owned())
        }
        Some("http" | "https") => Ok(to),
        Some(other) => Err(format!("redirected to scheme '{other}', which is not supported")),
        None => Err(nowhere()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_lead_to_where_they_may() {
        let check = |from: &str, location: &str| {
            redirected(&from.parse().expect("a URI"), location).map(|uri| uri.to_string())
        };
        assert_eq!(check("http://a/x", "/y?z=1"), Ok("http://a/y?z=1".to_owned()));
        assert_eq!(check("http://a/x", "https://b/y#part"), Ok("https://b/y".to_owned()));
        assert_eq!(
            check("http://u:p@a/d/x?q", "y?u=http://z/"),
            Ok("http://u:p@a/d/y?u=http://z/".to_owned())
        );
        assert_eq!(check("https://a/d/x", "//b/y"), Ok("https://b/y".to_owned()));
        assert_eq!(check("http://a/d/x?q", "?r"), Ok("http://a/d/x?r".to_owned()));
        let refused = |from, location| check(from, location).expect_err(location);
        assert_eq!(
            refused("https://a/x", "http://a/y"),
            "redirected from https to http, which is not followed"
        );
        let scheme = "redirected to scheme 'ftp', which is not supported";
        assert_eq!(refused("http://a/x", "ftp://b/y"), scheme);
        assert_eq!(refused("http://a/x", "file:///etc/passwd"), "a redirection to nowhere");
    }

    #[test]
    fn credentials_of_a_uri_are_decoded() {
        let of =
            |uri: &str| credentials(uri.parse::<http::Uri>().expect("a URI").authority().expect("a host"));
        assert_eq!(of("http://host/a"), None);
        // RFC 7617, section 2; and the same with a sign that a URI cannot hold as it is.
        let expect = Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned());
        assert_eq!(of("http://Aladdin:open%20sesame@host/a"), expect);
    }
}
