//! Which order a message belongs to, and the coordinator's signature of an order's generation.
//!
//! The coordinator signs where it sends orders and computes digests where it compares outcomes; the agent computes the digest of what it
//! received, verifies the signature and keeps it in its ledger; a leader that finds a generation above its own log verifies it again.
//! Nothing here reads a clock: a proof must still hold when the certificate that signed it has expired.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA256};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::failure::{ExitClass, Failure};
use crate::identity::{Identity, PeerName};
use crate::ids::{ClusterName, Generation};
use crate::tls::Credentials;
use crate::wire::agent::{OrderSignature, RunStep};

/// SHA-256 of an order, [`digest`].
pub type Digest = [u8; 32];

/// Separates these signatures from everything else that the same key signs.
const SIGNED: &[u8] = b"clusterctl: generation of an order, version 1";
const DIGESTED: &[u8] = b"clusterctl: order, version 1";
/// A chain is the signer's certificate and few issuers; each is short.
const LONGEST_CHAIN: usize = 4;
const LARGEST: usize = 16 * 1024;

/// Identifies an order: cluster, generation, plan, step number and the step itself. Secrets are not part of it: the coordinator
/// must be able to compute it again after it has forgotten them.
pub fn digest(cluster: &str, generation: Generation, plan: u64, step: u32, step_json: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    update(&mut context, DIGESTED);
    update(&mut context, cluster.as_bytes());
    for number in [generation.epoch, generation.index, plan, u64::from(step)] {
        context.update(&number.to_be_bytes());
    }
    update(&mut context, step_json);
    finish(context)
}

/// The digest of an order as it travels.
pub fn digest_of(run: &RunStep) -> Digest {
    let generation = Generation {
        epoch: run.epoch,
        index: run.index,
    };
    digest(&run.cluster, generation, run.plan, run.step, &run.step_json)
}

/// SHA-256 of the secrets that came with an order; for comparing in one process, it must not travel.
pub fn digest_of_secrets(secrets: &BTreeMap<String, String>) -> Digest {
    let mut context = Context::new(&SHA256);
    for (name, value) in secrets {
        update(&mut context, name.as_bytes());
        update(&mut context, value.as_bytes());
    }
    finish(context)
}

/// Length first, so that two texts cannot be cut in another place.
fn update(context: &mut Context, bytes: &[u8]) {
    context.update(&(bytes.len() as u64).to_be_bytes());
    context.update(bytes);
}

fn finish(context: Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Proof that a coordinator of the group gave an order of a generation: what an agent's ledger keeps and its observations carry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct OrderProof {
    /// The signature (ECDSA P-256 over SHA-256, ASN.1), in base64.
    pub signature: String,
    /// DER of the signer's certificate, then of its issuers below the CA, in base64.
    pub certificates: Vec<String>,
}

impl OrderProof {
    /// Signs with the key of this coordinator. It fails when the key is not ECDSA P-256.
    pub fn sign(
        credentials: &Credentials,
        group: &str,
        cluster: &ClusterName,
        generation: Generation,
    ) -> Result<Self, Failure> {
        let (signature, certificate) = credentials
            .sign(&statement(group, cluster, generation))
            .ok_or_else(|| {
                Failure::new("order_not_signed", "the coordinator's key cannot sign orders")
                    .fact("an ECDSA P-256 key is needed")
            })?;
        Ok(Self {
            signature: STANDARD.encode(signature),
            certificates: vec![STANDARD.encode(certificate)],
        })
    }

    /// As it travels with an order.
    pub fn to_wire(&self) -> Result<OrderSignature, Failure> {
        let certificates = self
            .certificates
            .iter()
            .map(|text| decode(text))
            .collect::<Result<_, _>>()?;
        Ok(OrderSignature {
            signature: decode(&self.signature)?,
            certificates,
        })
    }

    /// From what came with an order; not verified.
    pub fn from_wire(wire: &OrderSignature) -> Self {
        Self {
            signature: STANDARD.encode(&wire.signature),
            certificates: wire.certificates.iter().map(|der| STANDARD.encode(der)).collect(),
        }
    }

    /// Verifies that a coordinator of this group signed this generation, by a certificate of one of these CAs (DER). Answers the
    /// coordinator's id. The certificate's validity period is not checked; see the module's head.
    pub fn verify(
        &self,
        ca: &[CertificateDer<'_>],
        group: &str,
        cluster: &ClusterName,
        generation: Generation,
    ) -> Result<u64, Failure> {
        if self.certificates.len() > LONGEST_CHAIN {
            return Err(bad("the chain of certificates is too long"));
        }
        let chain: Vec<Vec<u8>> = self
            .certificates
            .iter()
            .map(|text| decode(text))
            .collect::<Result<_, _>>()?;
        let leaf_der = chain.first().ok_or_else(|| bad("there is no certificate"))?;
        let leaf = parse(leaf_der)?;
        let mut below = parse(leaf_der)?;
        for issuer in chain.iter().skip(1) {
            let issuer = parse(issuer)?;
            if !issuer.is_ca() || below.verify_signature(Some(issuer.public_key())).is_err() {
                return Err(bad("the chain of certificates is broken"));
            }
            below = issuer;
        }
        let by_ca = ca
            .iter()
            .any(|der| parse(der).is_ok_and(|root| below.verify_signature(Some(root.public_key())).is_ok()));
        if !by_ca {
            return Err(bad("the signer's certificate is not of the CA of this group"));
        }
        let peer = PeerName::from_certificate(leaf_der).map_err(|error| bad(&error.to_string()))?;
        let Identity::Coordinator(id) = peer.identity else {
            return Err(bad("the signer is not a coordinator").fact(format!("it is {peer}")));
        };
        if peer.group != group {
            return Err(bad("the signer is a coordinator of another group").fact(format!("it is {peer}")));
        }
        let key = leaf.public_key().subject_public_key.data.as_ref();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
            .verify(&statement(group, cluster, generation), &decode(&self.signature)?)
            .map_err(|_| {
                bad("the signature is not of this generation").fact(format!("{cluster}, generation {generation}"))
            })?;
        Ok(id)
    }
}

/// What is signed: each part with its length first.
fn statement(group: &str, cluster: &ClusterName, generation: Generation) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [SIGNED, group.as_bytes(), cluster.as_str().as_bytes()] {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part);
    }
    bytes.extend(generation.epoch.to_be_bytes());
    bytes.extend(generation.index.to_be_bytes());
    bytes
}

fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    if text.len() > LARGEST {
        return Err(bad("it is too large"));
    }
    STANDARD.decode(text).map_err(|_| bad("it is not base64"))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Failure> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| bad("a certificate cannot be read").fact(error.to_string()))
}

fn bad(why: &str) -> Failure {
    Failure::new(
        "bad_signature",
        format!("the signature of the order's generation is not valid: {why}"),
    )
    .exit(ExitClass::Denied)
}

#[cfg(test)]
mod tests;
