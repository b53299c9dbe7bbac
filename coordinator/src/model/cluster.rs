//! A cluster as it is meant to be.

use std::collections::{BTreeMap, BTreeSet};

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::{ClusterName, HostName, OperationId, PlanId, ServerId};
use clusterctl_proto::lineage::{LineageId, Lineages};
use clusterctl_proto::step::{Account, RouterPorts};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Operation, UnixMs};

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
    /// Its newest plan that copies a donor's data beside others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_copy: Option<PlanId>,
    /// The operation that made it.
    pub created_by: OperationId,
    /// An operator wants the whole cluster left alone: nothing is healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<HandsOff>,
    /// Every bootstrap of its group that is known, and what each began with.
    #[serde(default, skip_serializing_if = "Lineages::is_empty")]
    pub lineages: Lineages,
    /// The lineage in which the group lives, or lived last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<LineageId>,
    /// The entry of the log by which it went on in what a person had made: a plan of before, told of later, does not take it back. 0: none.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub led_at: u64,
    /// Hosts that were abandoned before lineages were recorded, as the release before wrote it: nothing is added any more, and a host
    /// is forgotten when it is a member again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<HostName, LeftOut>,
    /// Abandoned members whose metadata row and recovery account are still to be removed. Kept until that is done, whatever becomes of
    /// the operation that abandoned them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub duties: BTreeMap<HostName, ForgetDuty>,
    /// Members whose recovery account was dropped on some server outside the group, before a bootstrap without them: the group may not
    /// know the account although the metadata list the member.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub accounts_dropped: BTreeSet<HostName>,
}

/// An abandoned member that the group has not forgotten yet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ForgetDuty {
    /// The operation that abandoned it.
    pub by: OperationId,
    /// When the bootstrap without it ran, or may have run.
    pub since: UnixMs,
}

/// What a host that was abandoned before lineages were recorded shares with the group.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct LeftOut {
    /// Transactions that the group had then and still has.
    pub base: GtidSet,
    /// The operation that left it out first.
    pub by: OperationId,
}

/// "Leave it alone", said by an operator: a paused cluster, a host in maintenance.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct HandsOff {
    /// `operator/alice`.
    pub by: String,
    /// Since when.
    pub at: UnixMs,
    /// In the operator's words; may be empty.
    pub reason: String,
    /// It ends by itself then; none: when an operator ends it.
    pub until: Option<UnixMs>,
    /// Not only healing waits: operations of operators do, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everything: bool,
}

impl HandsOff {
    /// It has not ended by itself.
    pub fn holds(&self, now: UnixMs) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Cluster {
    /// What an operator said about the cluster or, before that, about this host: nothing is healed there.
    pub fn hands_off(&self, host: &HostName, now: UnixMs) -> Option<&HandsOff> {
        let member = self.members.get(host).and_then(|member| member.maintenance.as_ref());
        let router = self.routers.get(host).and_then(|router| router.maintenance.as_ref());
        let said = member.or(router).filter(|said| said.holds(now));
        said.or_else(|| self.paused_now(now))
    }

    /// What an operator said about the whole cluster, while it holds.
    pub fn paused_now(&self, now: UnixMs) -> Option<&HandsOff> {
        self.paused.as_ref().filter(|said| said.holds(now))
    }

    /// A group of this lineage goes on from where the cluster was, not from a history that was abandoned.
    pub fn goes_on_in(&self, id: &LineageId) -> bool {
        self.lineage
            .as_ref()
            .is_none_or(|last| self.lineages.descends(last, id))
    }

    /// The pause that holds this operation, if one does: a pause holds what a coordinator does by itself, `pause --all` everything.
    pub fn holds_back(&self, operation: &Operation, now: UnixMs) -> Option<&HandsOff> {
        self.paused_now(now)
            .filter(|said| said.everything || operation.by_itself())
    }

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
    /// Of one that is leaving: where it stood before, to which it goes back if its removal is not begun. None: of feature levels below 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_as: Option<MemberPhase>,
    /// A step that lets it into the group, or puts a copy of data or a group onto it, has ended and may have run: an operation that fails
    /// does not take it back, also when the plan of that step is not kept any more. Never set back: whatever a step ended with, its agent
    /// may have entered, or replaced data, before; a removal that is refused or cancelled undoes none of it, and one that is done takes the
    /// member with its mark. False: of feature levels below 4, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begun: bool,
    /// An operator wants it left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<HandsOff>,
}

impl Member {
    /// Name of its recovery account (docs/metadata.md, Accounts).
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
    /// An operator wants it left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<HandsOff>,
}

/// An account that an operator made through us.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct AccountIntent {
    /// The account, without its password.
    pub account: Account,
    /// True once it was made.
    pub made: bool,
}
