//! Who is at the other end of a connection, as its certificate says. Read once, at the handshake.

use std::net::SocketAddr;

use clusterctl_proto::identity::{CertificateFacts, PeerName};

use crate::leader::sessions::PeerFacts;
use crate::pki::key_sha256;

/// The other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is.
    pub remote: SocketAddr,
    /// Its certificate, verified by TLS; none: a host that wants to enrol.
    pub certificate: Option<PeerCertificate>,
}

/// A verified certificate.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    /// Whom it names.
    pub name: PeerName,
    /// Key, serial, end.
    pub facts: PeerFacts,
}

impl PeerCertificate {
    /// Reads a certificate that TLS has verified.
    pub fn read(der: &[u8]) -> Option<Self> {
        let name = PeerName::from_certificate(der).ok()?;
        let facts = CertificateFacts::read(der).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let key_sha256 = key_sha256(parsed.public_key().raw);
        Some(Self {
            name,
            facts: PeerFacts {
                key_sha256,
                serial: facts.serial,
                not_after: facts.not_after,
            },
        })
    }
}

/// A caller that was let in; the guard puts it into the request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Where it is.
    pub remote: SocketAddr,
    /// Its certificate; none only in `Enroll`.
    pub certificate: Option<PeerCertificate>,
}

impl Caller {
    /// For the journal: `operator/alice`.
    pub fn who(&self) -> String {
        match &self.certificate {
            Some(certificate) => certificate.name.identity.to_string(),
            None => format!("enrolling/{}", self.remote.ip()),
        }
    }
}
