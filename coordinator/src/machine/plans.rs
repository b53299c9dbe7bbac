//! Plans in the model: adopted, carried out step by step, failed, settled.
//!
//! When a plan stops (a step failed, or its operation was cancelled), steps that could not have been sent yet are ended at
//! once with [`NOT_RUN`]; what stays pending may be running on some host and must end (or be given up by the leader)
//! before another plan of the cluster is adopted. So "every step has ended" is what *settled* means.
//!
//! A step that was given up without its agent's word may run still. It keeps its host busy ([`busy_hosts`]), not the cluster: no plan
//! that touches this host is adopted, and no group is bootstrapped, until the agent says that the step ended or was never begun.
//!
//! The copy of a donor's data takes hours, so it is a *side plan*: one step on one host, which enters no group. It is none of the
//! cluster's chain of plans; while it is open its host is busy, and other plans of the cluster are adopted and carried out beside it.

mod adopt;
mod busy;
mod ends;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, PlanId, StepNumber};
use clusterctl_proto::step::{StepOutcome, StepResult};

use crate::model::{Model, Plan, PlanState, PlannedStep, StepState};

pub(super) use adopt::adopt;
pub(crate) use adopt::{all_in_the_way, in_the_way};
pub use busy::{busy_hosts, busy_text, copies, is_over};
pub(super) use ends::{give_up, outcome, settle, stop, waited};

/// Code of the outcome of a step that certainly never ran.
pub const NOT_RUN: &str = "not_run";

/// Code of the outcome of a step that was not sent since what it relies on is not so any more.
pub const EVIDENCE_CHANGED: &str = "evidence_changed";

/// Code of the outcome of a step that was not sent since its cluster is paused.
pub const PAUSED: &str = "paused";

/// Code of an agent's outcome of a step that the leader cancelled.
pub const STEP_CANCELLED: &str = "cancelled";

/// A step of one plan.
pub type StepKey = (PlanId, StepNumber);

/// The plan of this cluster that has not settled. Copies, which are carried out beside others, are told by [`copies`].
pub fn open_plan<'a>(model: &'a Model, cluster: &ClusterName) -> Option<&'a Plan> {
    // Newest first: an open one is the last.
    model
        .plans
        .values()
        .rev()
        .find(|plan| plan.draft.cluster == *cluster && !plan.draft.side && !is_settled(plan))
}

/// Nothing of it runs or will run.
pub fn is_settled(plan: &Plan) -> bool {
    match plan.state {
        PlanState::Done => true,
        PlanState::Running => false,
        PlanState::Failed { .. } | PlanState::Cancelled => plan.draft.steps.iter().all(has_ended),
    }
}

/// Steps that may be sent now: pending, and what they wait for has ended well.
///
/// In a plan that stopped these are the steps that may be running already, and, once none is left, the `finally` steps.
pub fn ready_steps(plan: &Plan) -> Vec<&PlannedStep> {
    let steps = &plan.draft.steps;
    let pending = |step: &&PlannedStep| !has_ended(step);
    match plan.state {
        PlanState::Done => Vec::new(),
        PlanState::Running => steps
            .iter()
            .filter(pending)
            .filter(|step| is_ready(plan, step))
            .collect(),
        PlanState::Failed { .. } | PlanState::Cancelled => {
            let ordinary: Vec<&PlannedStep> = steps.iter().filter(pending).filter(|step| !step.finally).collect();
            if !ordinary.is_empty() {
                return ordinary;
            }
            steps
                .iter()
                .filter(pending)
                .filter(|step| step.after.iter().all(|before| ended_or_ordinary(plan, *before)))
                .collect()
        }
    }
}

fn ended_or_ordinary(plan: &Plan, number: StepNumber) -> bool {
    find(plan, number).is_none_or(|step| !step.finally || has_ended(step))
}

fn is_ready(plan: &Plan, step: &PlannedStep) -> bool {
    step.after.iter().all(|before| {
        find(plan, *before).is_some_and(|before| has_ended(before) && (before.best_effort || !has_failed(before)))
    })
}

/// The step of this number.
pub fn find(plan: &Plan, number: StepNumber) -> Option<&PlannedStep> {
    plan.draft.steps.get(usize::try_from(number).ok()?.checked_sub(1)?)
}

/// It has an outcome.
pub fn has_ended(step: &PlannedStep) -> bool {
    matches!(step.state, StepState::Ended { .. })
}

/// Its failure, if it has one.
pub fn failure_of(step: &PlannedStep) -> Option<&Failure> {
    match &step.state {
        StepState::Ended {
            outcome:
                StepOutcome {
                    result: StepResult::Failed { failure },
                    ..
                },
            ..
        } => Some(failure),
        _ => None,
    }
}

fn has_failed(step: &PlannedStep) -> bool {
    failure_of(step).is_some()
}

/// Nothing proves that it did not run: it ended otherwise than by [`NOT_RUN`], or it may be sent already.
pub fn may_have_run(plan: &Plan, step: &PlannedStep) -> bool {
    if plan.never_begun.contains(&step.number) {
        return false;
    }
    match failure_of(step) {
        Some(failure) => failure.code != NOT_RUN,
        None => has_ended(step) || plan.state != PlanState::Running || is_ready(plan, step),
    }
}
