use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, SanType};

use super::*;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn certificate(sans: &[SanType]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = sans.to_vec();
    Ok(params.self_signed(&key)?.der().to_vec())
}

fn uri(text: &str) -> Result<SanType, Box<dyn std::error::Error>> {
    Ok(SanType::URI(text.try_into()?))
}

#[test]
fn uris_there_and_back() -> Outcome {
    for text in [
        "clusterctl://0b6c7f0e-5c0e-4a40-9d1c-3e1f0b3a1c11/agent/node1.example.org",
        "clusterctl://g1/coordinator/1",
        "clusterctl://g1/coordinator/18446744073709551615",
        "clusterctl://g1/operator/alice?role=admin",
        "clusterctl://g1/operator/ci_bot-2?role=viewer",
    ] {
        let name: PeerName = text.parse()?;
        assert_eq!(name.uri(), text);
    }
    let alice: PeerName = "clusterctl://g1/operator/alice?role=operator".parse()?;
    assert_eq!(alice.identity, Identity::operator("alice", Role::Operator)?);
    assert_eq!(alice.identity.to_string(), "operator/alice");
    assert_eq!(alice.identity.role(), Some(Role::Operator));
    Ok(())
}

#[test]
fn what_is_not_written_as_ours_is_refused() {
    for text in [
        "",
        "https://g1/agent/node1",
        "CLUSTERCTL://g1/agent/node1",
        "clusterctl://g1/agent",
        "clusterctl:///agent/node1",
        "clusterctl://g1/agent/node1/x",
        "clusterctl://g1/agent/Node1",
        "clusterctl://g1/agent/-x",
        "clusterctl://g1/agent/node1?role=admin",
        "clusterctl://g1/coordinator/01",
        "clusterctl://g1/coordinator/+1",
        "clusterctl://g1/coordinator/x",
        "clusterctl://g1/coordinator/1?",
        "clusterctl://g1/operator/alice",
        "clusterctl://g1/operator/alice?role=root",
        "clusterctl://g1/operator/alice?role=admin&role=viewer",
        "clusterctl://g1/operator/alice?x=1",
        "clusterctl://g1/operator/a%20b?role=admin",
        "clusterctl://g1/mysqld/node1",
    ] {
        assert!(text.parse::<PeerName>().is_err(), "{text}");
    }
}

#[test]
fn roles_are_ordered() {
    assert!(Role::Admin > Role::Operator && Role::Operator > Role::Viewer);
}

#[test]
fn a_certificate_names_exactly_one() -> Outcome {
    let dns = SanType::DnsName("node1".try_into()?);
    let agent = uri("clusterctl://g1/agent/node1")?;
    let named = certificate(&[dns.clone(), agent.clone()])?;
    assert_eq!(
        PeerName::from_certificate(&named)?.identity,
        Identity::Agent("node1".parse()?)
    );

    let mysqld = certificate(std::slice::from_ref(&dns))?;
    assert!(matches!(
        PeerName::from_certificate(&mysqld),
        Err(IdentityError::NoName { .. })
    ));
    let two = certificate(&[agent.clone(), uri("clusterctl://g1/operator/alice?role=admin")?])?;
    assert!(matches!(
        PeerName::from_certificate(&two),
        Err(IdentityError::ManyNames { count: 2, .. })
    ));
    let mixed = certificate(&[agent, uri("spiffe://g1/agent/node2")?])?;
    assert!(matches!(
        PeerName::from_certificate(&mixed),
        Err(IdentityError::ManyNames { count: 2, .. })
    ));
    let foreign = certificate(&[uri("spiffe://g1/agent/node2")?])?;
    assert!(matches!(
        PeerName::from_certificate(&foreign),
        Err(IdentityError::NoName { .. })
    ));
    let shouting = certificate(&[uri("CLUSTERCTL://g1/agent/node2")?])?;
    assert!(matches!(
        PeerName::from_certificate(&shouting),
        Err(IdentityError::Malformed { .. })
    ));

    assert!(matches!(
        PeerName::from_certificate(b"nonsense"),
        Err(IdentityError::NotACertificate(_))
    ));
    let mut longer = named;
    longer.push(0);
    assert!(matches!(
        PeerName::from_certificate(&longer),
        Err(IdentityError::NotACertificate(_))
    ));
    Ok(())
}

#[test]
fn facts_of_a_certificate() -> Outcome {
    let der = certificate(&[uri("clusterctl://g1/agent/node1")?])?;
    let facts = CertificateFacts::read(&der)?;
    assert!(facts.not_before < facts.renew_at() && facts.renew_at() < facts.not_after);
    assert_eq!(facts.fingerprint.len(), 64);
    assert_eq!(facts.peer.map(|peer| peer.group).as_deref(), Some("g1"));
    Ok(())
}

#[test]
fn two_thirds_of_a_life_count_from_the_signature_however_short_it_is() {
    let (signed, backdated) = (1_800_000_000, 3600);
    for life in [10, 60, 3600, 86_400, 30 * 86_400] {
        let at = renewal_time(signed - backdated, signed + life);
        assert_eq!(at, signed + life - life / 3, "{life}");
    }
    assert_eq!(renewal_time(signed, signed + 900), signed + 600, "not one of ours");
}

#[test]
fn renewal_is_looked_at_in_time_and_never_in_a_busy_loop() -> Outcome {
    let der = certificate(&[uri("clusterctl://g1/agent/node1")?])?;
    let mut facts = CertificateFacts::read(&der)?;
    let (signed, longest) = (1_800_000_000, Duration::from_secs(600));
    (facts.not_before, facts.not_after) = (signed - 3600, signed + 10);
    let pause = |now: i64| facts.renewal_pause(signed + now, longest).as_secs();
    assert_eq!([pause(0), pause(6), pause(7), pause(9)], [7, 1, 1, 1]);
    assert_eq!(pause(10), 60, "it has ended");
    (facts.not_before, facts.not_after) = (signed - 3600, signed + 30 * 86_400);
    let pause = |now: i64| facts.renewal_pause(signed + now, longest).as_secs();
    assert_eq!([pause(0), pause(20 * 86_400 - 5), pause(20 * 86_400)], [600, 5, 600]);
    assert_eq!(pause(30 * 86_400 - 100), 10, "the last minutes");
    Ok(())
}

#[test]
fn a_request_carries_a_key_and_no_name() -> Outcome {
    let made = new_key_and_request()?;
    let request = rcgen::CertificateSigningRequestParams::from_der(&made.csr_der.as_slice().into())?;
    assert!(request.params.subject_alt_names.is_empty());
    assert!(made.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(!format!("{made:?}").contains("BEGIN"));
    assert_eq!(
        KeyPair::from_pem(&made.key_pem)?.algorithm(),
        &rcgen::PKCS_ECDSA_P256_SHA256
    );
    Ok(())
}
