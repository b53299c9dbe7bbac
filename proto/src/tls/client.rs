//! How agent and ctl reach a coordinator.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::credentials::SharedCredentials;
use super::stream::Accepted;
use super::verify::{OurCoordinator, PinnedCa};
use super::{ALPN, explain, provider};
use crate::failure::rpc::find_failure;
use crate::failure::{ExitClass, Failure};

/// Larger than hyper's 16 KiB: failures with many facts travel in headers.
const MAX_HEADERS: u32 = 64 * 1024;

/// Times of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectOptions {
    /// For each endpoint: TCP, TLS, and the server's first byte.
    pub attempt: Duration,
    /// An HTTP/2 ping after so long without a frame, also when idle.
    pub keepalive_interval: Duration,
    /// The connection is given up when a ping is not answered within this time.
    pub keepalive_timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(3),
            keepalive_interval: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(5),
        }
    }
}

/// TLS of a client; whom it accepts was decided when it was made.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// Shows our certificate (the current one at each handshake), accepts a coordinator of our group.
    pub fn new(credentials: impl Into<SharedCredentials>) -> Result<Self, Failure> {
        let shared = credentials.into();
        Self::build(Arc::new(OurCoordinator(shared.clone())), Arc::new(Own(Some(shared))))
    }

    fn build(verifier: Arc<dyn ServerCertVerifier>, own: Arc<Own>) -> Result<Self, Failure> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| Failure::new("tls_failed", format!("tls: {error}")))?
            .dangerous() // rustls's word for a verifier of one's own; ours verifies chain and name, see `verify`
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(own);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    async fn handshake(&self, endpoint: &str) -> io::Result<Accepted<TlsStream<TcpStream>>> {
        let tcp = TcpStream::connect(endpoint).await?;
        tcp.set_nodelay(true)?;
        // rustls wants a name; the verifiers look at the URI instead, and it is not sent.
        let name = ServerName::try_from("coordinator").map_err(io::Error::other)?;
        let tls = TlsConnector::from(self.0.clone()).connect(name, tcp).await?;
        Accepted::wait(tls).await
    }
}

/// Our certificate, if we have one.
#[derive(Debug)]
struct Own(Option<SharedCredentials>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.as_ref().map(|shared| shared.peek().certified.clone())
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Connects to the first of the coordinators (`ip:port`) that answers, as the one these credentials name.
///
/// The channel connects again by itself when the connection is lost, beginning with the endpoint that answered last.
pub async fn connect(endpoints: &[String], credentials: impl Into<SharedCredentials>) -> Result<Channel, Failure> {
    connect_with(endpoints, credentials, ConnectOptions::default()).await
}

/// As [`connect`], with other times.
pub async fn connect_with(
    endpoints: &[String],
    credentials: impl Into<SharedCredentials>,
    options: ConnectOptions,
) -> Result<Channel, Failure> {
    channel(endpoints, ClientTls::new(credentials)?, options).await
}

/// Connects without a certificate, to enrol: accepts only the CA with this SHA-256 (hexadecimal, of its DER). Answers that
/// CA's certificate as PEM, too.
pub async fn pinned_connect(endpoints: &[String], ca_sha256: &str) -> Result<(Channel, String), Failure> {
    let verifier = Arc::new(PinnedCa {
        sha256: ca_sha256.to_ascii_lowercase(),
        ca: OnceLock::new(),
    });
    let tls = ClientTls::build(verifier.clone(), Arc::new(Own(None)))?;
    let channel = channel(endpoints, tls, ConnectOptions::default()).await?;
    let ca = verifier
        .ca
        .get()
        .ok_or_else(|| Failure::new("tls_failed", "the server's CA was not seen"))?;
    Ok((channel, crate::identity::certificate_pem(ca)))
}

pub(super) async fn channel(endpoints: &[String], tls: ClientTls, options: ConnectOptions) -> Result<Channel, Failure> {
    let dialler = Arc::new(Dialler {
        endpoints: endpoints.to_vec(),
        tls,
        options,
        last: AtomicUsize::new(0),
    });
    let connector = tower::service_fn(move |_: Uri| {
        let dialler = dialler.clone();
        async move { dialler.dial().await.map(TokioIo::new) }
    });
    // http, since TLS is the connector's own; with https tonic would look for a TLS configuration of its own.
    Endpoint::from_static("http://coordinator")
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(MAX_HEADERS)
        .connect_with_connector(connector)
        .await
        .map_err(|error| {
            find_failure(&error).unwrap_or_else(|| {
                Failure::new("coordinator_unreachable", error.to_string())
                    .exit(ExitClass::Unreachable)
                    .transient()
            })
        })
}

struct Dialler {
    endpoints: Vec<String>,
    tls: ClientTls,
    options: ConnectOptions,
    last: AtomicUsize,
}

impl Dialler {
    async fn dial(&self) -> Result<Accepted<TlsStream<TcpStream>>, Failure> {
        let count = self.endpoints.len();
        let start = self.last.load(Ordering::Relaxed);
        let mut tried = Vec::new();
        for index in (0..count).map(|offset| (start + offset) % count) {
            let endpoint = &self.endpoints[index];
            let error = match timeout(self.options.attempt, self.tls.handshake(endpoint)).await {
                Ok(Ok(stream)) => {
                    self.last.store(index, Ordering::Relaxed);
                    return Ok(stream);
                }
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            let failure = explain::io_failure(&error);
            tracing::debug!(%endpoint, %error, "coordinator not reached");
            tried.push((endpoint.clone(), failure));
        }
        Err(explain::all_failed(tried))
    }
}
