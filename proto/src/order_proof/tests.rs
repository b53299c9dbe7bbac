//! Signatures hold for one group, cluster and generation, and only a coordinator's count.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};

use super::*;
use crate::identity::CA_COMMON_NAME;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, CA_COMMON_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// A program of this name; its certificate has ended long ago.
    fn program(&self, uri: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Credentials::from_pem(&self.pem, &certificate, &key.serialize_pem()).unwrap()
    }
}

fn prod() -> ClusterName {
    "prod".parse().unwrap()
}

const GENERATION: Generation = Generation { epoch: 2, index: 66 };

fn code(result: Result<u64, Failure>) -> Option<String> {
    result.err().map(|failure| failure.code)
}

#[test]
fn a_signature_is_of_one_group_cluster_and_generation() {
    let ca = Ca::new();
    let leader = ca.program("clusterctl://g1/coordinator/3");
    let proof = OrderProof::sign(&leader, "g1", &prod(), GENERATION).unwrap();
    let proof = OrderProof::from_wire(&proof.to_wire().unwrap());
    let json = serde_json::to_string(&proof).unwrap();
    let proof: OrderProof = serde_json::from_str(&json).unwrap();
    assert_eq!(proof.verify(leader.ca(), "g1", &prod(), GENERATION), Ok(3));
    let other = |epoch, index| Generation { epoch, index };
    for generation in [other(2, 67), other(3, 66), other(66, 2)] {
        assert!(
            code(proof.verify(leader.ca(), "g1", &prod(), generation)).is_some(),
            "{generation}"
        );
    }
    assert!(code(proof.verify(leader.ca(), "g2", &prod(), GENERATION)).is_some());
    assert!(code(proof.verify(leader.ca(), "g1", &"prod2".parse().unwrap(), GENERATION)).is_some());
    // Of another CA, though the name is right.
    let foreign = Ca::new().program("clusterctl://g1/coordinator/3");
    assert!(code(proof.verify(foreign.ca(), "g1", &prod(), GENERATION)).is_some());
    let foreign = OrderProof::sign(&foreign, "g1", &prod(), GENERATION).unwrap();
    assert!(code(foreign.verify(leader.ca(), "g1", &prod(), GENERATION)).is_some());
    // Another certificate beside the signature.
    let mut swapped = proof.clone();
    swapped.certificates = OrderProof::sign(&ca.program("clusterctl://g1/coordinator/1"), "g1", &prod(), GENERATION)
        .unwrap()
        .certificates;
    assert!(code(swapped.verify(leader.ca(), "g1", &prod(), GENERATION)).is_some());
}

#[test]
fn only_a_coordinator_of_the_group_proves_anything() {
    let ca = Ca::new();
    for uri in [
        "clusterctl://g1/agent/node1",
        "clusterctl://g1/operator/alice?role=admin",
        "clusterctl://g2/coordinator/1",
    ] {
        let program = ca.program(uri);
        let proof = OrderProof::sign(&program, "g1", &prod(), GENERATION).unwrap();
        assert_eq!(
            code(proof.verify(program.ca(), "g1", &prod(), GENERATION)).as_deref(),
            Some("bad_signature"),
            "{uri}"
        );
    }
}

#[test]
fn a_certificate_that_is_no_ca_issues_no_signer() {
    let ca = Ca::new();
    let agent = ca.program("clusterctl://g1/agent/node1");
    // The agent's key signs a certificate that names a coordinator.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("clusterctl://g1/coordinator/1".try_into().unwrap())];
    let agent_key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::default();
    own.subject_alt_names = vec![SanType::URI("clusterctl://g1/agent/node1".try_into().unwrap())];
    let own_pem = own.signed_by(&agent_key, &ca.issuer).unwrap();
    let issuer = Issuer::new(own, agent_key);
    let forged = params.signed_by(&key, &issuer).unwrap();
    let own_ca = format!("{}{}", ca.pem, own_pem.pem());
    let forger = Credentials::from_pem(&own_ca, &forged.pem(), &key.serialize_pem()).unwrap();
    let mut proof = OrderProof::sign(&forger, "g1", &prod(), GENERATION).unwrap();
    assert!(code(proof.verify(agent.ca(), "g1", &prod(), GENERATION)).is_some());
    proof.certificates.push(STANDARD.encode(own_pem.der()));
    assert!(code(proof.verify(agent.ca(), "g1", &prod(), GENERATION)).is_some());
}

#[test]
fn a_digest_tells_every_part_of_an_order() {
    let run = RunStep {
        plan: 7,
        step: 1,
        cluster: "prod".to_owned(),
        epoch: 1,
        index: 7,
        step_json: b"{}".to_vec(),
        ..RunStep::default()
    };
    let others = [
        RunStep { plan: 8, ..run.clone() },
        RunStep { step: 2, ..run.clone() },
        RunStep {
            epoch: 2,
            ..run.clone()
        },
        RunStep {
            index: 8,
            ..run.clone()
        },
        RunStep {
            cluster: "prod2".to_owned(),
            ..run.clone()
        },
        RunStep {
            step_json: b"[]".to_vec(),
            ..run.clone()
        },
    ];
    for other in &others {
        assert_ne!(digest_of(&run), digest_of(other), "{other:?}");
    }
    // What is not known any more when an outcome comes is not part of it.
    let secrets = [("router".to_owned(), "0x00".to_owned())].into();
    assert_eq!(digest_of(&run), digest_of(&RunStep { secrets, ..run.clone() }));
}
