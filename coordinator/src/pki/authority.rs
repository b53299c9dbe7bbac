//! The CA itself.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::files;
use clusterctl_proto::identity::{BACKDATED, CA_COMMON_NAME, CertificateFacts, PeerName, fingerprint};
use clusterctl_proto::ids::HostName;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;

use super::{PublicKey, failed};

const CA_LIFE: Duration = Duration::from_secs(3653 * 24 * 3600);
const LIMIT: u64 = 64 * 1024;

/// Where the CA's files are.
#[derive(Clone, Debug)]
pub struct CaFiles {
    /// Certificate, for everybody.
    pub certificate: PathBuf,
    /// Key, 0600.
    pub key: PathBuf,
}

impl CaFiles {
    /// `ca/` in the data directory.
    pub fn in_data_directory(directory: &Path) -> Self {
        let folder = directory.join("ca");
        Self {
            certificate: folder.join("ca.pem"),
            key: folder.join("ca.key.pem"),
        }
    }
}

/// A new CA, not yet written.
pub struct CaKey {
    /// Certificate.
    pub certificate_pem: String,
    /// Key.
    pub key_pem: String,
}

/// Names in a certificate, beside the URI.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// DNS names.
    pub dns: Vec<HostName>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

/// A certificate with what the model keeps of it.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The certificate.
    pub certificate_pem: String,
    /// Its facts.
    pub facts: CertificateFacts,
}

/// Signs.
pub struct Authority {
    certificate_pem: String,
    sha256: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Draws a key and makes the CA's certificate, `/CN=clusterctl CA`, valid for ten years.
    pub fn generate() -> Result<CaKey, Failure> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, CA_COMMON_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        lives(&mut params, CA_LIFE)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(CaKey {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Reads the CA and checks that key and certificate belong together.
    pub fn load(at: &CaFiles) -> Result<Self, Failure> {
        let certificate_pem = files::read_text_limited(&at.certificate, LIMIT)?;
        let key_pem = files::read_text_limited(&at.key, LIMIT)?;
        Self::from_pem(certificate_pem, &key_pem).map_err(|failure| {
            failure
                .fact(at.certificate.display().to_string())
                .fact(at.key.display().to_string())
        })
    }

    /// From the files' content.
    pub fn from_pem(certificate_pem: String, key_pem: &str) -> Result<Self, Failure> {
        let bad = |why: &str| Failure::new("bad_ca", format!("the certificate authority cannot be used: {why}"));
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| bad("its certificate is not readable"))?;
        // The parser's error could show bytes of the key.
        let key = KeyPair::from_pem(key_pem).map_err(|_| bad("its key is not readable"))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&der).map_err(|_| bad("its certificate is not readable"))?;
        let spki = parsed.public_key().raw;
        if super::key_sha256(spki) != super::key_sha256(&rcgen::PublicKeyData::subject_public_key_info(&key)) {
            return Err(bad("its key is not the key of its certificate"));
        }
        let sha256 = fingerprint(&der);
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(failed)?;
        Ok(Self {
            certificate_pem,
            sha256,
            issuer,
        })
    }

    /// The CA's certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// What tokens pin: SHA-256 of the certificate's DER.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// A program's or an operator's certificate: its URI, and for coordinators the addresses they serve at.
    pub fn sign_peer(
        &self,
        key: &PublicKey,
        peer: &PeerName,
        names: &Names,
        life: Duration,
    ) -> Result<Signed, Failure> {
        let mut params = leaf(&peer.identity.to_string(), names)?;
        params.subject_alt_names.push(SanType::URI(text(&peer.uri())?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(peer.identity, clusterctl_proto::identity::Identity::Coordinator(_)) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        self.sign(params, key, life)
    }

    /// mysqld's certificate: subject exactly `/CN=<host>`, and no URI, so that no coordinator takes it for a program.
    pub fn sign_mysqld(
        &self,
        key: &PublicKey,
        host: &HostName,
        addresses: &[IpAddr],
        life: Duration,
    ) -> Result<Signed, Failure> {
        let names = Names {
            dns: vec![host.clone()],
            addresses: addresses.to_vec(),
        };
        let mut params = leaf(host.as_str(), &names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, key, life)
    }

    fn sign(&self, mut params: CertificateParams, key: &PublicKey, life: Duration) -> Result<Signed, Failure> {
        lives(&mut params, life)?;
        params.serial_number = Some(serial()?);
        let certificate = params.signed_by(&key.0, &self.issuer).map_err(failed)?;
        let facts = CertificateFacts::read(certificate.der())?;
        Ok(Signed {
            certificate_pem: certificate.pem(),
            facts,
        })
    }
}

fn leaf(common_name: &str, names: &Names) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    for name in &names.dns {
        params.subject_alt_names.push(SanType::DnsName(text(name.as_str())?));
    }
    params
        .subject_alt_names
        .extend(names.addresses.iter().copied().map(SanType::IpAddress));
    Ok(params)
}

fn text(value: &str) -> Result<rcgen::string::Ia5String, Failure> {
    value.try_into().map_err(failed)
}

fn lives(params: &mut CertificateParams, life: Duration) -> Result<(), Failure> {
    let now = OffsetDateTime::now_utc();
    let out_of_range = || {
        Failure::new(
            "certificate_failed",
            "the end of the certificate's life is out of range",
        )
    };
    let life = time::Duration::try_from(life).map_err(|_| out_of_range())?;
    params.not_before = now
        .checked_sub(time::Duration::seconds(BACKDATED.as_secs().cast_signed()))
        .ok_or_else(out_of_range)?;
    params.not_after = now.checked_add(life).ok_or_else(out_of_range)?;
    Ok(())
}

/// 127 random bits, positive.
fn serial() -> Result<SerialNumber, Failure> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::new("no_random", "the system gives no random numbers"))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from(bytes.to_vec()))
}
