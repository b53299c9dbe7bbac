//! Settings of a server, of a member and of its rows in the metadata: all that a step carries of them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{ClusterName, HostName, ServerId};
use crate::lineage::{LineageId, Lineages};

/// Settings of one mysqld.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ServerConfig {
    /// The cluster; written into the data directory's marker.
    pub cluster: ClusterName,
    /// `server_id`.
    pub server_id: ServerId,
    /// `report_host`: the host's name.
    pub report_host: HostName,
    /// `port`.
    pub port: u16,
    /// Every other line of our option file's `[mysqld]` group, in order, but the TLS files, which the agent knows.
    /// Plugin variables carry `loose_`.
    pub options: Vec<(String, String)>,
}

/// An account by which members authenticate to each other: no password, a certificate of our CA with this subject.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct MemberAccount {
    /// `mysql_innodb_cluster_<server_id>`.
    pub user: String,
    /// Host part, `%`.
    pub from: String,
    /// `/CN=node1`.
    pub subject: String,
    /// `/CN=clusterctl CA`.
    pub issuer: String,
}

/// What a member needs to start Group Replication.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct GroupConfig {
    /// `group_replication_group_name`.
    pub group_name: Uuid,
    /// Persisted in this order before the start: local address, seeds, ssl mode, timeouts … Every group_replication variable
    /// that matters but the recovery channel's TLS files, which the agent knows.
    pub variables: Vec<(String, String)>,
    /// This member's account for the recovery channel.
    pub account: MemberAccount,
}

/// Another host that may be in the group, for the agent that bootstraps.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct BootstrapPeer {
    /// Its name.
    pub host: HostName,
    /// Where its mysqld is asked, `host:port`.
    pub address: String,
    /// What stands for it where its mysqld cannot be asked.
    #[serde(default)]
    pub vouched: Vouched,
}

/// What stands for a host whose mysqld does not tell whether it is in a group.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum Vouched {
    /// Nothing: its mysqld must answer that it is in no group.
    #[default]
    No,
    /// Its agent promises by this plan; the leader tells at the moment of the bootstrap whether that still holds and the host is
    /// certainly out.
    Promised,
    /// A forced recovery names it: it may stay silent.
    Abandoned,
}

/// How a joiner gets its data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Recovery {
    /// From binary logs of a member that Group Replication picks among the seeds.
    Incremental,
    /// Its data directory is replaced by a copy of the donor's.
    Clone {
        /// The donor's name.
        donor: HostName,
        /// Its port.
        port: u16,
    },
}

/// The lineage of the group that a member enters, and every lineage that its own may be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct History {
    /// The group's.
    pub group: LineageId,
    /// All that the coordinator knows.
    pub lineages: Lineages,
}

/// Row of `clusters`. Attributes: docs/metadata.md, Documents.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct MetadataCluster {
    /// `cluster_id`.
    pub cluster_id: Uuid,
    /// `cluster_name`.
    pub name: ClusterName,
    /// The JSON document of `attributes`.
    pub attributes: serde_json::Value,
    /// The JSON document of `router_options`.
    pub router_options: serde_json::Value,
}

/// Row of `instances`. Its server_uuid is looked up by address in the live group view, so that the plan need not
/// know it before the server was started.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct MetadataMember {
    /// Host name; the server's uuid is looked up by it in the live group view (MEMBER_HOST, MEMBER_PORT).
    pub host: HostName,
    /// Port.
    pub port: u16,
    /// X Protocol port.
    pub x_port: Option<u16>,
    /// `attributes`: server_id, recoveryAccountUser … (`joinTime` is added by the statement).
    pub attributes: serde_json::Value,
    /// Whether `joinTime` is written (not for the first member).
    pub joined: bool,
}
