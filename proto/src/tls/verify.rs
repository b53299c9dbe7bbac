//! Who is accepted on the other side.
//!
//! Each verifier first has the chain verified by webpki (signatures, validity, key usage), then looks at the name. A reason
//! of ours travels inside rustls's error as a [`Failure`], and [`super::explain`] takes it out again.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::credentials::SharedCredentials;
use super::provider;
use crate::failure::{ExitClass, Failure};
use crate::identity::{Identity, PeerName, fingerprint};

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

fn refuse(failure: Failure) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(failure))))
}

fn verify_chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(leaf)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms().all)
}

/// The server must be a coordinator; of which group, the caller says.
fn coordinator(leaf: &CertificateDer<'_>, group: Option<&str>) -> Result<(), Error> {
    let denied = |failure: Failure| {
        refuse(
            failure
                .exit(ExitClass::Denied)
                .hint("is the address one of a coordinator of this group? compare: clusterctl version"),
        )
    };
    let peer = PeerName::from_certificate(leaf).map_err(|error| {
        denied(Failure::new("not_a_coordinator", "the server is no coordinator").fact(error.to_string()))
    })?;
    if !matches!(peer.identity, Identity::Coordinator(_)) {
        return Err(denied(
            Failure::new("not_a_coordinator", "the server is no coordinator").fact(format!("it presents {peer}")),
        ));
    }
    match group {
        Some(group) if peer.group != group => Err(denied(
            Failure::new("foreign_group", "the server is a coordinator of another group")
                .fact(format!("it presents {peer}, this program belongs to group {group}")),
        )),
        _ => Ok(()),
    }
}

macro_rules! check_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signed, &algorithms())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &algorithms())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            algorithms().supported_schemes()
        }
    };
}

/// Accepts a coordinator of our own group, by our own CA.
#[derive(Debug)]
pub(super) struct OurCoordinator(pub(super) SharedCredentials);

impl ServerCertVerifier for OurCoordinator {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let own = self.0.peek();
        verify_chain(leaf, intermediates, &own.roots, now)?;
        coordinator(leaf, Some(&own.peer().group))?;
        Ok(ServerCertVerified::assertion())
    }

    check_signatures!();
}

/// Accepts a coordinator whose CA has the fingerprint that a token carries, and keeps that CA.
pub(super) struct PinnedCa {
    pub(super) sha256: String,
    pub(super) ca: OnceLock<CertificateDer<'static>>,
}

impl fmt::Debug for PinnedCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinnedCa({})", self.sha256)
    }
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates
            .iter()
            .find(|certificate| fingerprint(certificate) == self.sha256);
        let Some(pinned) = pinned else {
            let seen: Vec<String> = intermediates
                .iter()
                .map(|certificate| fingerprint(certificate))
                .collect();
            return Err(refuse(
                Failure::new("ca_pin_mismatch", "the server's CA is not the one that the token names")
                    .fact(format!("token: {}", self.sha256))
                    .fact(format!("server: {}", if seen.is_empty() { "no CA".to_owned() } else { seen.join(", ") }))
                    .hint("is the token of this coordinator group, and is nobody in between? make a new one: clusterctl token create --role db")
                    .exit(ExitClass::Denied),
            ));
        };
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone())?;
        verify_chain(leaf, intermediates, &roots, now)?;
        coordinator(leaf, None)?;
        // A second connection finds the same certificate here: it has the same fingerprint.
        let _ = self.ca.set(pinned.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    check_signatures!();
}

/// Accepts clients without a certificate, and those that our CA named within this group.
#[derive(Debug)]
pub(super) struct OurClients(pub(super) SharedCredentials);

impl ClientCertVerifier for OurClients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    // No hints: clients of ours have one certificate, and the list could not follow a renewal of the CA.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let own = self.0.peek();
        let verified = own.clients.verify_client_cert(leaf, intermediates, now)?;
        let denied = |failure: Failure| refuse(failure.exit(ExitClass::Denied));
        let peer = PeerName::from_certificate(leaf)
            .map_err(|error| denied(Failure::new("nameless_certificate", error.to_string())))?;
        if peer.group != own.peer().group {
            return Err(denied(Failure::new(
                "foreign_group",
                format!("the client {peer} belongs to another group"),
            )));
        }
        Ok(verified)
    }

    check_signatures!();
}
