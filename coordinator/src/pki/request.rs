//! Certificate requests from outside: checked, and reduced to the key in them.

use clusterctl_proto::failure::{ExitClass, Failure};
use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::pki_types::CertificateSigningRequestDer;

/// Longer than any request that our programs make.
const MAX_BYTES: usize = 16 * 1024;

/// The key of a request whose signature proves that the sender has it.
pub struct PublicKey(pub(super) rcgen::PublicKey);

impl PublicKey {
    /// Reads a PKCS#10 request (DER): ECDSA P-256, signed by its own key.
    pub fn from_request(der: &[u8]) -> Result<Self, Failure> {
        let bad = |why: String| {
            Failure::new("bad_request", format!("the certificate request cannot be used: {why}")).exit(ExitClass::Usage)
        };
        if der.is_empty() || der.len() > MAX_BYTES {
            return Err(bad(format!("it has {} bytes", der.len())));
        }
        let der = CertificateSigningRequestDer::from(der.to_vec());
        let request = CertificateSigningRequestParams::from_der(&der).map_err(|error| bad(error.to_string()))?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(bad("its key is not ECDSA P-256".to_owned()));
        }
        Ok(Self(request.public_key))
    }

    /// Lower-case hexadecimal SHA-256 of the key (SubjectPublicKeyInfo).
    pub fn sha256(&self) -> String {
        key_sha256(&self.0.subject_public_key_info())
    }
}

/// Lower-case hexadecimal SHA-256 of a SubjectPublicKeyInfo.
pub fn key_sha256(spki: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, spki);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
