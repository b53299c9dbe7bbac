//! TLS of the coordinator.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::credentials::SharedCredentials;
use super::verify::OurClients;
use super::{ALPN, provider};
use crate::failure::{ExitClass, Failure};
use crate::identity::Identity;

/// TLS 1.3, HTTP/2; client certificates are optional, and a given one must be of our CA and name somebody of this group.
///
/// The accept loop is the caller's: give each handshake a task and a deadline. Whoever calls without a certificate may call
/// `Enroll` and nothing else; that, roles and revocation are checked per call.
pub fn server_config(credentials: impl Into<SharedCredentials>) -> Result<Arc<ServerConfig>, Failure> {
    let shared = credentials.into();
    let peer = shared.current().peer().clone();
    if !matches!(peer.identity, Identity::Coordinator(_)) {
        return Err(Failure::new(
            "bad_credentials",
            format!("this certificate is not one of a coordinator: {peer}"),
        )
        .exit(ExitClass::Denied));
    }
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Failure::new("tls_failed", format!("tls: {error}")))?
        .with_client_cert_verifier(Arc::new(OurClients(shared.clone())))
        .with_cert_resolver(Arc::new(Current(shared)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Who comes back is verified again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Current(SharedCredentials);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.peek().certified.clone())
    }
}
