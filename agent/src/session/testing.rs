//! A CA with certificates, for the unit tests of the session and of what runs under it.

use clusterctl_proto::identity::CA_COMMON_NAME;
use clusterctl_proto::tls::{Credentials, SharedCredentials};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};

/// A CA of its own.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Pki {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, CA_COMMON_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A program of this name.
    pub fn credentials(&self, uri: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Credentials::from_pem(&self.pem, &certificate, &key.serialize_pem()).unwrap()
    }
}

/// Credentials of an agent, of a CA that nobody else knows.
pub fn credentials() -> SharedCredentials {
    SharedCredentials::new(Pki::new().credentials("clusterctl://g1/agent/node1"))
}
