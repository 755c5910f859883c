//! Asks a task's web server how it is: a GET, redirections followed, only the last status counts. A certificate is not
//! verified, for it is made out to a name and the server is asked by its address: a probe asks whether somebody answers,
//! not who. (Mesos runs `curl -k -L`.)

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::lookup_host;

use super::runner::Connect;
use crate::containerizer::fetch::http::redirected;

/// As many as curl follows.
const REDIRECTIONS_MAX: usize = 50;

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// The status of the answer.
pub(super) async fn get(
    connect: &Connect,
    is_tls: bool,
    server: SocketAddr,
    path: &str,
) -> Result<u16, String> {
    let scheme = if is_tls { "https" } else { "http" };
    let path = if path.is_empty() { "/" } else { path };
    let mut uri: http::Uri =
        format!("{scheme}://{server}{path}").parse().map_err(|error| format!("path '{path}': {error}"))?;
    for _ in 0..=REDIRECTIONS_MAX {
        let (status, location) = ask(connect, &uri).await?;
        match location.filter(|_| status.is_redirection()) {
            None => return Ok(status.as_u16()),
            Some(location) => uri = redirected(&uri, &location)?,
        }
    }
    Err(format!("more than {REDIRECTIONS_MAX} redirections"))
}

async fn ask(connect: &Connect, uri: &http::Uri) -> Result<(http::StatusCode, Option<String>), String> {
    let text = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let authority = uri.authority().ok_or("it names no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_tls = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let mut addresses = lookup_host((host, port)).await.map_err(|error| text("connect", &error))?;
    let address = addresses.next().ok_or("connect: its host has no address")?;
    let stream = connect(address).await.map_err(|error| text("connect", &error))?;
    let stream: Box<dyn Wire> = if is_tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| text("its host", &error))?;
        let tls = tokio_rustls::TlsConnector::from(tls()?);
        Box::new(tls.connect(name, stream).await.map_err(|error| text("TLS", &error))?)
    } else {
        Box::new(stream)
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| text("connect", &error))?;
    let request = http::Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(http::header::HOST, authority.as_str().rsplit('@').next().unwrap_or_default())
        .header(http::header::USER_AGENT, "ingot-check")
        .header(http::header::ACCEPT, "*/*")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| text("ask", &error))?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    // Polled together and not spawned: a probe that is cancelled takes its connection along.
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // With it the answer has come, or word that there will be none.
        _ = connection => answer.await,
    };
    let answer = answer.map_err(|error| text("ask", &error))?;
    let location = answer.headers().get(http::header::LOCATION);
    Ok((answer.status(), location.and_then(|it| it.to_str().ok()).map(str::to_owned)))
}

fn tls() -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes every certificate, if whoever shows it holds its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
