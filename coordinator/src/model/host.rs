//! A machine with an enrolled agent.

use std::collections::BTreeSet;
use std::net::IpAddr;

use clusterctl_proto::ids::{HostName, HostRole};
use serde::{Deserialize, Serialize};

use super::UnixMs;

/// One enrolled host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// What it may be used for: from the token.
    pub roles: BTreeSet<HostRole>,
    /// Its addresses, the preferred one first.
    pub addresses: Vec<IpAddr>,
    /// When it enrolled.
    pub enrolled_at: UnixMs,
    /// SHA-256 (hex) of its public key: a second enrolment under this name with another key needs the host removed first.
    pub key_sha256: String,
    /// When its certificate ends.
    pub certificate_expires: UnixMs,
}
