//! What operators want, in the raft log: hosts, tokens, clusters, operations, plans, events.
//!
//! Plain data, changed only by `machine::apply`. Nothing here was *seen* by an agent: observations live in the leader's
//! memory (`crate::leader::seen`). Times are milliseconds since 1970 and come from commands, never from a clock.

pub mod cluster;
pub mod event;
pub mod host;
pub mod operation;
pub mod plan;
pub mod token;

use std::collections::{BTreeMap, VecDeque};

use clusterctl_proto::ids::{ClusterName, EventId, HostName, OperationId, PlanId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use cluster::{
    AccountIntent, Cluster, ForgetDuty, HandsOff, LeftOut, Member, MemberPhase, RouterIntent, RouterPhase,
};
pub use event::Event;
pub use host::Host;
pub use operation::{Operation, OperationKind, OperationState};
pub use plan::{Plan, PlanDraft, PlanState, PlannedStep, Reckoning, StepState};
pub use token::Token;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMs = i64;

/// The newest feature level that this program knows. A level stands for what entries and the model may mean: 0, the releases before
/// levels; 1, sizes are limited (`machine::limits`); 2, a copy is a plan beside others ([`PlanDraft::side`]); 3, a cluster remembers when it
/// was last led ([`Cluster::led_at`]), a copy that broke off after hours is tried again, and a member that is leaving remembers what it was
/// ([`Member::left_as`]); 4, an operation that was cancelled while its failed plan was ending is rolled back, a member remembers that its
/// entry may have begun ([`Member::begun`]), every member whose account a bootstrap dropped is noted, and an operation has its patience from
/// when its turn came ([`Operation::turn_at`]). A model of a higher level is refused.
pub const FEATURE_LEVEL: u32 = 4;

/// How many ended operations (with their plans) and events are kept.
pub const KEEP_OPERATIONS: usize = 500;
/// Of those: how many that healed.
pub const KEEP_HEALINGS: usize = 100;
/// How many events are kept.
pub const KEEP_EVENTS: usize = 5000;

/// The whole replicated state.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Model {
    /// Version of this document.
    pub format: u32,
    /// What entries and this document may mean, [`FEATURE_LEVEL`]; raised only by a command.
    #[serde(default)]
    pub feature_level: u32,
    /// Names this coordinator group in every certificate.
    pub group: Uuid,
    /// Recovery epoch: raised when the group is restored from a backup (safety rule 7).
    pub epoch: u64,
    /// Enrolled hosts.
    pub hosts: BTreeMap<HostName, Host>,
    /// Tokens, by id.
    pub tokens: BTreeMap<String, Token>,
    /// Clusters.
    pub clusters: BTreeMap<ClusterName, Cluster>,
    /// Operations, running and ended.
    pub operations: BTreeMap<OperationId, Operation>,
    /// Plans of those operations.
    pub plans: BTreeMap<PlanId, Plan>,
    /// The journal, oldest first.
    pub events: VecDeque<Event>,
    /// Bytes that its lines count for, from feature level 1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub event_bytes: u64,
    /// Id of the next event.
    pub next_event: EventId,
    /// Serial numbers (hex) of revoked certificates.
    pub revoked: std::collections::BTreeSet<String>,
}

/// For fields that older releases did not write.
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Model {
    /// The state of a new group.
    pub fn new(group: Uuid) -> Self {
        Self {
            format: 1,
            feature_level: 0,
            group,
            epoch: 1,
            hosts: BTreeMap::new(),
            tokens: BTreeMap::new(),
            clusters: BTreeMap::new(),
            operations: BTreeMap::new(),
            plans: BTreeMap::new(),
            events: VecDeque::new(),
            event_bytes: 0,
            next_event: EventId(1),
            revoked: std::collections::BTreeSet::new(),
        }
    }

    /// The cluster that a host is (or is to become, or was not yet removed as) a member or router of.
    pub fn cluster_of(&self, host: &HostName) -> Option<&Cluster> {
        self.clusters
            .values()
            .find(|cluster| cluster.members.contains_key(host) || cluster.routers.contains_key(host))
    }

    /// Operations that have not ended, oldest first.
    pub fn active_operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values().filter(|op| !op.state.is_final())
    }
}
