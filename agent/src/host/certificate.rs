//! Judges a certificate of mysqld: pure functions over PEM texts.
//!
//! Used by `steps/server_certificate.rs` on what lies on the disk and on what the coordinator answers. Nothing of a private key
//! ever stands in a reason.

use std::collections::BTreeSet;
use std::net::IpAddr;

use clusterctl_proto::identity::renewal_time;
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a certificate must say.
pub struct Expected<'a> {
    /// Subject's common name, and a DNS name.
    pub host: &'a str,
    /// IP names: exactly these.
    pub addresses: &'a [IpAddr],
    /// PEM of our CA, one certificate or more while it rolls over.
    pub ca_pem: &'a str,
    /// PEM of the private key.
    pub key_pem: &'a str,
    /// Unix seconds.
    pub now: i64,
}

/// Why it does not fit; none: it does. Also `Some` when less than a third of its life is left.
pub fn misfit(certificate_pem: &str, expected: &Expected<'_>) -> Option<String> {
    judge(certificate_pem, expected).err()
}

fn judge(certificate_pem: &str, expected: &Expected<'_>) -> Result<(), String> {
    let der =
        CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| "it is not a certificate".to_owned())?;
    let certificate = parse(&der)?;
    let key = KeyPair::from_pem(expected.key_pem).map_err(|_| "its key cannot be read".to_owned())?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err("it belongs to another key".to_owned());
    }
    if !signed_by(&certificate, expected.ca_pem)? {
        return Err("it is not signed by our CA".to_owned());
    }
    let subject: Vec<String> = certificate
        .subject()
        .iter_attributes()
        .map(|part| part.as_str().unwrap_or("?").to_owned())
        .collect();
    let common_name = certificate
        .subject()
        .iter_common_name()
        .next()
        .and_then(|cn| cn.as_str().ok());
    // exactly one part: MySQL compares the whole subject, /CN=node1
    if subject.len() != 1 || common_name != Some(expected.host) {
        return Err(format!("its subject is {}", certificate.subject()));
    }
    names_fit(&certificate, expected)?;
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if expected.now >= renewal_time(from, to) {
        return Err("less than a third of its life is left".to_owned());
    }
    Ok(())
}

fn names_fit(certificate: &X509Certificate<'_>, expected: &Expected<'_>) -> Result<(), String> {
    let names = certificate.subject_alternative_name().map_err(|e| e.to_string())?;
    let mut dns = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::DNSName(name) => {
                dns.insert((*name).to_owned());
            }
            GeneralName::IPAddress(bytes) => {
                addresses.extend(address(bytes));
            }
            GeneralName::URI(uri) => {
                return Err(format!("it carries the identity {uri}, which a mysqld must not have"));
            }
            _ => {}
        }
    }
    if !dns.contains(expected.host) {
        return Err(format!("it does not name {}", expected.host));
    }
    let wanted: BTreeSet<IpAddr> = expected.addresses.iter().copied().collect();
    if addresses != wanted {
        return Err("its addresses are others".to_owned());
    }
    Ok(())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn signed_by(certificate: &X509Certificate<'_>, ca_pem: &str) -> Result<bool, String> {
    for ca in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let ca = ca.map_err(|_| "the CA's certificate cannot be read".to_owned())?;
        let ca = parse(&ca)?;
        if certificate.issuer() == ca.subject() && certificate.verify_signature(Some(ca.public_key())).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|_| "it is not a certificate".to_owned())
}
