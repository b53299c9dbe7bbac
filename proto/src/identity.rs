//! Who a program is to another: a URI in its certificate, and nothing else.
//!
//! Certificates of our CA carry exactly one URI SAN: `clusterctl://<group>/agent/<host>`, `…/coordinator/<id>` or
//! `…/operator/<name>?role=admin|operator|viewer`. The coordinator writes it ([`PeerName`]'s `Display`) and reads it from
//! every caller ([`PeerName::from_certificate`]); mysqld's certificates have none and are refused. Verification of the
//! chain is [`crate::tls`]'s work: what is read here is worth nothing before that.

mod certificate;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::failure::{ExitClass, Failure};
use crate::ids::HostName;

pub use certificate::{
    BACKDATED, CertificateFacts, KeyAndRequest, certificate_pem, fingerprint, new_key_and_request, renewal_time,
    request_for_key,
};

/// Subject of the CA (`/CN=clusterctl CA`); MySQL accounts REQUIRE ISSUER it, so it stays through a roll-over.
pub const CA_COMMON_NAME: &str = "clusterctl CA";

/// The CA's subject as MySQL writes it in `REQUIRE ISSUER`.
pub const CA_ISSUER: &str = "/CN=clusterctl CA";

const SCHEME: &str = "clusterctl://";

/// What an operator may do; each role includes the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Changes clusters.
    Operator,
    /// Also changes trust: tokens, operators, hosts.
    Admin,
}

impl Role {
    /// `viewer`, `operator`, `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| IdentityError::Malformed {
                given: shown(text),
                why: "a role is viewer, operator or admin",
            })
    }
}

/// A program or a person, within one coordinator group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// The agent of this host.
    Agent(HostName),
    /// The coordinator with this raft id.
    Coordinator(u64),
    /// A person or script.
    Operator {
        /// Letters, digits, `.`, `_`, `-`; at most 64.
        name: String,
        /// What it may do.
        role: Role,
    },
}

impl Identity {
    /// An operator, if the name is a valid one.
    pub fn operator(name: &str, role: Role) -> Result<Self, IdentityError> {
        if !is_word(name) {
            return Err(IdentityError::Malformed {
                given: shown(name),
                why: "an operator's name has 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit",
            });
        }
        Ok(Self::Operator {
            name: name.to_owned(),
            role,
        })
    }

    /// The role of an operator; programs have none.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Operator { role, .. } => Some(*role),
            Self::Agent(_) | Self::Coordinator(_) => None,
        }
    }
}

/// For the journal and for people: `agent/node1`, `coordinator/1`, `operator/alice`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(host) => write!(f, "agent/{host}"),
            Self::Coordinator(id) => write!(f, "coordinator/{id}"),
            Self::Operator { name, .. } => write!(f, "operator/{name}"),
        }
    }
}

/// An identity with its coordinator group: what stands in a certificate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
pub struct PeerName {
    /// Id of the coordinator group.
    pub group: String,
    /// Who.
    pub identity: Identity,
}

/// Why a certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The bytes are no certificate.
    #[error("this is not an X.509 certificate: {0}")]
    NotACertificate(String),
    /// mysqld's certificates, and those of others, have no URI of ours.
    #[error("the certificate of {subject:?} names no clusterctl program or operator")]
    NoName {
        /// Its subject.
        subject: String,
    },
    /// Never issued by us.
    #[error("the certificate of {subject:?} carries {count} clusterctl names instead of one")]
    ManyNames {
        /// Its subject.
        subject: String,
        /// How many.
        count: usize,
    },
    /// A name that is not written as ours are.
    #[error("{given:?} is not a clusterctl identity: {why}")]
    Malformed {
        /// What came, cut to a readable length.
        given: String,
        /// The rule that it breaks.
        why: &'static str,
    },
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Failure::new("bad_identity", error.to_string()).exit(ExitClass::Denied)
    }
}

impl PeerName {
    /// The name in a certificate (DER), whose chain the caller has verified.
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (subject, uris) = certificate::uris(der)?;
        let ours: Vec<&String> = uris.iter().filter(|uri| is_ours(uri)).collect();
        match ours.as_slice() {
            [] => Err(IdentityError::NoName { subject }),
            [uri] if uris.len() == 1 => uri.parse(),
            _ => Err(IdentityError::ManyNames {
                subject,
                count: uris.len(),
            }),
        }
    }

    /// As it stands in the certificate.
    pub fn uri(&self) -> String {
        self.to_string()
    }
}

/// Any case of the scheme counts: a name that only looks foreign must not pass as no name.
fn is_ours(uri: &str) -> bool {
    uri.get(..SCHEME.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.group, self.identity)?;
        match self.identity.role() {
            Some(role) => write!(f, "?role={role}"),
            None => Ok(()),
        }
    }
}

impl FromStr for PeerName {
    type Err = IdentityError;
    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        let bad = |why| IdentityError::Malformed { given: shown(uri), why };
        let rest = uri
            .strip_prefix(SCHEME)
            .ok_or_else(|| bad("it does not start with clusterctl://"))?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let [group, kind, name] = parts.as_slice() else {
            return Err(bad("it is not clusterctl://group/kind/name"));
        };
        if !is_word(group) {
            return Err(bad("the group is not a word"));
        }
        let identity = match (*kind, query) {
            ("agent", None) => {
                let host: HostName = name.parse().map_err(|_| bad("the agent's name is not a host name"))?;
                if host.as_str() != *name {
                    return Err(bad("the host name is not in lower case"));
                }
                Identity::Agent(host)
            }
            ("coordinator", None) => {
                let id: u64 = name.parse().map_err(|_| bad("the coordinator's id is not a number"))?;
                if id.to_string() != *name {
                    return Err(bad("the coordinator's id is not written plainly"));
                }
                Identity::Coordinator(id)
            }
            ("operator", Some(query)) => {
                let role = query
                    .strip_prefix("role=")
                    .ok_or_else(|| bad("an operator has ?role= and nothing else"))?;
                let role = role
                    .parse()
                    .map_err(|_| bad("the role is not viewer, operator or admin"))?;
                Identity::operator(name, role).map_err(|_| bad("the operator's name is not a word"))?
            }
            ("operator", None) => return Err(bad("the operator has no role")),
            ("agent" | "coordinator", Some(_)) => return Err(bad("only an operator has a role")),
            _ => return Err(bad("the kind is not agent, coordinator or operator")),
        };
        Ok(Self {
            group: (*group).to_owned(),
            identity,
        })
    }
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

fn shown(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests;
