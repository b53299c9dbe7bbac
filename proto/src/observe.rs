//! What one agent tells of its host: the answer to one question of the leader.
//!
//! Facts only, as seen; what follows from them is the planner's. An answer is *certain* for a few seconds counted from
//! when the leader asked (safety rule 4); `None` means "could not be told", never "no".

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterName, Generation, HostName, ServerId, ServerUuid};
use crate::lineage::{Lineages, MemberLineage};
use crate::order_proof::OrderProof;

/// One answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Observation {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Version of the agent that answers.
    pub agent_version: String,
    /// Which promises and generations the agent remembers.
    pub ledger: LedgerFacts,
    /// What is slow to collect; only when asked for, and kept by the leader from the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostFacts>,
    /// MySQL server on this host.
    pub mysql: MysqlFacts,
    /// MySQL Router on this host.
    pub router: RouterFacts,
    /// What the agent did by itself since it started, oldest first, at most [`OWN_DEEDS`]: for the journal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_deeds: Vec<OwnDeed>,
}

/// How many own deeds an agent remembers.
pub const OWN_DEEDS: usize = 20;

/// Something that an agent did, or found, without an order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct OwnDeed {
    /// The agent's wall clock, milliseconds since 1970.
    pub at_ms: i64,
    /// Stable name: `rejoined_alone`, `rejoin_alone_failed`, `server_started_alone`, `bootstrap_flag_cleared`, `handed_over`.
    pub kind: String,
    /// One line for people.
    pub text: String,
}

/// What the agent's ledger holds (safety rules 1 and 7).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct LedgerFacts {
    /// False when the file was lost or unreadable: then nothing below may be believed.
    pub known: bool,
    /// Why the file cannot be read although it may be whole; with it, `known` is false and the ledger is not lost: it is not rebuilt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Newest generation seen, per cluster.
    pub generations: BTreeMap<ClusterName, Generation>,
    /// Promised not to enter a group below this generation, per cluster.
    pub promises: BTreeMap<ClusterName, Generation>,
    /// Clusters into whose live group the agent may bring its server back without an order: a step let it in, and nothing was promised
    /// since. None: an agent of the release before, which does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_return: Option<BTreeSet<ClusterName>>,
    /// The lineage of this member's data, per cluster; none: this agent has never seen its member in the group.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lineages: BTreeMap<ClusterName, MemberLineage>,
    /// Servers whose data were being replaced by a copy that is not known to be complete, per cluster: what they hold is part of the
    /// group's history at most, and may lack anything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub half_copied: BTreeMap<ClusterName, ServerUuid>,
    /// This agent takes a copy for half of one until its donor has vouched for it. False: it is of a release before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copies_are_vouched: bool,
    /// Lineages that this member's data descend from and the coordinator's last question did not name, per cluster: the host on which one
    /// began may never come back to tell of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub untold: BTreeMap<ClusterName, Lineages>,
    /// The coordinator's signature of the generation in `generations`, per cluster; none where an older coordinator gave it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub proofs: BTreeMap<ClusterName, OrderProof>,
    /// What the agent wants to be told again if it loses the ledger.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_words: LastWords,
}

/// What an agent has on record of its member's data, per cluster, in a form that only agents read. A leader keeps it in memory, and gives it
/// back to the same agent when that has lost its ledger.
pub type LastWords = BTreeMap<ClusterName, serde_json::Value>;

impl LedgerFacts {
    /// The file is gone or holds nonsense: the agent waits for a leader's committed index to rebuild it on.
    pub fn is_lost(&self) -> bool {
        !self.known && self.unreadable.is_none()
    }
}

/// Facts of the machine, collected on request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct HostFacts {
    /// What `hostname` says.
    pub hostname: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
    /// `debian`, `ubuntu`, `rhel`, … (`ID` of os-release).
    pub os_id: String,
    /// `x86_64`.
    pub architecture: String,
    /// Global addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// Online processors.
    pub cpus: u32,
    /// `MemTotal` or the cgroup limit, whichever is less.
    pub memory_bytes: u64,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Wall clock of the host when it answered, milliseconds since 1970.
    pub clock_unix_ms: i64,
    /// `NTPSynchronized` of timedated; none where nothing tells.
    pub clock_synchronised: Option<bool>,
    /// Free bytes of the file system that holds (or will hold) the data directory.
    pub data_free_bytes: u64,
    /// What each name that was asked resolves to on this host.
    pub resolves: BTreeMap<String, Vec<IpAddr>>,
    /// Who listens on the ports that matter (3306, 33060, 6446 …): port to process name, as `ss` sees it.
    pub listeners: BTreeMap<u16, String>,
    /// Package manager: `apt`, `dnf`, or none.
    pub package_manager: Option<String>,
    /// Names of the packages as configured for this host.
    pub packages: PackageNames,
    /// Candidate versions of those packages in the host's repositories; none: the repositories have no such package.
    pub candidates: BTreeMap<String, Option<String>>,
    /// Whether pid 1 is systemd.
    pub systemd: bool,
    /// SELinux or AppArmor in enforcing mode, `selinux`, `apparmor`.
    pub mandatory_access: Option<String>,
}

/// Package names of this host, `[packages]` of `agent.toml`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct PackageNames {
    /// Server and client.
    pub server: Vec<String>,
    /// Router.
    pub router: Vec<String>,
    /// Installed where the repositories have them, else reported.
    pub optional: Vec<String>,
}

impl Default for PackageNames {
    fn default() -> Self {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Self {
            server: names(&["mysql-server", "mysql-client"]),
            router: names(&["mysql-router", "mysql-client"]),
            optional: names(&["mysql-shell"]),
        }
    }
}

/// A systemd unit as `systemctl show` tells it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(rename_all = "snake_case")]
pub enum UnitState {
    /// No such unit.
    #[default]
    Absent,
    /// `inactive`.
    Stopped,
    /// `activating` or `reloading`.
    Starting,
    /// `active`.
    Running,
    /// `deactivating`.
    Stopping,
    /// `failed`.
    Failed,
}

/// MySQL server on this host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct MysqlFacts {
    /// Version of the installed server package; none: not installed.
    pub installed: Option<String>,
    /// State of its unit.
    pub unit: UnitState,
    /// systemd's word for how its last run ended: `success`, `exit-code`, `oom-kill`, `start-limit-hit` …; empty: not told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit_result: String,
    /// The data directory.
    pub data: DataDirectory,
    /// The running server, if it answered over its socket.
    pub server: Option<ServerFacts>,
    /// Why `server` is none although the unit runs.
    pub error: Option<String>,
}

/// Whose data directory it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DataDirectory {
    /// Not there, or empty.
    #[default]
    Absent,
    /// Carries our marker.
    Ours {
        /// The cluster it was made for, once it was.
        cluster: Option<ClusterName>,
    },
    /// Made by the distribution's package, no user schema, no transaction in it: may be used.
    Pristine,
    /// Holds something that is not ours: never touched.
    Foreign {
        /// What was found, for people: `schemas: shop, blog`.
        what: String,
    },
}

impl DataDirectory {
    /// How a directory is told as not ours into which the agent could not look: it is not known whose it is. A state of its own could not be
    /// read by a coordinator of the release before.
    pub const UNSEEN: &str = "it could not be looked through";

    /// The agent could not look.
    pub fn is_unseen(&self) -> bool {
        matches!(self, Self::Foreign { what } if what.starts_with(Self::UNSEEN))
    }
}

/// A running mysqld.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ServerFacts {
    /// `@@server_uuid`.
    pub server_uuid: ServerUuid,
    /// `@@server_id`.
    pub server_id: ServerId,
    /// `@@version`.
    pub version: String,
    /// `COALESCE(@@report_host, @@hostname)`.
    pub report_host: String,
    /// `@@port`.
    pub port: u16,
    /// X Protocol port if the plugin is active.
    pub x_port: Option<u16>,
    /// Seconds since its start.
    pub uptime_seconds: u64,
    /// `@@gtid_executed`.
    pub gtid_executed: String,
    /// `@@gtid_purged`.
    pub gtid_purged: String,
    /// `RECEIVED_TRANSACTION_SET` of the group_replication_applier channel, empty if none.
    pub gtid_received: String,
    /// `@@super_read_only`.
    pub super_read_only: bool,
    /// `@@offline_mode`.
    pub offline_mode: bool,
    /// `@@group_replication_bootstrap_group`: ON outside a bootstrap is an alarm (safety rule 1).
    pub bootstrap_flag: bool,
    /// `@@group_replication_group_name`, empty if unset or the plugin is not there.
    pub group_name: String,
    /// `@@group_replication_force_members`: not empty on the member where a membership was forced, until it is reset.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub force_members: String,
    /// This member's own row and view of the group; none: Group Replication plugin is not active.
    pub group: Option<GroupView>,
    /// Tables outside the system schemas without a primary key, at most ten, `schema.table` (full questions only).
    #[serde(default)]
    pub tables_without_key: Option<Vec<String>>,
    /// Tables outside the system schemas with an engine other than InnoDB, at most ten (full questions only).
    #[serde(default)]
    pub tables_not_innodb: Option<Vec<String>>,
    /// User schemas, at most ten (full questions only).
    #[serde(default)]
    pub user_schemas: Option<Vec<String>>,
    /// Replication channels other than Group Replication's own.
    pub foreign_channels: Vec<String>,
    /// Members' accounts that may not read the group's tables, at most twenty: by these an agent proves that a group lives while no
    /// coordinator is there. None: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacking_rights: Option<Vec<String>>,
    /// This server's copy of the AdminAPI metadata; none: no such schema here.
    pub metadata: Option<MetadataCopy>,
    /// Transactions waiting in the certifier's and the applier's queue.
    pub queue: u64,
}

/// `performance_schema.replication_group_members` as this member sees it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct GroupView {
    /// This member's own state.
    pub state: MemberState,
    /// This member's own role.
    pub role: MemberRole,
    /// View id; empty while offline.
    pub view_id: String,
    /// Everyone, itself included.
    pub members: Vec<GroupMember>,
    /// GR's own auto-rejoin is trying (`thread/group_rpl/THD_autorejoin`).
    pub auto_rejoin: bool,
    /// Last error of the applier or recovery channel, if any.
    pub channel_error: Option<String>,
    /// For how long, at least, its group has tried in vain to agree on anything, in milliseconds, by looks that followed each other closely.
    /// None: that is not known, or an earlier agent does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standstill_ms: Option<u64>,
}

/// A group in which everything is well agrees in milliseconds. After this long it has lost what it needs for that, whatever its view shows.
const STALLED_MS: u64 = 10_000;
/// A group of one waits 30 s for a joiner that died while it was let in. After this long it will never agree on anything again.
const HALTED_MS: u64 = 40_000;

impl GroupView {
    /// This member is part of a group or on its way in or out: only OFFLINE counts as out. ERROR does not: its plugin
    /// still runs.
    pub fn is_out(&self) -> bool {
        self.state == MemberState::Offline && !self.auto_rejoin
    }

    /// This member is alone in its group, and every commit of it waits: for the group's own protocol somebody else is a member, and does not
    /// answer. Where there are others in the view, they become UNREACHABLE, and Group Replication itself acts on that.
    pub fn has_stalled(&self) -> bool {
        self.alone_for(STALLED_MS)
    }

    /// It will not agree any more, though this member shows itself ONLINE: it serves nobody, and only a new bootstrap ends that
    /// (docs/mysql-facts.md, "What if a joiner dies").
    pub fn has_halted(&self) -> bool {
        self.alone_for(HALTED_MS)
    }

    fn alone_for(&self, long_ms: u64) -> bool {
        self.members.len() == 1 && self.standstill_ms.is_some_and(|ms| ms >= long_ms)
    }

    /// A majority of the view is not UNREACHABLE, and the group agrees.
    pub fn has_quorum(&self) -> bool {
        if self.has_stalled() {
            return false;
        }
        let alive = self
            .members
            .iter()
            .filter(|m| m.state != MemberState::Unreachable)
            .count();
        alive * 2 > self.members.len()
    }
}

/// One row of the view.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct GroupMember {
    /// `MEMBER_ID`.
    pub server_uuid: ServerUuid,
    /// `MEMBER_HOST`.
    pub host: String,
    /// `MEMBER_PORT`.
    pub port: u16,
    /// `MEMBER_STATE`.
    pub state: MemberState,
    /// `MEMBER_ROLE`.
    pub role: MemberRole,
    /// `MEMBER_VERSION`.
    pub version: String,
}

/// `MEMBER_STATE`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MemberState {
    /// Serves.
    Online,
    /// Catches up.
    Recovering,
    /// Not in a group.
    Offline,
    /// Plugin runs, member does not serve.
    Error,
    /// Others do not hear it.
    Unreachable,
}

/// `MEMBER_ROLE`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MemberRole {
    /// Takes writes.
    Primary,
    /// Reads only.
    Secondary,
    /// Not in a group.
    None,
}

/// What this server's copy of `mysql_innodb_cluster_metadata` says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct MetadataCopy {
    /// `2.4.0`; `0.0.0` while an upgrade runs.
    pub version: String,
    /// Name of the (only) cluster of type gr.
    pub cluster_name: String,
    /// Its `cluster_id`.
    pub cluster_id: String,
    /// Its group name.
    pub group_name: String,
    /// Group members: `host:port` and server_uuid.
    pub instances: Vec<MetadataInstance>,
    /// Registered routers.
    pub routers: Vec<MetadataRouter>,
}

/// A row of `instances`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct MetadataInstance {
    /// Canonical `host:port`.
    pub address: String,
    /// `mysql_server_uuid`.
    pub server_uuid: ServerUuid,
    /// `attributes.server_id`.
    pub server_id: Option<ServerId>,
}

/// A row of `routers`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct MetadataRouter {
    /// `router_id`.
    pub id: u32,
    /// `address`: the router's host name.
    pub address: String,
    /// `router_name`.
    pub name: String,
    /// `version`.
    pub version: Option<String>,
    /// `attributes.MetadataUser`: the account that Router made for itself.
    pub account: Option<String>,
}

/// MySQL Router on this host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug, Default)]
pub struct RouterFacts {
    /// Version of the installed package; none: not installed.
    pub installed: Option<String>,
    /// State of `mysqlrouter.service`.
    pub unit: UnitState,
    /// The cluster that it is bootstrapped for, from our own configuration.
    pub cluster: Option<ClusterName>,
    /// Ports of its routes that listen now.
    pub listening: Vec<u16>,
}

/// A name with the addresses that it should have on every host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct HostEntry {
    /// The name.
    pub name: HostName,
    /// Its addresses, the preferred one first.
    pub addresses: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(states: &[MemberState], standstill_ms: Option<u64>) -> GroupView {
        let row = |state: &MemberState| GroupMember {
            server_uuid: ServerUuid::nil(),
            host: "node1".to_owned(),
            port: 3306,
            state: *state,
            role: MemberRole::Secondary,
            version: String::new(),
        };
        GroupView {
            state: MemberState::Online,
            role: MemberRole::Primary,
            view_id: String::new(),
            members: states.iter().map(row).collect(),
            auto_rejoin: false,
            channel_error: None,
            standstill_ms,
        }
    }

    #[test]
    fn who_is_alone_and_agrees_on_nothing_has_no_quorum() {
        use MemberState::{Online, Unreachable};
        let told = |states: &[MemberState], ms| {
            let view = view(states, ms);
            (view.has_quorum(), view.has_stalled(), view.has_halted())
        };
        assert_eq!(told(&[Online], None), (true, false, false));
        assert_eq!(told(&[Online], Some(9_999)), (true, false, false));
        assert_eq!(told(&[Online], Some(10_000)), (false, true, false));
        assert_eq!(told(&[Online], Some(40_000)), (false, true, true));
        // With others there Group Replication acts by itself, or a person forces the membership.
        assert_eq!(told(&[Online, Online], Some(40_000)), (true, false, false));
        assert_eq!(told(&[Online, Unreachable], Some(40_000)), (false, false, false));
    }

    #[test]
    fn an_earlier_agent_does_not_tell_it() {
        let text = serde_json::to_string(&view(&[MemberState::Online], None)).unwrap();
        assert!(!text.contains("standstill"));
        let read: GroupView = serde_json::from_str(&text).unwrap();
        assert!(read.has_quorum());
    }
}
