//! Keys and certificates of the simulated programs. Drawn once for a process: no decision depends on which they are.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use clusterctl_coordinator::leader::sessions::PeerFacts;
use clusterctl_coordinator::pki::{Authority, Names, PublicKey};
use clusterctl_proto::identity::{Identity, PeerName, new_key_and_request};
use clusterctl_proto::tls::{Credentials, SharedCredentials};

use crate::names::{COORDINATORS, NODES, host};

const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What one program has.
#[derive(Clone)]
pub struct Keys {
    /// Key and certificate.
    pub credentials: SharedCredentials,
    /// What a coordinator sees of them.
    pub facts: PeerFacts,
}

static ALL: LazyLock<BTreeMap<String, Keys>> = LazyLock::new(draw);

/// Of the agent of this host.
pub fn agent(node: &str) -> Keys {
    ALL[node].clone()
}

/// Of this coordinator.
pub fn coordinator(id: u64) -> Keys {
    ALL[&format!("coordinator{id}")].clone()
}

fn draw() -> BTreeMap<String, Keys> {
    let ca = Authority::generate().expect("a CA");
    let authority = Arc::new(Authority::from_pem(ca.certificate_pem, &ca.key_pem).expect("a CA"));
    let agents = NODES.map(|node| (node.to_owned(), Identity::Agent(host(node))));
    let coordinators = [1, 2, 3].map(|id| (format!("coordinator{id}"), Identity::Coordinator(id)));
    let all = agents.into_iter().chain(coordinators);
    all.map(|(name, identity)| (name, sign(&authority, identity))).collect()
}

fn sign(authority: &Authority, identity: Identity) -> Keys {
    let made = new_key_and_request().expect("a key");
    let key = PublicKey::from_request(&made.csr_der).expect("a request");
    let peer = PeerName {
        group: COORDINATORS.to_string(),
        identity,
    };
    let signed = authority
        .sign_peer(&key, &peer, &Names::default(), LIFE)
        .expect("a certificate");
    let credentials = Credentials::from_pem(authority.certificate_pem(), &signed.certificate_pem, &made.key_pem)
        .expect("credentials");
    Keys {
        facts: PeerFacts {
            key_sha256: key.sha256(),
            serial: signed.facts.serial.clone(),
            not_after: signed.facts.not_after,
        },
        credentials: SharedCredentials::new(credentials),
    }
}
