//! Certificates that `init` makes: the coordinator's own and the first operator's.

use std::path::Path;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::files;
use clusterctl_proto::identity::{Identity, PeerName, Role, new_key_and_request};
use clusterctl_proto::tls::Credentials;

use super::account;
use super::owner::Owner;
use crate::pki::{Authority, Names, PublicKey};

/// Folder of the coordinator's own certificate in the data directory.
pub const FOLDER: &str = "identity";

/// Makes the coordinator's certificate, unless there is one that fits.
pub fn coordinator(
    data: &Path,
    ca: &Authority,
    owner: &Owner,
    life: Duration,
    done: &mut Vec<String>,
) -> Result<(), Failure> {
    let folder = data.join(FOLDER);
    let peer = PeerName {
        group: owner.group.to_string(),
        identity: Identity::Coordinator(owner.node),
    };
    if fits(&folder, ca, &peer) {
        return Ok(());
    }
    files::ensure_directory(&folder, 0o700)?;
    let names = Names {
        dns: Vec::new(),
        addresses: owner.addresses.clone(),
    };
    write(&folder, ca, &peer, &names, life)?;
    done.push(format!("made the certificate of {}", peer.identity));
    Ok(())
}

/// Makes the first operator's certificate and `ctl.toml`, unless they are there.
pub fn operator(
    config: &Path,
    ca: &Authority,
    owner: &Owner,
    name: &str,
    life: Duration,
    endpoints: &[String],
    done: &mut Vec<String>,
) -> Result<(), Failure> {
    let folder = config.join("operator");
    let peer = PeerName {
        group: owner.group.to_string(),
        identity: Identity::operator(name, Role::Admin)?,
    };
    if !fits(&folder, ca, &peer) && !is_another_operator(&folder, ca, owner) {
        files::ensure_directory(&folder, 0o700)?;
        write(&folder, ca, &peer, &Names::default(), life)?;
        done.push(format!(
            "made the certificate of {}, role admin, in {}",
            peer.identity,
            folder.display()
        ));
    }
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        account::give_to_admins(&folder.join(file), 0o640)?;
    }
    account::give_to_admins(&folder, 0o750)?;

    let path = config.join("ctl.toml");
    if !path.try_exists().unwrap_or(true) {
        let list: Vec<toml::Value> = endpoints.iter().cloned().map(toml::Value::String).collect();
        let text = format!(
            "# Written by clusterctl-coordinator init: how clusterctl reaches the coordinator from this host.\n\
             endpoints = {}\nca = \"operator/ca.pem\"\ncert = \"operator/cert.pem\"\nkey = \"operator/key.pem\"\n",
            toml::Value::Array(list)
        );
        files::write_atomic(&path, text.as_bytes(), 0o644)?;
        done.push(format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Certificate and key are there, of this CA, and name this one.
fn fits(folder: &Path, ca: &Authority, peer: &PeerName) -> bool {
    loaded(folder, ca).is_some_and(|credentials| credentials.peer() == peer && !is_old(&credentials))
}

/// An operator of this group whose certificate was put there on purpose.
fn is_another_operator(folder: &Path, ca: &Authority, owner: &Owner) -> bool {
    loaded(folder, ca)
        .is_some_and(|credentials| credentials.peer().group == owner.group.to_string() && !is_old(&credentials))
}

fn loaded(folder: &Path, ca: &Authority) -> Option<Credentials> {
    let credentials = Credentials::load(folder).ok()?;
    let same_ca = clusterctl_proto::identity::fingerprint(credentials.ca_der()) == ca.sha256();
    same_ca.then_some(credentials)
}

fn is_old(credentials: &Credentials) -> bool {
    let now = clusterctl_proto::clock::now_ms() / 1000;
    i64::try_from(now).is_ok_and(|now| now >= credentials.facts().renew_at())
}

/// Key first: a certificate without its key would be taken for complete by who only looks for the certificate.
fn write(folder: &Path, ca: &Authority, peer: &PeerName, names: &Names, life: Duration) -> Result<(), Failure> {
    let made = new_key_and_request()?;
    let signed = ca.sign_peer(&PublicKey::from_request(&made.csr_der)?, peer, names, life)?;
    files::write_atomic(&folder.join("key.pem"), made.key_pem.as_bytes(), 0o600)?;
    files::write_atomic(&folder.join("ca.pem"), ca.certificate_pem().as_bytes(), 0o644)?;
    files::write_atomic(&folder.join("cert.pem"), signed.certificate_pem.as_bytes(), 0o644)?;
    Ok(())
}
