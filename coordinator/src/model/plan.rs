//! An ordered set of steps, adopted through raft.

use std::collections::{BTreeMap, BTreeSet};

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::{ClusterName, Generation, HostName, OperationId, PlanId, StepNumber};
use clusterctl_proto::step::{Step, StepOutcome};
use serde::{Deserialize, Serialize};

use super::UnixMs;

/// What the planner answers: a plan without a place in the log.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct PlanDraft {
    /// The cluster it is about.
    pub cluster: ClusterName,
    /// The operation it serves.
    pub operation: OperationId,
    /// The cluster's plan when this one was computed; adopted only if it still is.
    pub parent: Option<PlanId>,
    /// Steps, numbered from 1 in this order.
    pub steps: Vec<PlannedStep>,
    /// Why it is as it is, and why other things were not done.
    pub report: Vec<String>,
    /// Result line of the operation when every step ended well.
    pub done_message: String,
    /// It only makes way: when it has ended well the operation is planned again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
    /// The copy of a donor's data onto one host, and nothing else: it enters no group, is none of the cluster's chain of plans, and other
    /// plans of the cluster, which leave this host alone, may be carried out beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub side: bool,
    /// Members that this plan abandons by an operator's word, and what the group has then (a GTID set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<Reckoning>,
    /// Members that a plan of the release before let count again. Only read from old logs, and written again as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<Reckoning>,
}

/// Members, and what the group starts with when they are abandoned.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Reckoning {
    /// Members.
    pub members: Vec<HostName>,
    /// What the member that bootstraps holds.
    pub base: GtidSet,
    /// What those held that answered when they were abandoned: the operator was shown it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub known: BTreeMap<HostName, GtidSet>,
}

/// One step of a plan.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct PlannedStep {
    /// From 1.
    pub number: StepNumber,
    /// The host whose agent does it.
    pub host: HostName,
    /// What.
    pub step: Step,
    /// For people: "join node3 to the group by incremental recovery".
    pub title: String,
    /// Steps that must have ended well before.
    pub after: Vec<StepNumber>,
    /// Its failure is noted but does not end the plan (e.g. seeds of a member that is down).
    #[serde(default)]
    pub best_effort: bool,
    /// Done even when the plan fails (cleaning up a temporary account), after everything that ran has ended.
    #[serde(default)]
    pub finally: bool,
    /// Where it stands.
    #[serde(default)]
    pub state: StepState,
}

/// Where a step stands, as far as the log knows; "running" is the leader's memory.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug, Default)]
#[serde(tag = "state", rename_all = "snake_case")]
// Plans are few, and boxes would be noise at every use.
#[allow(clippy::large_enum_variant)]
pub enum StepState {
    /// No outcome yet.
    #[default]
    Pending,
    /// Ended.
    Ended {
        /// How.
        outcome: StepOutcome,
        /// When the leader stored it.
        at: UnixMs,
    },
}

/// An adopted plan.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Plan {
    /// Its id: the log index of its adoption.
    pub id: PlanId,
    /// `(epoch, id)`.
    pub generation: Generation,
    /// What was adopted, with the states of its steps.
    pub draft: PlanDraft,
    /// When.
    pub adopted_at: UnixMs,
    /// Where it stands.
    pub state: PlanState,
    /// Steps that the leader gave up without the word of their agent: each may run still, and keeps its host busy until the agent
    /// says that it ended or was never begun.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unsettled: BTreeSet<StepNumber>,
    /// Steps that certainly never ran, although they ended with another failure than `not_run`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub never_begun: BTreeSet<StepNumber>,
    /// How long steps have waited so far, in milliseconds of the leaders' monotonic clocks: the patience outlives a restart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waited_ms: BTreeMap<StepNumber, u64>,
}

/// Where a plan stands.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PlanState {
    /// Steps are being carried out.
    Running,
    /// Every step ended well.
    Done,
    /// A step failed; nothing of it is sent any more but its `finally` steps.
    Failed {
        /// That step.
        step: StepNumber,
    },
    /// Its operation was cancelled.
    Cancelled,
}
