//! The steps that a plan is made of.
//!
//! A step is one idempotent `ensure` on one host: the agent looks, acts if it must, looks again, and answers
//! [`StepResult`]. It carries every value it needs; the agent chooses nothing. Steps stand in the raft log and travel
//! to agents as JSON: a field may be added with a default, never change its meaning. No secret ever stands in a step:
//! [`SecretName`]s are resolved from the leader's memory when the step is sent.

mod account;
mod group;
mod outcome;
mod proof;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::gtid::GtidSet;
use crate::ids::{ClusterName, HostName, ServerUuid};
use crate::lineage::LineageId;
use crate::observe::HostEntry;

pub use account::{Account, AccountKind, RouterPorts};
pub use group::{
    BootstrapPeer, GroupConfig, History, MemberAccount, MetadataCluster, MetadataMember, Recovery, ServerConfig,
    Vouched,
};
pub use outcome::{StepData, StepOutcome, StepResult};
pub use proof::Proof;

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
    /// group: answers with a failure when the server is in one, else [`StepData::Promised`] if the server runs. Looks again
    /// each time that it is ordered.
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
        /// What the plan counts on: this server holds at least that, applied or received.
        #[serde(default, skip_serializing_if = "GtidSet::is_empty")]
        holds: GtidSet,
        /// The lineage of its data that the plan counts on: with another one, or an unverified one, the step refuses. None: its data
        /// belong to none (a new cluster), or lineages were not recorded yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lineage: Option<LineageId>,
        /// Everyone else who may be in the group: the agent asks each of them itself, directly before START.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        peers: Vec<BootstrapPeer>,
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
        /// The group's lineage, and all that is known of others: this server's data are measured by it before the start. None: the
        /// group is made by the same plan, or lineages were not recorded yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        history: Option<History>,
    },
    /// This server's data are a complete copy of the donor's, and it is out of any group: `CLONE INSTANCE`, the restart on the copy,
    /// marker and lineage. It starts no Group Replication. What this server holds must be in the group's history, or the step refuses
    /// (safety rules 2 and 3).
    CloneData {
        /// A member that serves.
        donor: HostName,
        /// Its port.
        port: u16,
        /// The group's name.
        group_name: Uuid,
        /// This member's own account, by which it logs in to the donor.
        account: MemberAccount,
        /// The primary's executed set when the plan was made.
        group_gtid: String,
        /// The group's lineage, and all that is known of others; none: lineages are not recorded yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        history: Option<History>,
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
    // ---- healing ----------------------------------------------------------------------------------------------
    /// mysqld's unit, which has failed, runs again and the server answers; one that somebody stopped in an orderly way is left
    /// stopped.
    StartServer {},
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
    LeaveGroup {
        /// The group's name: a server that is set up for another group is refused. None: of an order of the release before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group_name: Option<Uuid>,
    },
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
            Self::CloneData { .. } => "clone_data",
            Self::MetadataInstance { .. } => "metadata_instance",
            Self::Persist { .. } => "persist",
            Self::SetPrimary { .. } => "set_primary",
            Self::StartServer {} => "start_server",
            Self::ForgetInstance { .. } => "forget_instance",
            Self::LeaveGroup { .. } => "leave_group",
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
