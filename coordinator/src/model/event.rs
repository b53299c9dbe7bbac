//! The journal: who, what, when, why.

use clusterctl_proto::ids::{ClusterName, EventId, HostName, OperationId};
use serde::{Deserialize, Serialize};

use super::UnixMs;

/// One line of the journal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Event {
    /// Ascending.
    pub id: EventId,
    /// When.
    pub at: UnixMs,
    /// `operator/alice`, `agent/node3`, `coordinator/1`.
    pub who: String,
    /// The cluster it is about, if any.
    pub cluster: Option<ClusterName>,
    /// The host it is about, if any.
    pub host: Option<HostName>,
    /// The operation it belongs to, if any.
    pub operation: Option<OperationId>,
    /// Stable name, `member_joined`.
    pub kind: String,
    /// One line for people.
    pub text: String,
}
