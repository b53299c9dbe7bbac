//! Certificates as rustls and our own readers see them.

use std::time::Duration;

use clusterctl_proto::identity::{Identity, PeerName, Role, new_key_and_request};
use clusterctl_proto::tls::Credentials;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn authority() -> Authority {
    let made = Authority::generate().expect("CA");
    Authority::from_pem(made.certificate_pem, &made.key_pem).expect("loads")
}

fn peer(identity: Identity) -> PeerName {
    PeerName {
        group: uuid::Uuid::new_v4().to_string(),
        identity,
    }
}

#[test]
fn a_programs_certificate_is_taken_by_the_programs() {
    let ca = authority();
    let mine = new_key_and_request().expect("key");
    let key = PublicKey::from_request(&mine.csr_der).expect("request");
    for identity in [
        Identity::Agent("node1".parse().expect("name")),
        Identity::Coordinator(1),
        Identity::operator("alice", Role::Admin).expect("name"),
    ] {
        let peer = peer(identity);
        let names = Names {
            dns: Vec::new(),
            addresses: vec!["10.0.0.1".parse().expect("address")],
        };
        let signed = ca.sign_peer(&key, &peer, &names, 30 * DAY).expect("signed");
        let loaded = Credentials::from_pem(ca.certificate_pem(), &signed.certificate_pem, &mine.key_pem).expect("fits");
        assert_eq!(loaded.peer(), &peer);
        assert_eq!(signed.facts.serial.len(), 32);
        assert!(signed.facts.renew_at() < signed.facts.not_after);
    }
}

#[test]
fn mysqlds_certificate_names_no_program() {
    let ca = authority();
    let mine = new_key_and_request().expect("key");
    let key = PublicKey::from_request(&mine.csr_der).expect("request");
    let addresses = ["10.0.0.1".parse().expect("address")];
    let signed = ca
        .sign_mysqld(&key, &"node1".parse().expect("name"), &addresses, 365 * DAY)
        .expect("signed");
    assert_eq!(signed.facts.subject, "CN=node1");
    assert_eq!(signed.facts.peer, None);
    assert!(Credentials::from_pem(ca.certificate_pem(), &signed.certificate_pem, &mine.key_pem).is_err());
}

#[test]
fn the_key_of_a_request_is_the_key_of_the_certificate() {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let ca = authority();
    let mine = new_key_and_request().expect("key");
    let key = PublicKey::from_request(&mine.csr_der).expect("request");
    let signed = ca
        .sign_mysqld(&key, &"node1".parse().expect("name"), &[], DAY)
        .expect("signed");
    let der = CertificateDer::from_pem_slice(signed.certificate_pem.as_bytes()).expect("pem");
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).expect("certificate");
    assert_eq!(key_sha256(parsed.public_key().raw), key.sha256());
}

#[test]
fn bad_requests_and_pairs_are_refused() {
    for bad in [&[][..], b"nonsense", &[0x30; 20_000]] {
        assert!(PublicKey::from_request(bad).is_err_and(|failure| failure.code == "bad_request"));
    }
    let mut spoilt = new_key_and_request().expect("key").csr_der;
    if let Some(last) = spoilt.last_mut() {
        *last ^= 1;
    }
    assert!(PublicKey::from_request(&spoilt).is_err());
    let (one, other) = (Authority::generate().expect("CA"), Authority::generate().expect("CA"));
    let mixed = Authority::from_pem(one.certificate_pem, &other.key_pem);
    assert!(mixed.is_err_and(|failure| failure.code == "bad_ca" && !failure.message.contains("PRIVATE")));
}
