//! Accounts that steps make, and the ports of a router.

use serde::{Deserialize, Serialize};

/// What an account is for; its grants follow.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Account {
    /// User part.
    pub user: String,
    /// Host part.
    pub from: String,
    /// What it may do.
    pub kind: AccountKind,
}

/// Kinds of account.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AccountKind {
    /// All on one schema, which is made if missing.
    Application {
        /// The schema.
        database: String,
    },
    /// Reads health: performance_schema, the metadata, process list.
    Monitor,
    /// MySQL Shell's cluster admin (docs/metadata.md, Accounts).
    Admin,
    /// Lives for one router bootstrap: makes Router's own account and the proof.
    RouterBootstrap,
    /// Lives for one `verify`: reads and writes the schema `clusterctl_verify`.
    Verify,
}

/// Ports of a router.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct RouterPorts {
    /// Classic protocol, to the primary.
    pub read_write: u16,
    /// Classic protocol, to the secondaries.
    pub read_only: u16,
    /// Classic protocol, statements split by kind.
    pub split: u16,
    /// X Protocol, to the primary.
    pub x_read_write: u16,
    /// X Protocol, to the secondaries.
    pub x_read_only: u16,
}

impl Default for RouterPorts {
    fn default() -> Self {
        Self {
            read_write: 6446,
            read_only: 6447,
            split: 6450,
            x_read_write: 6448,
            x_read_only: 6449,
        }
    }
}
