//! Plans in the model: adopted, carried out step by step, failed, settled.
//!
//! When a plan stops (a step failed, or its operation was cancelled), steps that could not have been sent yet are ended at
//! once with [`NOT_RUN`]; what stays pending may be running on some host and must end (or be given up by the leader)
//! before another plan of the cluster is adopted. So "every step has ended" is what *settled* means.
//!
//! A step that was given up without its agent's word may run still. It keeps its host busy ([`busy_hosts`]), not the cluster: no plan
//! that touches this host is adopted, and no group is bootstrapped, until the agent says that the step ended or was never begun.

use std::collections::BTreeMap;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, Generation, HostName, PlanId, StepNumber};
use clusterctl_proto::step::{Step, StepData, StepOutcome, StepResult};

use super::apply::Applied;
use super::{Answer, Command, duties, journal, left_out, limits, lineages, operations, settle, undone};
use crate::model::{Model, OperationState, Plan, PlanDraft, PlanState, PlannedStep, StepState, UnixMs};

/// Code of the outcome of a step that certainly never ran.
pub const NOT_RUN: &str = "not_run";

/// Code of the outcome of a step that was not sent since what it relies on is not so any more.
pub const EVIDENCE_CHANGED: &str = "evidence_changed";

/// Code of the outcome of a step that was not sent since its cluster is paused.
pub const PAUSED: &str = "paused";

/// Longest plan that is taken.
const MAX_STEPS: usize = 2000;

pub(super) fn adopt(model: &mut Model, command: &Command, index: u64, draft: &PlanDraft) -> Applied {
    let operation = model
        .operations
        .get(&draft.operation)
        .ok_or_else(|| operations::unknown(draft.operation))?;
    if operation.cluster != draft.cluster || !matches!(operation.state, OperationState::Waiting { .. }) {
        return Err(stale(format!("operation {} does not wait for a plan", draft.operation)));
    }
    let cluster = model
        .clusters
        .get(&draft.cluster)
        .ok_or_else(|| super::intent::no_cluster(&draft.cluster))?;
    if cluster.last_plan != draft.parent {
        return Err(stale(format!(
            "another plan of cluster {} was adopted meanwhile",
            draft.cluster
        )));
    }
    if let Some(open) = open_plan(model, &draft.cluster) {
        return Err(stale(format!(
            "plan {} of cluster {} has not ended",
            open.id, draft.cluster
        )));
    }
    nothing_runs_there(model, draft)?;
    well_formed(model, draft)?;
    if limits::hold(model) {
        limits::plan(draft)?;
        limits::plans_of(model, operation, draft)?;
    }

    let id = PlanId(index);
    let mut draft = draft.clone();
    for step in &mut draft.steps {
        step.state = StepState::Pending;
    }
    let text = format!(
        "plan {id} of {} step(s) adopted for operation {}",
        draft.steps.len(),
        draft.operation
    );
    // One that is tried again and again must not push everything else out of the journal.
    if !(operation.kind.heals() && operation.attempts > 0) {
        journal::line("plan_adopted", text)
            .cluster(&draft.cluster)
            .operation(draft.operation)
            .write(model, command);
    }
    if let Some(cluster) = model.clusters.get_mut(&draft.cluster) {
        cluster.last_plan = Some(id);
    }
    if let Some(operation) = model.operations.get_mut(&draft.operation) {
        operation.plans.push(id);
        operation.state = OperationState::Running;
    }
    let generation = Generation {
        epoch: model.epoch,
        index,
    };
    model.plans.insert(
        id,
        Plan {
            id,
            generation,
            draft,
            adopted_at: command.at,
            state: PlanState::Running,
            unsettled: Default::default(),
            never_begun: Default::default(),
            waited_ms: Default::default(),
        },
    );
    advance(model, command, id);
    Ok(Answer::Plan(id))
}

fn stale(message: String) -> Failure {
    Failure::new("plan_not_current", message)
        .exit(ExitClass::Conflict)
        .transient()
}

/// Nothing of an earlier plan may run where this one works, nor on any member when it bootstraps.
pub(crate) fn nothing_runs_there(model: &Model, draft: &PlanDraft) -> Result<(), Failure> {
    let busy = busy_hosts(model, &draft.cluster);
    let bootstraps = draft
        .steps
        .iter()
        .any(|step| matches!(step.step, Step::BootstrapGroup { .. }));
    let abandoned = |host: &HostName| draft.given_up.iter().any(|lost| lost.members.contains(host));
    let cluster = model.clusters.get(&draft.cluster);
    let member = |host: &HostName| cluster.is_some_and(|cluster| cluster.members.contains_key(host));
    let in_the_way = busy.iter().find(|(host, _)| {
        draft.steps.iter().any(|step| step.host == ***host) || (bootstraps && member(host) && !abandoned(host))
    });
    match in_the_way {
        None => Ok(()),
        Some((host, step)) => Err(Failure::new("host_busy", busy_text(model, host, *step))
            .exit(ExitClass::Conflict)
            .transient()),
    }
}

/// A step of one plan.
pub type StepKey = (PlanId, StepNumber);

/// Hosts on which a step of an earlier plan of this cluster may run still, although the plan was given up.
pub fn busy_hosts<'a>(model: &'a Model, cluster: &ClusterName) -> BTreeMap<&'a HostName, StepKey> {
    let plans = model.plans.values().filter(|plan| plan.draft.cluster == *cluster);
    let unsettled = plans.flat_map(|plan| plan.unsettled.iter().map(move |number| (plan, *number)));
    let found = unsettled.filter_map(|(plan, number)| {
        let host = &find(plan, number)?.host;
        // One that is not enrolled any more is never asked again.
        model.hosts.contains_key(host).then_some((host, (plan.id, number)))
    });
    found.collect()
}

/// Why a busy host is in the way, in words.
pub fn busy_text(model: &Model, host: &HostName, (plan, number): StepKey) -> String {
    let step = model.plans.get(&plan).and_then(|plan| find(plan, number));
    let title = step.map_or("a step", |step| step.title.as_str());
    format!("the agent of {host} has not said yet whether an earlier step ended: {title}")
}

/// The plan has settled, and no step of it may run unseen.
pub fn is_over(model: &Model, plan: &Plan) -> bool {
    let runs = |number: &StepNumber| find(plan, *number).is_some_and(|step| model.hosts.contains_key(&step.host));
    is_settled(plan) && !plan.unsettled.iter().any(runs)
}

fn well_formed(model: &Model, draft: &PlanDraft) -> Result<(), Failure> {
    let bad = |message: String| Err(Failure::new("bad_plan", message));
    if draft.steps.len() > MAX_STEPS {
        return bad(format!(
            "the plan has {} steps, more than {MAX_STEPS}",
            draft.steps.len()
        ));
    }
    for (place, step) in (1..).zip(&draft.steps) {
        if step.number != place {
            return bad(format!("step {} stands at place {place}", step.number));
        }
        if let Some(later) = step.after.iter().find(|before| **before == 0 || **before >= place) {
            return bad(format!("step {place} is to come after step {later}"));
        }
        if !model.hosts.contains_key(&step.host) {
            return Err(super::hosts::unknown(&step.host));
        }
    }
    Ok(())
}

/// The plan of this cluster that has not settled.
pub fn open_plan<'a>(model: &'a Model, cluster: &ClusterName) -> Option<&'a Plan> {
    // Newest first: an open one is the last.
    model
        .plans
        .values()
        .rev()
        .find(|plan| plan.draft.cluster == *cluster && !is_settled(plan))
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

pub(super) fn outcome(
    model: &mut Model,
    command: &Command,
    id: PlanId,
    number: StepNumber,
    outcome: &StepOutcome,
) -> Applied {
    end_step(model, command, (id, number), outcome, Word::Agent)
}

pub(super) fn give_up(
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
pub(super) fn settle(
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
    Ok(Answer::Applied)
}

/// How long a step has waited so far.
pub(super) fn waited(model: &mut Model, (id, number): StepKey, ms: u64) -> Applied {
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
    advance(model, command, id);
    Ok(Answer::Applied)
}

fn unknown_step(id: PlanId, number: StepNumber) -> Failure {
    Failure::new("step_unknown", format!("there is no step {number} of plan {id}"))
}

/// Its operation was cancelled. Answers whether something of the plan may still run.
pub(super) fn stop(model: &mut Model, command: &Command, id: PlanId) -> bool {
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
fn advance(model: &mut Model, command: &Command, id: PlanId) {
    let Some(plan) = model.plans.get_mut(&id) else { return };
    let operation = plan.draft.operation;
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
                None => settle::done(model, command, operation, &message),
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
