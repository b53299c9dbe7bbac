//! What stands in a raft entry.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{HostName, OperationId, PlanId, ServerId, StepNumber};
use clusterctl_proto::lineage::{Branch, LineageId};
use clusterctl_proto::step::StepOutcome;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{Host, Operation, PlanDraft, Token, UnixMs};

/// One change. `at` is the leader's wall clock when it proposed, `by` who caused it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Command {
    /// When.
    pub at: UnixMs,
    /// Who, `operator/alice`.
    pub by: String,
    /// What.
    pub change: Change,
}

/// What changes.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(tag = "change", rename_all = "snake_case")]
// A command lives for a moment only, and boxes would be noise at every use.
#[allow(clippy::large_enum_variant)]
pub enum Change {
    /// First entry of a new group.
    Found {
        /// Its id.
        group: Uuid,
    },
    /// A token is made.
    AddToken {
        /// The token.
        token: Token,
    },
    /// A wrong secret was tried.
    TokenFailure {
        /// Token id.
        id: String,
    },
    /// A token is taken back.
    RevokeToken {
        /// Token id.
        id: String,
    },
    /// A host enrols with a token: spends a use and stores the host in one change.
    Enrol {
        /// Token id.
        token: String,
        /// The host.
        host: Host,
    },
    /// An enrolled host's certificate was renewed, or its addresses changed.
    RenewHost {
        /// The host as it is now.
        host: Host,
    },
    /// A host that is in no cluster is forgotten.
    RemoveHost {
        /// Its name.
        name: HostName,
    },
    /// An operation is stored, with the ids it may need: `apply` sets its own id, and writes the intent
    /// (cluster, member, router, account) in the same change.
    Submit {
        /// The operation; `id` is overwritten by the log index.
        operation: Operation,
        /// New `cluster_id`, if it makes a cluster.
        cluster_id: Uuid,
        /// New group name, if it makes a cluster.
        group_name: Uuid,
        /// Random candidates for server ids of new members; `apply` takes the first unused ones.
        server_ids: Vec<ServerId>,
    },
    /// The planner has no plan yet for this reason (only stored when the reason changes).
    Waiting {
        /// The operation.
        operation: OperationId,
        /// Why.
        why: String,
    },
    /// A plan is adopted, if its parent is still the cluster's last plan and no other plan of the cluster runs.
    Adopt {
        /// The plan.
        draft: PlanDraft,
    },
    /// A step ended. The last one ends the plan (and the operation); a failed one fails the plan.
    Outcome {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepNumber,
        /// How.
        outcome: StepOutcome,
    },
    /// The leader gives a step up without the word of its agent: its evidence has changed, its host is silent, the cluster is paused.
    GiveUp {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepNumber,
        /// Its failure.
        outcome: StepOutcome,
        /// It was sent, or may have been: it may run, and keeps its host busy until the agent says otherwise.
        may_run: bool,
    },
    /// The agent says how a step ended that was given up without its word.
    Settle {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepNumber,
        /// How; none: it was never begun, and never will be.
        outcome: Option<StepOutcome>,
    },
    /// A step has waited so long for its host or its evidence: noted now and then, so that a restart does not begin anew.
    Waited {
        /// The plan.
        plan: PlanId,
        /// The step.
        step: StepNumber,
        /// Milliseconds in all; 0: it waits no more.
        ms: u64,
    },
    /// The operation ends without (another) plan: the planner found it done, or refuses it.
    EndOperation {
        /// The operation.
        operation: OperationId,
        /// Ok: its result line.
        result: Result<String, Failure>,
    },
    /// An operator cancels.
    Cancel {
        /// The operation.
        operation: OperationId,
    },
    /// A cluster, or one of its hosts, is to be left alone, or no more.
    HandsOff {
        /// The cluster.
        cluster: clusterctl_proto::ids::ClusterName,
        /// A member or router; none: all of it.
        host: Option<HostName>,
        /// What an operator said; none: healed again.
        said: Option<crate::model::HandsOff>,
        /// Only if what holds now was said then; none: whatever holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<UnixMs>,
    },
    /// An agent tells of a lineage of a cluster's group, or the group lives in another one now.
    Lineage {
        /// The cluster.
        cluster: clusterctl_proto::ids::ClusterName,
        /// The lineage.
        id: LineageId,
        /// Where it branched off; none: it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<Branch>,
        /// The group lives in it.
        #[serde(default)]
        leads: bool,
    },
    /// Every voter runs a program that knows this feature level: entries may mean what it adds.
    RaiseFeatureLevel {
        /// The level.
        to: u32,
    },
    /// An old copy of this log was put back: orders begin a new recovery epoch.
    RaiseEpoch {
        /// The epoch before; another one rejects the change.
        from: u64,
    },
    /// A line for the journal that no other change writes.
    Note {
        /// Stable name.
        kind: String,
        /// The cluster.
        cluster: Option<clusterctl_proto::ids::ClusterName>,
        /// The host.
        host: Option<HostName>,
        /// The text.
        text: String,
    },
}

impl Change {
    /// Feature level that a program must know to apply it.
    pub fn needs_level(&self) -> u32 {
        match self {
            Self::RaiseFeatureLevel { to } => *to,
            _ => 0,
        }
    }
}

/// What a change answers to the one who proposed it.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub enum Answer {
    /// Applied.
    Applied,
    /// Applied: an operation has this id (an old one, if the request id was known).
    Operation(OperationId),
    /// Applied: a plan has this id.
    Plan(PlanId),
    /// Not applied, for this reason: nothing changed.
    Rejected(Failure),
}
