//! How a step ended.

use std::collections::BTreeMap;

use crate::lineage::MemberLineage;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::gtid::GtidSet;

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
    /// The group was bootstrapped here: its new lineage, as the agent's ledger has it.
    Bootstrapped {
        /// The record, with its branch.
        lineage: Box<MemberLineage>,
    },
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
    /// What a server holds that is in no group, read after its view was seen: the promise holds from before that.
    Promised {
        /// `@@gtid_executed`.
        executed: GtidSet,
        /// What its applier has received, applied or not.
        received: GtidSet,
    },
    /// Facts worth keeping with the plan, by name.
    Facts {
        /// The facts.
        facts: BTreeMap<String, String>,
    },
}
