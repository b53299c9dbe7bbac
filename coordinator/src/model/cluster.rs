//! A cluster as it is meant to be.

use std::collections::BTreeMap;

use clusterctl_proto::ids::{ClusterName, HostName, OperationId, PlanId, ServerId};
use clusterctl_proto::step::{Account, RouterPorts};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One InnoDB Cluster.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// `cluster_id` of the metadata.
    pub cluster_id: Uuid,
    /// `group_replication_group_name`.
    pub group_name: Uuid,
    /// The group was bootstrapped by a plan that ended well: from then on `create` is never planned again.
    pub formed: bool,
    /// Made empty by us, so an empty joiner misses nothing that binary logs hold (`gtidSetIsComplete`).
    pub gtid_set_is_complete: bool,
    /// Members, wanted or not yet gone.
    pub members: BTreeMap<HostName, Member>,
    /// Routers, wanted or not yet gone.
    pub routers: BTreeMap<HostName, RouterIntent>,
    /// Accounts that operators made through us, by `user@from` (no secrets).
    pub accounts: BTreeMap<String, AccountIntent>,
    /// InnoDB buffer pool per member; none: sized for each host.
    pub buffer_pool_bytes: Option<u64>,
    /// The plan adopted last: parent of the next.
    pub last_plan: Option<PlanId>,
    /// The operation that made it.
    pub created_by: OperationId,
}

impl Cluster {
    /// The host is a member or a router of it, in whatever phase.
    pub fn has(&self, host: &HostName) -> bool {
        self.members.contains_key(host) || self.routers.contains_key(host)
    }
}

/// Where a member stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum MemberPhase {
    /// An operation is to bring it in (or was, and stopped half-way).
    Joining,
    /// Belongs.
    Member,
    /// An operation is to take it out (or was, and stopped half-way).
    Leaving,
}

/// One member.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Member {
    /// Given once, never used for another member again.
    pub server_id: ServerId,
    /// Port of the classic protocol.
    pub port: u16,
    /// Where it stands.
    pub phase: MemberPhase,
}

impl Member {
    /// Name of its recovery account (adminapi.md 3.5).
    pub fn account_user(&self) -> String {
        format!("mysql_innodb_cluster_{}", self.server_id)
    }
}

/// Where a router stands.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum RouterPhase {
    /// To be added.
    Adding,
    /// Serves.
    Router,
    /// To be removed.
    Removing,
}

/// One router.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct RouterIntent {
    /// Its ports.
    pub ports: RouterPorts,
    /// Where it stands.
    pub phase: RouterPhase,
}

/// An account that an operator made through us.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct AccountIntent {
    /// The account, without its password.
    pub account: Account,
    /// True once it was made.
    pub made: bool,
}
