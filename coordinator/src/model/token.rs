//! Enrolment tokens: only a hash is kept.

use std::collections::BTreeSet;

use clusterctl_proto::ids::{HostName, HostRole};
use serde::{Deserialize, Serialize};

use super::UnixMs;

/// Wrong secrets after which a token is locked.
pub const MAX_FAILURES: u32 = 5;

/// One token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Token {
    /// Public id, part of the string.
    pub id: String,
    /// SHA-256 (hex) of the secret: enough, as the secret is 256 random bits.
    pub secret_sha256: String,
    /// Roles that it gives.
    pub roles: BTreeSet<HostRole>,
    /// Only this host, if set.
    pub host: Option<HostName>,
    /// Enrols that host, which is enrolled, again as itself: its key replaces the one that is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// When it ends.
    pub expires_at: UnixMs,
    /// How many hosts may still use it.
    pub uses_left: u32,
    /// Wrong secrets so far.
    pub failures: u32,
    /// Taken back.
    pub revoked: bool,
    /// Operator who made it.
    pub created_by: String,
    /// When.
    pub created_at: UnixMs,
}
