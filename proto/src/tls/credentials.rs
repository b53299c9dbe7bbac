//! A program's own certificate, its key and the CA that it trusts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::provider;
use crate::failure::{ExitClass, Failure};
use crate::files;
use crate::identity::{CertificateFacts, PeerName};

const LIMIT: u64 = 256 * 1024;

/// Certificate, key and CA, checked against each other. `Debug` shows the name only.
pub struct Credentials {
    peer: PeerName,
    facts: CertificateFacts,
    ca_pem: String,
    ca: Vec<CertificateDer<'static>>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) clients: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, key hidden)", self.peer)
    }
}

impl Credentials {
    /// Reads `ca.pem`, `cert.pem` and `key.pem` of a folder.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        Self::load_files(
            &folder.join("ca.pem"),
            &folder.join("cert.pem"),
            &folder.join("key.pem"),
        )
    }

    /// Reads the three files wherever they are.
    pub fn load_files(ca: &Path, certificate: &Path, key: &Path) -> Result<Self, Failure> {
        let [ca_pem, certificate_pem, key_pem] = [ca, certificate, key].map(|path| read(path).map_err(|e| at(path, e)));
        Self::check(&ca_pem?, &certificate_pem?, &key_pem?).map_err(|(part, why)| {
            let path = match part {
                Part::Ca => ca,
                Part::Certificate => certificate,
                Part::Key => key,
            };
            at(
                path,
                Failure::new("bad_credentials", format!("cannot use {}: {why}", path.display())),
            )
        })
    }

    /// From PEM texts, as they come from the coordinator before they are written.
    pub fn from_pem(ca_pem: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, Failure> {
        Self::check(ca_pem, certificate_pem, key_pem)
            .map_err(|(part, why)| Failure::new("bad_credentials", format!("cannot use the {part}: {why}")))
    }

    fn check(ca_pem: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, (Part, String)> {
        let ca = certificates(ca_pem).map_err(|why| (Part::Ca, why))?;
        let leaf = certificates(certificate_pem)
            .map_err(|why| (Part::Certificate, why))?
            .swap_remove(0);
        let issuer = issuer(&leaf, &ca).map_err(|why| (Part::Certificate, why))?;
        let peer = PeerName::from_certificate(&leaf).map_err(|error| (Part::Certificate, error.to_string()))?;
        let facts = CertificateFacts::read(&leaf).map_err(|error| (Part::Certificate, error.to_string()))?;

        // The parser's errors may show bytes of its input; a key's must not be shown.
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|_| (Part::Key, "there is no private key in it".to_owned()))?;
        let certified = CertifiedKey::from_der(vec![leaf, issuer], key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => (Part::Key, "it is not the key of the certificate".to_owned()),
            other => (Part::Key, other.to_string()),
        })?;

        let mut roots = RootCertStore::empty();
        for certificate in &ca {
            roots
                .add(certificate.clone())
                .map_err(|error| (Part::Ca, error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| (Part::Ca, error.to_string()))?;
        Ok(Self {
            peer,
            facts,
            ca_pem: ca_pem.to_owned(),
            ca,
            roots,
            certified: Arc::new(certified),
            clients,
        })
    }

    /// Ours, but showing another certificate.
    #[cfg(test)]
    pub(super) fn showing(self, certified: CertifiedKey) -> Self {
        Self {
            certified: Arc::new(certified),
            ..self
        }
    }

    /// Who this is.
    pub fn peer(&self) -> &PeerName {
        &self.peer
    }

    /// Validity, serial and fingerprint of the certificate.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The CA's certificate or certificates.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// DER of the certificates of the CA.
    pub fn ca(&self) -> &[CertificateDer<'static>] {
        &self.ca
    }

    /// Signs a message with this program's key (ECDSA P-256 over SHA-256) and returns the signature with the DER of the certificate that
    /// verifies it. `None` when the key is of another kind. The caller makes sure that the message cannot be taken for another thing
    /// that this key signs.
    pub fn sign(&self, message: &[u8]) -> Option<(Vec<u8>, CertificateDer<'static>)> {
        let schemes = [rustls::SignatureScheme::ECDSA_NISTP256_SHA256];
        let signer = self.certified.key.choose_scheme(&schemes)?;
        let signature = signer.sign(message).ok()?;
        Some((signature, self.certified.cert.first()?.clone()))
    }

    /// DER of the CA's first certificate: what tokens pin.
    pub fn ca_der(&self) -> &[u8] {
        // `certificates` never answers an empty list.
        self.ca.first().map_or(&[], |der| der.as_ref())
    }
}

/// Credentials that may be renewed while connections are made: cheap to clone, all clones see the renewal.
#[derive(Clone, Debug)]
pub struct SharedCredentials(Arc<ArcSwap<Credentials>>);

impl SharedCredentials {
    /// To be renewed later.
    pub fn new(credentials: Credentials) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(credentials)))
    }

    /// What is valid now.
    pub fn current(&self) -> Arc<Credentials> {
        self.0.load_full()
    }

    pub(super) fn peek(&self) -> Guard<Arc<Credentials>> {
        self.0.load()
    }

    /// From the next handshake on these are used. Refused if they name somebody else: a renewal changes no name.
    pub fn renew(&self, credentials: Credentials) -> Result<(), Failure> {
        let now = self.current();
        if now.peer != credentials.peer {
            return Err(
                Failure::new("bad_credentials", "the renewed certificate names somebody else")
                    .fact(format!("had {}", now.peer))
                    .fact(format!("got {}", credentials.peer)),
            );
        }
        self.0.store(Arc::new(credentials));
        Ok(())
    }
}

impl From<Credentials> for SharedCredentials {
    fn from(credentials: Credentials) -> Self {
        Self::new(credentials)
    }
}

impl From<&SharedCredentials> for SharedCredentials {
    fn from(shared: &SharedCredentials) -> Self {
        shared.clone()
    }
}

#[derive(Clone, Copy)]
enum Part {
    Ca,
    Certificate,
    Key,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "certificate of the CA",
            Self::Certificate => "certificate",
            Self::Key => "private key",
        })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let missing = |error: &files::FileError| error.is_missing();
    files::read_text_limited(path, LIMIT).map_err(|error| {
        let code = if missing(&error) {
            "no_credentials"
        } else {
            "bad_credentials"
        };
        Failure::new(code, error.to_string())
    })
}

/// What to do about a file of credentials: who the files belong to follows from where they are.
fn at(path: &Path, failure: Failure) -> Failure {
    let folder: PathBuf = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let agent = folder.starts_with("/var/lib/clusterctl");
    let hint = match (failure.code.as_str(), agent) {
        ("no_credentials", true) => {
            "this host is not enrolled: make a token with `clusterctl token create --role db`, then here: \
             clusterctl-agent enroll --token-file -"
        }
        (_, true) => "enrol this host again with a new token: clusterctl-agent enroll --token-file -",
        ("no_credentials", false) => {
            "the folder needs ca.pem, cert.pem and key.pem; on the first host `clusterctl init` makes them, elsewhere an admin \
             gives them out with `clusterctl operator create`"
        }
        _ => "is the path right, and may this user read the file? else ask an admin for a new certificate",
    };
    failure.hint(hint).exit(ExitClass::Denied)
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(list) if list.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(list) => Ok(list),
        Err(_) => Err("it is not well-formed PEM".to_owned()),
    }
}

/// The CA certificate that signed this one.
fn issuer(leaf: &CertificateDer<'_>, ca: &[CertificateDer<'static>]) -> Result<CertificateDer<'static>, String> {
    let parse = |der| {
        X509Certificate::from_der(der)
            .map(|(_, certificate)| certificate)
            .map_err(|e| e.to_string())
    };
    let certificate = parse(leaf)?;
    for candidate in ca {
        if certificate
            .verify_signature(Some(parse(candidate)?.public_key()))
            .is_ok()
        {
            return Ok(candidate.clone());
        }
    }
    Err("it is not signed by the CA beside it".to_owned())
}
