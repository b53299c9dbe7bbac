//! How steps and their plans end: by an agent's word, by the leader's, or because the operation was cancelled.
//!
//! Called by `machine::apply` and `machine::operations`. Only here does a step get its outcome and a plan its last state.

use std::collections::BTreeMap;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{PlanId, StepNumber};
use clusterctl_proto::step::{StepData, StepOutcome, StepResult};

use super::{
    EVIDENCE_CHANGED, NOT_RUN, PAUSED, STEP_CANCELLED, StepKey, failure_of, find, has_ended, has_failed, is_ready,
    is_settled,
};
use crate::machine::apply::Applied;
use crate::machine::{Answer, Command, duties, journal, left_out, lineages, operations, undone};
use crate::model::{Model, OperationState, Plan, PlanState, PlannedStep, StepState, UnixMs};

/// Whose word it is that ends a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Its agent's.
    Agent,
    /// The leader's, which certainly never sent it.
    NeverSent,
    /// The leader's, without knowing whether it runs.
    Unknown,
}

pub(in crate::machine) fn outcome(
    model: &mut Model,
    command: &Command,
    id: PlanId,
    number: StepNumber,
    outcome: &StepOutcome,
) -> Applied {
    end_step(model, command, (id, number), outcome, Word::Agent)
}

pub(in crate::machine) fn give_up(
    model: &mut Model,
    command: &Command,
    key: StepKey,
    outcome: &StepOutcome,
    may_run: bool,
) -> Applied {
    let word = if may_run { Word::Unknown } else { Word::NeverSent };
    end_step(model, command, key, outcome, word)
}

/// How a step ended that was given up without its agent's word.
pub(in crate::machine) fn settle(
    model: &mut Model,
    command: &Command,
    (id, number): StepKey,
    outcome: Option<&StepOutcome>,
) -> Applied {
    let plan = model.plans.get_mut(&id).ok_or_else(|| unknown_step(id, number))?;
    if !plan.unsettled.remove(&number) {
        return Err(ended(id, number));
    }
    let Some(step) = find_mut(plan, number) else {
        return Err(unknown_step(id, number));
    };
    let (host, title) = (step.host.clone(), step.title.clone());
    let text = match outcome {
        None => {
            plan.never_begun.insert(number);
            format!("{title}: never begun")
        }
        Some(outcome) => {
            step.state = StepState::Ended {
                outcome: outcome.clone(),
                at: command.at,
            };
            match &outcome.result {
                StepResult::Unchanged => format!("{title}: ended, nothing changed"),
                StepResult::Changed { what } => format!("{title}: ended: {what}"),
                StepResult::Failed { failure } => format!("{title}: ended: {}", failure.message),
            }
        }
    };
    let (cluster, operation) = (plan.draft.cluster.clone(), plan.draft.operation);
    journal::line("step_settled", text)
        .cluster(&cluster)
        .host(&host)
        .operation(operation)
        .write(model, command);
    if let Some(outcome) = outcome {
        lineages::bootstrapped(model, command, &cluster, outcome);
    }
    duties::after_step(model, command, id, number);
    undone::remember(model, id, number);
    Ok(Answer::Applied)
}

/// How long a step has waited so far.
pub(in crate::machine) fn waited(model: &mut Model, (id, number): StepKey, ms: u64) -> Applied {
    let plan = model.plans.get_mut(&id).ok_or_else(|| unknown_step(id, number))?;
    let step = find(plan, number).ok_or_else(|| unknown_step(id, number))?;
    if ms == 0 || has_ended(step) {
        plan.waited_ms.remove(&number);
    } else {
        plan.waited_ms.insert(number, ms);
    }
    Ok(Answer::Applied)
}

fn find_mut(plan: &mut Plan, number: StepNumber) -> Option<&mut PlannedStep> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    plan.draft.steps.get_mut(index)
}

fn ended(id: PlanId, number: StepNumber) -> Failure {
    Failure::new("step_ended", format!("step {number} of plan {id} has ended already")).exit(ExitClass::Conflict)
}

fn end_step(model: &mut Model, command: &Command, (id, number): StepKey, outcome: &StepOutcome, word: Word) -> Applied {
    let plan = model.plans.get_mut(&id).ok_or_else(|| unknown_step(id, number))?;
    let step = find_mut(plan, number).ok_or_else(|| unknown_step(id, number))?;
    if has_ended(step) {
        return Err(ended(id, number));
    }
    step.state = StepState::Ended {
        outcome: outcome.clone(),
        at: command.at,
    };
    let line = match &outcome.result {
        StepResult::Unchanged => None,
        StepResult::Changed { what } => Some(("step_changed", format!("{}: {what}", step.title))),
        StepResult::Failed { failure } => Some(("step_failed", format!("{}: {}", step.title, failure.message))),
    };
    let failed = has_failed(step) && !step.best_effort;
    let host = step.host.clone();
    let again = model
        .operations
        .get(&plan.draft.operation)
        .is_some_and(|op| op.kind.heals() && op.attempts > 2);
    let line = line.filter(|(kind, _)| !(again && *kind == "step_failed"));
    let (cluster, operation) = (plan.draft.cluster.clone(), plan.draft.operation);
    plan.waited_ms.remove(&number);
    match word {
        Word::Agent => {}
        Word::NeverSent => {
            plan.never_begun.insert(number);
        }
        Word::Unknown => {
            plan.unsettled.insert(number);
        }
    }
    if failed && plan.state == PlanState::Running {
        plan.state = PlanState::Failed { step: number };
        end_what_cannot_run(plan, command.at);
    }
    if let Some((kind, text)) = line {
        journal::line(kind, text)
            .cluster(&cluster)
            .host(&host)
            .operation(operation)
            .write(model, command);
    }
    left_out::let_in(model, id, number);
    lineages::bootstrapped(model, command, &cluster, outcome);
    duties::after_step(model, command, id, number);
    undone::remember(model, id, number);
    advance(model, command, id);
    Ok(Answer::Applied)
}

fn unknown_step(id: PlanId, number: StepNumber) -> Failure {
    Failure::new("step_unknown", format!("there is no step {number} of plan {id}"))
}

/// Its operation was cancelled. Answers whether something of the plan may still run.
pub(in crate::machine) fn stop(model: &mut Model, command: &Command, id: PlanId) -> bool {
    let Some(plan) = model.plans.get_mut(&id) else {
        return false;
    };
    match plan.state {
        PlanState::Running => {
            plan.state = PlanState::Cancelled;
            end_what_cannot_run(plan, command.at);
            if is_settled(plan) {
                return false;
            }
            true
        }
        PlanState::Done => false,
        PlanState::Failed { .. } | PlanState::Cancelled => !is_settled(plan),
    }
}

/// Of a plan that stops: pending steps whose turn had not come, but for `finally` steps.
fn end_what_cannot_run(plan: &mut Plan, at: UnixMs) {
    let never: Vec<StepNumber> = plan
        .draft
        .steps
        .iter()
        .filter(|step| !step.finally && !has_ended(step) && !is_ready(plan, step))
        .map(|step| step.number)
        .collect();
    for step in plan.draft.steps.iter_mut().filter(|step| never.contains(&step.number)) {
        let failure = Failure::new(NOT_RUN, "not run: the plan had stopped before its turn");
        let result = StepResult::Failed { failure };
        let outcome = StepOutcome {
            result,
            data: None,
            elapsed_ms: 0,
            spent_ms: BTreeMap::new(),
        };
        step.state = StepState::Ended { outcome, at };
    }
}

/// Ends the plan, and with it perhaps the operation, when its last step has ended.
pub(super) fn advance(model: &mut Model, command: &Command, id: PlanId) {
    let Some(plan) = model.plans.get_mut(&id) else { return };
    let operation = plan.draft.operation;
    let cancelled = model.feature_level >= undone::LEVEL
        && model
            .operations
            .get(&operation)
            .is_some_and(|op| matches!(op.state, OperationState::Cancelled { .. }));
    match plan.state {
        PlanState::Done => {}
        PlanState::Running => {
            if !plan.draft.steps.iter().all(has_ended) {
                return;
            }
            plan.state = PlanState::Done;
            let message = plan.draft.done_message.clone();
            match not_proven(plan) {
                Some(failure) => operations::fail(model, command, operation, &failure),
                None if plan.draft.goes_on => operations::go_on(model, operation),
                None => crate::machine::settle::done(model, command, operation, &message),
            }
        }
        // Its operation was cancelled after the plan had failed, and before its last step ended.
        PlanState::Failed { .. } if cancelled => {
            if is_settled(plan) {
                undone::undone(model, command, operation);
            }
        }
        PlanState::Failed { step } => {
            if is_settled(plan) {
                let failure = find(plan, step).and_then(failure_of).cloned();
                let failure = failure.unwrap_or_else(|| Failure::new("step_failed", format!("step {step} failed")));
                let by_leader = plan.never_begun.contains(&step) || plan.unsettled.contains(&step);
                match failure.code.as_str() {
                    PAUSED if by_leader => operations::held(model, operation, &failure.message),
                    EVIDENCE_CHANGED if by_leader => operations::plan_anew(model, command, operation, &failure),
                    // Nobody cancelled the operation: the leader stopped the copy, which stood in the way of another operation, or was void.
                    STEP_CANCELLED | NOT_RUN if plan.draft.side => operations::held(model, operation, &failure.message),
                    _ => operations::fail(model, command, operation, &failure),
                }
            }
        }
        PlanState::Cancelled => {
            if is_settled(plan) {
                undone::undone(model, command, operation);
            }
        }
    }
}

/// A proof that does not hold fails the operation, although every step did its work.
fn not_proven(plan: &Plan) -> Option<Failure> {
    let mut proofs = 0u32;
    let mut facts = Vec::new();
    for step in &plan.draft.steps {
        let StepState::Ended { outcome, .. } = &step.state else {
            continue;
        };
        if let Some(StepData::Proof {
            title,
            passed,
            evidence,
            ..
        }) = &outcome.data
        {
            proofs += 1;
            if !passed {
                facts.push(format!("{title} on {}: {evidence}", step.host));
            }
        }
    }
    if facts.is_empty() {
        return None;
    }
    let message = format!("{} of {proofs} proofs do not hold", facts.len());
    let failure = Failure::refused("not_proven", message).hint(format!("clusterctl status {}", plan.draft.cluster));
    Some(Failure { facts, ..failure })
}
