//! One HTTP/1.1 connection at a time to one daemon: opened when needed, kept while it lives. Requests on it go one
//! after the other, so that calls arrive in the order in which they were made.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Address, Error};

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Until the head of an answer is there. A master that holds a call longer than this is as good as gone.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The state of a large cluster fits; an endless body does not.
const BODY_BYTES_MAX: usize = 512 << 20;
/// Of a refusal's text, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
const REDIRECTS_MAX: usize = 5;

/// A request that can be sent again to another address.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// What to call it in an error.
    pub(crate) name: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, HeaderValue)>,
    pub(crate) body: Bytes,
}

/// A connection to a daemon, or the intention to have one.
#[derive(Debug)]
pub(crate) struct Connection {
    address: Address,
    sender: Option<SendRequest<Full<Bytes>>>,
    /// Until the head of an answer is there.
    patience: Duration,
}

impl Connection {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, sender: None, patience: ANSWER_MAX }
    }

    /// For answers that take as long as what they tell of.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Where the next request goes.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends the next request elsewhere.
    pub(crate) fn redirect(&mut self, address: Address) {
        if self.address != address {
            self.address = address;
            self.sender = None;
        }
    }

    /// Sends a call and gives the answer's head; goes on to the leading master where this one is not it.
    /// An answer other than 2xx is an error that carries its text.
    pub(crate) async fn send(&mut self, call: &Call) -> Result<Response<Incoming>, Error> {
        for _ in 0..REDIRECTS_MAX {
            let response = self.exchange(call).await?;
            let status = response.status();
            if status == StatusCode::TEMPORARY_REDIRECT {
                self.redirect(self.location(call, &response)?);
            } else if status.is_success() {
                return Ok(response);
            } else {
                // A refusal that cannot be read in full is still a refusal.
                let text = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
                let text = text.map(|it| String::from_utf8_lossy(&it.to_bytes()).trim().to_owned());
                let (address, request) = (self.address.clone(), call.name.clone());
                return Err(Error::Refused { address, request, status, text: text.unwrap_or_default() });
            }
        }
        Err(Error::RedirectLoop { address: self.address.clone(), request: call.name.clone() })
    }

    /// Sends a call and gives the whole body of its answer.
    pub(crate) async fn fetch(&mut self, call: &Call) -> Result<Bytes, Error> {
        let response = self.send(call).await?;
        match timeout(ANSWER_MAX, Limited::new(response.into_body(), BODY_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(self.nonsense(call, error.to_string())),
            Err(_) => Err(self.slow(call)),
        }
    }

    pub(crate) fn nonsense(&self, call: &Call, why: String) -> Error {
        Error::Nonsense { address: self.address.clone(), request: call.name.clone(), why }
    }

    fn slow(&self, call: &Call) -> Error {
        Error::Slow { address: self.address.clone(), request: call.name.clone(), limit: self.patience }
    }

    fn location(&self, call: &Call, response: &Response<Incoming>) -> Result<Address, Error> {
        let location = response.headers().get(header::LOCATION).and_then(|it| it.to_str().ok());
        let address = location.and_then(|it| it.parse().ok());
        address.ok_or_else(|| self.nonsense(call, format!("a redirect to {location:?}")))
    }

    async fn exchange(&mut self, call: &Call) -> Result<Response<Incoming>, Error> {
        let broken = |address: &Address, source| Error::Broken {
            address: address.clone(),
            request: call.name.clone(),
            source,
        };
        // A kept connection may have been closed meanwhile. hyper says so before it has sent anything, so going on with
        // a new one repeats nothing.
        if let Some(mut kept) = self.sender.take().filter(|it| !it.is_closed()) {
            match timeout(self.patience, kept.send_request(self.request(call))).await {
                Ok(Ok(response)) => {
                    self.sender = Some(kept);
                    return Ok(response);
                }
                Ok(Err(error)) if error.is_canceled() => {}
                Ok(Err(error)) => return Err(broken(&self.address, error)),
                Err(_) => return Err(self.slow(call)),
            }
        }
        let mut fresh = self.connect(call).await?;
        match timeout(self.patience, fresh.send_request(self.request(call))).await {
            Ok(Ok(response)) => {
                self.sender = Some(fresh);
                Ok(response)
            }
            Ok(Err(error)) => Err(broken(&self.address, error)),
            Err(_) => Err(self.slow(call)),
        }
    }

    async fn connect(&self, call: &Call) -> Result<SendRequest<Full<Bytes>>, Error> {
        let address = self.address.clone();
        let connecting =
            timeout(CONNECT_MAX, TcpStream::connect((address.host.as_str(), address.port))).await;
        let connected = connecting.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let stream = connected.map_err(|source| Error::Connect { address: address.clone(), source })?;
        // Calls are small and waited for: Nagle would only add delay. A socket that refuses still works.
        let _ = stream.set_nodelay(true);
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            shaken.map_err(|source| Error::Broken { address, request: call.name.clone(), source })?;
        // It ends with the connection; what went wrong on it is told to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, call: &Call) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.path.parse().expect("paths are escaped where they are made");
        let headers = request.headers_mut();
        let host = self.address.to_string();
        headers.insert(
            header::HOST,
            HeaderValue::from_str(&host).expect("an address has no control characters"),
        );
        for (name, value) in &call.headers {
            headers.insert(*name, value.clone());
        }
        request
    }
}
