//! Certificates as bytes: a new key with its request, and what a certificate says.
//!
//! Signing is the coordinator's (`pki`). Private keys leave this module only as PEM inside [`KeyAndRequest`].

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{IdentityError, PeerName};
use crate::failure::Failure;

/// A new private key and the request to certify it.
pub struct KeyAndRequest {
    /// PKCS#8 PEM. For a file of mode 0600 on this host and nothing else.
    pub key_pem: String,
    /// The request: only the public key in it counts, names come from the coordinator.
    pub csr_der: Vec<u8>,
}

impl fmt::Debug for KeyAndRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyAndRequest {{ key: hidden, csr: {} bytes }}", self.csr_der.len())
    }
}

/// Makes an ECDSA P-256 key and a request for it, with no name in it.
pub fn new_key_and_request() -> Result<KeyAndRequest, Failure> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let csr_der = request(&key)?;
    Ok(KeyAndRequest {
        key_pem: key.serialize_pem(),
        csr_der,
    })
}

/// A request for a key that exists: for a renewal, where only the certificate is replaced and a crash in between leaves a
/// pair that fits.
pub fn request_for_key(key_pem: &str) -> Result<Vec<u8>, Failure> {
    // The parser's error could show bytes of the key.
    let key = KeyPair::from_pem(key_pem).map_err(|_| Failure::new("key_failed", "the private key cannot be read"))?;
    request(&key)
}

fn request(key: &KeyPair) -> Result<Vec<u8>, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(key).map_err(failed)?;
    Ok(request.der().to_vec())
}

fn failed(error: rcgen::Error) -> Failure {
    Failure::new("key_failed", format!("cannot make a key: {error}"))
}

/// A certificate as PEM.
pub fn certificate_pem(der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// What a certificate says, for renewal, revocation and `hosts`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFacts {
    /// `CN=node1`.
    pub subject: String,
    /// Lower-case hexadecimal without separators.
    pub serial: String,
    /// Start of validity, Unix seconds.
    pub not_before: i64,
    /// End of validity, Unix seconds.
    pub not_after: i64,
    /// SHA-256 of the DER, lower-case hexadecimal.
    pub fingerprint: String,
    /// Whom it names, if one of ours.
    pub peer: Option<PeerName>,
}

impl CertificateFacts {
    /// Reads a certificate (DER).
    pub fn read(der: &[u8]) -> Result<Self, IdentityError> {
        let certificate = parse(der)?;
        Ok(Self {
            subject: certificate.subject().to_string(),
            serial: certificate
                .raw_serial()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            fingerprint: fingerprint(der),
            peer: PeerName::from_certificate(der).ok(),
        })
    }

    /// Unix seconds at which two thirds of its life are over: time to renew.
    pub fn renew_at(&self) -> i64 {
        renewal_time(self.not_before, self.not_after)
    }

    /// How long to wait before asking again whether it is time to renew, at most `longest`. Where it is time already (an attempt has
    /// failed, or this clock is ahead of the signer's) that is a tenth of what is left, at least a second.
    pub fn renewal_pause(&self, now: i64, longest: Duration) -> Duration {
        let seconds = |count: i64| Duration::from_secs(u64::try_from(count).unwrap_or(0));
        let early = seconds(self.renew_at().saturating_sub(now));
        let left = seconds(self.not_after.saturating_sub(now));
        let pause = if !early.is_zero() {
            early
        } else if left.is_zero() {
            // It has ended: only a new enrolment helps, or a clock that is set.
            EXPIRED_PAUSE
        } else {
            left / 10
        };
        pause.max(Duration::from_secs(1)).min(longest)
    }

    /// End of validity, RFC 3339.
    pub fn expires(&self) -> String {
        crate::clock::rfc3339(u64::try_from(self.not_after).unwrap_or(0).saturating_mul(1000))
    }
}

/// Certificates are valid so long before they are signed, because clocks of hosts differ.
pub const BACKDATED: Duration = Duration::from_secs(3600);

/// A certificate that has ended is looked at this often.
const EXPIRED_PAUSE: Duration = Duration::from_secs(60);

/// Unix seconds at which two thirds of a certificate's life are over, counted from its signature: the time by which it is backdated is
/// no part of its life.
pub fn renewal_time(not_before: i64, not_after: i64) -> i64 {
    let valid = not_after.saturating_sub(not_before).max(0);
    let backdated = i64::try_from(BACKDATED.as_secs()).unwrap_or(0);
    let life = if valid > backdated { valid - backdated } else { valid };
    not_after.saturating_sub(life / 3)
}

/// SHA-256 of a certificate's DER, lower-case hexadecimal: the CA pin of tokens.
pub fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Subject and every URI among the alternative names.
pub(super) fn uris(der: &[u8]) -> Result<(String, Vec<String>), IdentityError> {
    let certificate = parse(der)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| IdentityError::NotACertificate(error.to_string()))?;
    let uris = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        });
    Ok((certificate.subject().to_string(), uris.collect()))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(IdentityError::NotACertificate("bytes after its end".to_owned())),
        Err(error) => Err(IdentityError::NotACertificate(error.to_string())),
    }
}
