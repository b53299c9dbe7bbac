//! What `verify` proves, a step of the walkthrough each.

use serde::{Deserialize, Serialize};

use super::{RouterPorts, SecretName};
use crate::ids::HostName;

/// Steps of the walkthrough that `verify` proves.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "proof", rename_all = "snake_case")]
pub enum Proof {
    /// 9: on the primary: the metadata schema is complete and tells the truth about the live group.
    Metadata {
        /// Expected members, `host:port`.
        members: Vec<String>,
    },
    /// 12: on a router host: its ports are open, seen in the host's own sockets.
    RouterPorts {
        /// The ports.
        ports: RouterPorts,
    },
    /// 14: on a router host: a client connects through each port and the right member answers.
    RouterPaths {
        /// The ports.
        ports: RouterPorts,
        /// Account and the name of its password on this host.
        user: String,
        /// Secret kept on this host.
        secret: SecretName,
        /// The primary now.
        primary: HostName,
        /// The secondaries now.
        secondaries: Vec<HostName>,
    },
    /// 15, first half: on the primary: a marker is written; answers its GTID and value.
    WriteMarker {
        /// The value.
        marker: String,
    },
    /// 15, second half: on a secondary: all that the primary had is applied (waits), the marker is read.
    ReadMarker {
        /// The value.
        marker: String,
        /// Longest wait.
        timeout_seconds: u32,
    },
    /// 15 through Router: the marker is read through the read-only port.
    ReadMarkerThroughRouter {
        /// The value.
        marker: String,
        /// Read-only port.
        ports: RouterPorts,
        /// Account.
        user: String,
        /// Secret kept on this host.
        secret: SecretName,
    },
    /// 18: on a secondary: a write is refused with ER_OPTION_PREVENTS_STATEMENT (super-read-only).
    WriteRefused,
    /// 19: on a router host: the group's members as read through 6446 and 6447 are all ONLINE.
    MembersThroughRouter {
        /// The ports.
        ports: RouterPorts,
        /// Account.
        user: String,
        /// Secret kept on this host.
        secret: SecretName,
        /// How many must be ONLINE.
        members: u32,
    },
    /// On the primary: schema `clusterctl_verify` is dropped.
    DropMarker,
}
