//! The steps that a plan is made of.
//!
//! A step is one idempotent `ensure` on one host: the agent looks, acts if it must, looks again, and answers
//! [`StepResult`]. It carries every value it needs; the agent chooses nothing. Steps stand in the raft log and travel
//! to agents as JSON: a field may be added with a default, never change its meaning. No secret ever stands in a step:
//! [`SecretName`]s are resolved from the leader's memory when the step is sent.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::failure::Failure;
use crate::ids::{ClusterName, HostName, ServerId, ServerUuid};
use crate::observe::HostEntry;

/// Names a secret of one plan in the leader's memory; the value is a password *hash*
/// (`caching_sha2_password` authentication string as `0x…` hexadecimal).
pub type SecretName = String;

/// What to make true on one host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    // ---- preparing a host -------------------------------------------------------------------------------------
    /// Our marked block in /etc/hosts holds exactly these entries (none where resolution is right without it), and the
    /// host's own name does not resolve to 127.0.1.1.
    HostsFile {
        /// Every host of the cluster, this one included.
        entries: Vec<HostEntry>,
    },
    /// `/etc/machine-id` is not this one, which another host has, too (an image was copied): a random one is written. Only on a
    /// host that holds no cluster's data.
    MachineId {
        /// The one that is not unique.
        not: String,
    },
    /// Packages are installed; a mysqld or router that they bring is not started by them.
    Packages {
        /// Must be installed.
        required: Vec<String>,
        /// Installed where the repositories have them, else named in the result.
        optional: Vec<String>,
    },
    /// mysqld has a key (born here) and a certificate of our CA with this subject and these names.
    ServerCertificate {
        /// Common name: the host's name.
        host: HostName,
        /// IP SANs.
        addresses: Vec<IpAddr>,
    },
    /// mysqld runs with exactly these settings: our option file, unique identity, our marker in the data directory, at most
    /// one restart and none when nothing differs. Plugins group_replication and clone are installed (not binlogged).
    Server {
        /// The settings.
        config: ServerConfig,
    },
    // ---- group ------------------------------------------------------------------------------------------------
    /// The agent promises (synced to disk) not to enter a group below this plan's generation, and its server is out of any
    /// group: answers with a failure when the server is in one.
    Promise {},
    /// On a server outside the group: accounts of the members exist locally, not binlogged, so that members can
    /// authenticate before replication brings them.
    LocalMemberAccounts {
        /// Accounts of all members, the joiner's included.
        accounts: Vec<MemberAccount>,
    },
    /// On the primary: accounts exist (IF NOT EXISTS, replicated).
    MemberAccounts {
        /// Accounts to have.
        accounts: Vec<MemberAccount>,
    },
    /// The group is bootstrapped here. Only after every member's promise (safety rule 1).
    BootstrapGroup {
        /// Settings of the group and of this member.
        group: GroupConfig,
    },
    /// The metadata schema exists, with this cluster and this first instance.
    Metadata {
        /// Row of `clusters`.
        cluster: MetadataCluster,
        /// Row of `instances` of the first member.
        instance: MetadataMember,
    },
    /// This server is an ONLINE member.
    JoinGroup {
        /// Settings of the group and of this member.
        group: GroupConfig,
        /// How it gets its data.
        recovery: Recovery,
        /// Its own account, for its recovery channel.
        account: MemberAccount,
        /// The donor's or primary's executed set when the plan was made: what this server holds must be inside it, or inside what
        /// the group has when the step runs; else the step refuses (safety rules 2 and 3).
        #[serde(default)]
        group_gtid: String,
    },
    /// On the primary: the row of a further member.
    MetadataInstance {
        /// Row of `instances`.
        cluster_id: Uuid,
        /// The member.
        instance: MetadataMember,
    },
    /// Settings are persisted on a member (`SET PERSIST`, in this order), e.g. group seeds after a membership change.
    Persist {
        /// Variable and value.
        variables: Vec<(String, String)>,
    },
    /// This member becomes primary (`group_replication_set_as_primary`).
    SetPrimary {
        /// Wait at most this long for running transactions.
        timeout_seconds: u32,
    },
    // ---- taking apart -----------------------------------------------------------------------------------------
    /// On the primary: the member's metadata row and its recovery account are gone.
    ForgetInstance {
        /// Canonical `host:port`.
        address: String,
        /// Its `server_uuid`, if known.
        server_uuid: Option<ServerUuid>,
        /// Its recovery account.
        account: String,
    },
    /// This server has left the group, with AdminAPI's clean-up of its variables and channels; its data stays.
    LeaveGroup {},
    // ---- router -----------------------------------------------------------------------------------------------
    /// A random password is kept here, 0600, and its hash is answered as the secret of this name.
    MakeSecret {
        /// The name.
        name: SecretName,
    },
    /// The password is removed from this host.
    DropSecret {
        /// The name.
        name: SecretName,
    },
    /// On the primary: an account with these grants, its password hash taken from the secret.
    Account {
        /// The account.
        account: Account,
        /// The hash of its password.
        secret: SecretName,
    },
    /// On the primary: the account is gone.
    DropAccount {
        /// User part.
        user: String,
        /// Host part.
        from: String,
    },
    /// Our CA's certificate, the system user, the unit and the folders of Router are in place.
    RouterHost {
        /// Names the configuration folder.
        cluster: ClusterName,
    },
    /// `mysqlrouter --bootstrap` has been done for this cluster, as this account (its password kept here under the secret's
    /// name). Nothing is left of an earlier bootstrap that was killed: leftovers are answered for `ForgetRouter`.
    RouterBootstrap {
        /// The cluster.
        cluster: ClusterName,
        /// Its group name: an existing configuration for another group is refused.
        group_name: Uuid,
        /// `host:port` of the primary.
        primary: String,
        /// Account that lives only for the bootstrap.
        user: String,
        /// Its password.
        secret: SecretName,
        /// Ports.
        ports: RouterPorts,
    },
    /// mysqlrouter.service runs, is enabled, and each port leads where it should: proven by connections as this account.
    RouterRunning {
        /// The cluster.
        cluster: ClusterName,
        /// Ports to prove.
        ports: RouterPorts,
        /// Account for the proof and the name of its password.
        proof: Option<(String, SecretName)>,
        /// Every member's host name: who may answer.
        members: Vec<HostName>,
    },
    /// Router is stopped, disabled, its configuration for this cluster removed (the package stays).
    RouterGone {
        /// The cluster.
        cluster: ClusterName,
    },
    /// On the primary: rows of `routers` of this address and the accounts that these routers made are gone, but for `keep`.
    ForgetRouter {
        /// The router's host name as registered.
        address: HostName,
        /// The registration in use, found on the router's host: kept.
        keep_account: Option<String>,
    },
    // ---- proofs -----------------------------------------------------------------------------------------------
    /// One step of the walkthrough proven on this host; answers [`StepData::Proof`]. Repeatable, leaves nothing behind.
    Prove {
        /// What.
        proof: Proof,
    },
}

impl Step {
    /// Stable name, for progress, the journal and test points.
    pub fn name(&self) -> &'static str {
        match self {
            Self::HostsFile { .. } => "hosts_file",
            Self::MachineId { .. } => "machine_id",
            Self::Packages { .. } => "packages",
            Self::ServerCertificate { .. } => "server_certificate",
            Self::Server { .. } => "server",
            Self::Promise {} => "promise",
            Self::LocalMemberAccounts { .. } => "local_member_accounts",
            Self::MemberAccounts { .. } => "member_accounts",
            Self::BootstrapGroup { .. } => "bootstrap_group",
            Self::Metadata { .. } => "metadata",
            Self::JoinGroup { .. } => "join_group",
            Self::MetadataInstance { .. } => "metadata_instance",
            Self::Persist { .. } => "persist",
            Self::SetPrimary { .. } => "set_primary",
            Self::ForgetInstance { .. } => "forget_instance",
            Self::LeaveGroup {} => "leave_group",
            Self::MakeSecret { .. } => "make_secret",
            Self::DropSecret { .. } => "drop_secret",
            Self::Account { .. } => "account",
            Self::DropAccount { .. } => "drop_account",
            Self::RouterHost { .. } => "router_host",
            Self::RouterBootstrap { .. } => "router_bootstrap",
            Self::RouterRunning { .. } => "router_running",
            Self::RouterGone { .. } => "router_gone",
            Self::ForgetRouter { .. } => "forget_router",
            Self::Prove { .. } => "prove",
        }
    }
}

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

/// Row of `clusters`. Attributes follow adminapi.md 1.5.
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

/// Row of `instances`. The agent of the primary fills in nothing: address, uuid and ports come from the member's own
/// observation when known, else from the outcome of its `Server` step (`uuid_from`).
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
    /// MySQL Shell's cluster admin (adminapi.md 2.6).
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

/// How a step ended.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum StepResult {
    /// It was so already.
    Unchanged,
    /// It was made so; one line says what changed.
    Changed {
        /// `restarted mysqld: server_id 1 -> 92213542`.
        what: String,
    },
    /// It could not be made so.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// How a step ended, and what it found out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct StepOutcome {
    /// How it ended.
    pub result: StepResult,
    /// What it found out, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<StepData>,
    /// How long it took, by the agent's monotonic clock.
    pub elapsed_ms: u64,
    /// Of that: the part that MySQL, Router or the package manager themselves took, by name (`restart`, `start_group`,
    /// `recovery`, `router_bootstrap`, `packages`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spent_ms: BTreeMap<String, u64>,
}

/// What a step found out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "data", rename_all = "snake_case")]
pub enum StepData {
    /// A proof of `verify`.
    Proof {
        /// Step of the walkthrough.
        step: u32,
        /// What was proven.
        title: String,
        /// Whether it holds.
        passed: bool,
        /// What was seen.
        evidence: String,
    },
    /// Facts worth keeping with the plan, by name.
    Facts {
        /// The facts.
        facts: BTreeMap<String, String>,
    },
}
