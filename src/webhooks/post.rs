//! One try to deliver one event: resolve the name, check the addresses, connect, send, take the status and hang up.
//!
//! It follows no redirect, asks no proxy, keeps no connection and reads no body: the status alone counts. Invariant: the connection
//! goes to an address that was checked, whatever the name says by then.

use super::{Settings, StartError, network};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use signaling::webhook::{self, Address};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// An answer's head may have this many bytes.
const HEAD_MAX: usize = 16 << 10;

/// All that is ever read of an answer, in bytes: HTTP lets any number of `1xx` heads come before the answer's own (RFC 9110, section 15.2).
const READ_MAX: u64 = 64 << 10;

/// Addresses of one name that are tried at most.
const ADDRESSES: usize = 4;

/// Why there was no answer; its text is shown to the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the address is not one that events are sent to")]
    Address,
    #[error("the address does not begin with https")]
    Scheme,
    #[error("the name cannot be resolved")]
    Name,
    #[error("the address lies in a network that events are not sent to")]
    Network,
    #[error("no connection")]
    Connect,
    #[error("no connection in time")]
    ConnectTime,
    #[error("TLS failed: the certificate is not valid for this name, or the server speaks no TLS")]
    Tls,
    #[error("no answer in time")]
    Time,
    #[error("the connection was closed without an answer, or the answer is not HTTP")]
    Answer,
}

/// What is sent.
pub(super) struct Letter {
    pub(super) url: String,
    pub(super) id: String,
    pub(super) timestamp_s: i64,
    pub(super) signatures: String,
    pub(super) body: String,
}

/// Who sends it. Clones are the same one.
#[derive(Clone)]
pub(super) struct Postman(Arc<Inner>);

struct Inner {
    tls: TlsConnector,
    allow_http: bool,
    allow_networks: Vec<(IpAddr, u8)>,
    connect_timeout: Duration,
    timeout: Duration,
}

impl Postman {
    pub(super) fn new(settings: &Settings) -> Result<Self, StartError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = &settings.ca_file {
            add_roots(&mut roots, path).map_err(|why| StartError::CaFile { path: path.clone(), why })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| StartError::Tls(error.to_string()))?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(Inner {
            tls: TlsConnector::from(Arc::new(config)),
            allow_http: settings.allow_http,
            allow_networks: settings.allow_networks.clone(),
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
        })))
    }

    /// The status of the answer.
    pub(super) async fn send(&self, letter: &Letter) -> Result<StatusCode, Fault> {
        timeout(self.0.timeout, self.try_once(letter)).await.unwrap_or(Err(Fault::Time))
    }

    async fn try_once(&self, letter: &Letter) -> Result<StatusCode, Fault> {
        let address = Address::parse(&letter.url).map_err(|_| Fault::Address)?;
        if !address.https && !self.0.allow_http {
            return Err(Fault::Scheme);
        }
        let request = Request::post(&address.path)
            .header(header::HOST, &address.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("lull/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .header(webhook::ID, &letter.id)
            .header(webhook::TIMESTAMP, letter.timestamp_s)
            .header(webhook::SIGNATURE, &letter.signatures)
            .body(Full::new(Bytes::from(letter.body.clone())))
            .map_err(|_| Fault::Address)?;
        let connected = timeout(self.0.connect_timeout, self.connect(&address)).await.unwrap_or(Err(Fault::ConnectTime))?;
        match connected {
            Line::Plain(stream) => exchange(stream, request).await,
            Line::Tls(stream) => exchange(*stream, request).await,
        }
    }

    async fn connect(&self, address: &Address) -> Result<Line, Fault> {
        let resolved = resolve(&address.host, address.port).await?;
        let mut fault = Fault::Network;
        for resolved in resolved.into_iter().filter(|at| network::may_reach(at.ip(), &self.0.allow_networks)).take(ADDRESSES) {
            let Ok(stream) = TcpStream::connect(resolved).await else {
                fault = Fault::Connect;
                continue;
            };
            if !address.https {
                return Ok(Line::Plain(stream));
            }
            // The name's own certificate, whichever of its addresses this is.
            let name = ServerName::try_from(address.host.clone()).map_err(|_| Fault::Address)?;
            return match self.0.tls.connect(name, stream).await {
                Ok(stream) => Ok(Line::Tls(Box::new(stream))),
                Err(_) => Err(Fault::Tls),
            };
        }
        Err(fault)
    }
}

/// A connection.
enum Line {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    if roots.len() == before { Err("there is no certificate in it".to_owned()) } else { Ok(()) }
}

/// The addresses of a host. The system resolves a name; what is an address by any spelling of the system's comes back as one.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await.map_err(|_| Fault::Name)?;
    Ok(found.collect())
}

/// Sends the request and waits for the head of the answer. The connection is dropped with all that the other side still says.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, Fault> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX);
    let (read, write) = tokio::io::split(stream);
    let stream = tokio::io::join(read.take(READ_MAX), write);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| Fault::Answer)?;
    let mut connection = pin!(connection);
    let mut answer = pin!(sender.send_request(request));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // It ends with the answer in hand, or without one.
        _ = &mut connection => answer.await,
    };
    answer.map(|answer| answer.status()).map_err(|_| Fault::Answer)
}
