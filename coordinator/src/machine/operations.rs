//! Operations in the model: stored, waiting, cancelled, ended, tried again, trimmed.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, OperationId, ServerId};
use uuid::Uuid;

use super::apply::Applied;
use super::{Answer, Command, describe, intent, journal, limits, plans, settle, undone};
use crate::model::{
    KEEP_HEALINGS, KEEP_OPERATIONS, Model, Operation, OperationState, Plan, PlanState, StepState, UnixMs,
};

/// Random values that the proposer drew.
pub(super) struct FreshIds<'a> {
    pub cluster_id: Uuid,
    pub group_name: Uuid,
    pub server_ids: &'a [ServerId],
}

/// What may pass by itself is tried again for so long after the operation was stored.
pub const RETRY_FOR_MS: i64 = 10 * 60 * 1000;
/// Feature level from which a copy that broke off after that is tried again, too.
const COPIES_LEVEL: u32 = 3;
/// Feature level from which an operation waits for its turn without losing its patience.
const TURN_LEVEL: u32 = 4;
/// So often: what always breaks is not tried for days.
const BROKEN_COPIES: usize = 8;
/// An operation is planned anew so often because evidence has changed.
const MOST_MOVES: u32 = 10;
const FIRST_PAUSE_MS: i64 = 1000;
const LONGEST_PAUSE_MS: i64 = 30_000;

pub(super) fn submit(
    model: &mut Model,
    command: &Command,
    index: u64,
    operation: &Operation,
    ids: &FreshIds<'_>,
) -> Applied {
    if let Some(known) = model
        .operations
        .values()
        .find(|known| known.request_id == operation.request_id)
    {
        return if known.cluster == operation.cluster && known.kind == operation.kind {
            Ok(Answer::Operation(known.id))
        } else {
            Err(Failure::new(
                "request_id_reused",
                format!("the request id belongs to operation {} already", known.id),
            )
            .hint("every request that differs needs a request id of its own")
            .exit(ExitClass::Conflict))
        };
    }
    let same = |known: &&Operation| known.cluster == operation.cluster && known.kind == operation.kind;
    if let Some(known) = model.active_operations().find(same) {
        return Ok(Answer::Operation(known.id));
    }
    if limits::hold(model) {
        limits::operation(operation)?;
        limits::room(model, operation)?;
    }
    let id = OperationId(index);
    intent::write(model, id, operation, ids)?;
    let stored = Operation {
        id,
        accept_lower_tolerance: operation.accept_lower_tolerance,
        ..Operation::wanted(
            operation.request_id.clone(),
            operation.cluster.clone(),
            operation.kind.clone(),
            &operation.by,
            command.at,
        )
    };
    let text = describe::title(&stored.kind, stored.cluster.as_str());
    journal::line("operation_submitted", text)
        .cluster(&stored.cluster)
        .operation(id)
        .write(model, command);
    model.operations.insert(id, stored);
    trim(model);
    Ok(Answer::Operation(id))
}

pub(super) fn waiting(model: &mut Model, id: OperationId, why: &str) -> Applied {
    let operation = active(model, id)?;
    match &mut operation.state {
        OperationState::Waiting { why: known } => why.clone_into(known),
        _ => return Err(busy(id)),
    }
    Ok(Answer::Applied)
}

/// The planner found it done, or refuses it.
pub(super) fn end(model: &mut Model, command: &Command, id: OperationId, result: &Result<String, Failure>) -> Applied {
    let operation = active(model, id)?;
    if !matches!(operation.state, OperationState::Waiting { .. }) {
        return Err(busy(id));
    }
    match result {
        Ok(message) => settle::done(model, command, id, message),
        Err(failure) => fail(model, command, id, failure),
    }
    Ok(Answer::Applied)
}

pub(super) fn cancel(model: &mut Model, command: &Command, id: OperationId) -> Applied {
    let operation = active(model, id)?;
    let last_plan = operation.plans.last().copied();
    operation.state = OperationState::Cancelled { by: command.by.clone() };
    operation.ended_at = Some(command.at);
    let cluster = operation.cluster.clone();
    journal::line("operation_cancelled", format!("operation {id} cancelled"))
        .cluster(&cluster)
        .operation(id)
        .write(model, command);
    let stopped = last_plan.is_some_and(|plan| plans::stop(model, command, plan));
    if !stopped {
        undone::undone(model, command, id);
    }
    turn(model, command, &cluster, id);
    trim(model);
    Ok(Answer::Applied)
}

/// A plan of it made way: it is planned again.
pub(super) fn go_on(model: &mut Model, id: OperationId) {
    if let Some(operation) = model.operations.get_mut(&id)
        && !operation.state.is_final()
    {
        operation.state = OperationState::Waiting {
            why: "its next plan follows".to_owned(),
        };
    }
}

/// Its plan stopped at a safe point, since the cluster is paused: it is planned again when that is over.
pub(super) fn held(model: &mut Model, id: OperationId, why: &str) {
    if let Some(operation) = model.operations.get_mut(&id)
        && !operation.state.is_final()
    {
        operation.state = OperationState::Waiting { why: why.to_owned() };
    }
}

/// Its plan stopped since the world has moved: it is planned anew from what is seen, however long the plan had slept. Not for ever: what
/// moves each time is a failure.
pub(super) fn plan_anew(model: &mut Model, command: &Command, id: OperationId, failure: &Failure) {
    let Some(operation) = model.operations.get_mut(&id).filter(|op| !op.state.is_final()) else {
        return;
    };
    if operation.attempts >= MOST_MOVES {
        return fail(model, command, id, failure);
    }
    operation.not_before = command.at.saturating_add(pause_ms(operation.attempts));
    operation.attempts = operation.attempts.saturating_add(1);
    operation.state = OperationState::Waiting {
        why: failure.message.clone(),
    };
}

/// Since when what may pass by itself is waited for: since the operation was stored, since its turn came, or since its last copy ended, which
/// takes hours. One that broke off counts, too, up to the eighth: its donor may be back in a minute.
pub fn began_at(model: &Model, operation: &Operation) -> UnixMs {
    let plans = || operation.plans.iter().filter_map(|id| model.plans.get(id));
    let broke = |plan: &&Plan| plan.draft.side && matches!(plan.state, PlanState::Failed { .. });
    let broken = model.feature_level >= COPIES_LEVEL && plans().filter(broke).count() <= BROKEN_COPIES;
    let counts = |state: &PlanState| match state {
        PlanState::Done => true,
        PlanState::Failed { .. } => broken,
        PlanState::Running | PlanState::Cancelled => false,
    };
    let copies = plans().filter(|plan| plan.draft.side && counts(&plan.state));
    let steps = copies.flat_map(|plan| &plan.draft.steps);
    let ended = steps.filter_map(|step| match &step.state {
        StepState::Ended { at, .. } => Some(*at),
        StepState::Pending => None,
    });
    let turn = operation.submitted_at.max(operation.turn_at);
    ended.fold(turn.max(resumed_by_itself(model, operation)), UnixMs::max)
}

/// The end of a pause with all operations that an operator has limited, until the entry that takes it away.
fn resumed_by_itself(model: &Model, operation: &Operation) -> UnixMs {
    let cluster = model.clusters.get(&operation.cluster);
    let paused = cluster.and_then(|cluster| cluster.paused.as_ref());
    let paused = paused.filter(|said| model.feature_level >= TURN_LEVEL && said.everything);
    paused.and_then(|said| said.until).unwrap_or(0)
}

/// Operations of the cluster that were stored after this one have their turn now, or the next of them has: while they waited for it nothing
/// could be done for them.
pub(super) fn turn(model: &mut Model, command: &Command, cluster: &ClusterName, after: OperationId) {
    if model.feature_level < TURN_LEVEL {
        return;
    }
    let next = model.operations.values_mut();
    for operation in next.filter(|op| op.cluster == *cluster && op.id > after && !op.state.is_final()) {
        operation.turn_at = command.at;
    }
}

/// It did not work: again after a pause, or never.
pub(super) fn fail(model: &mut Model, command: &Command, id: OperationId, failure: &Failure) {
    let Some(began) = model.operations.get(&id).map(|operation| began_at(model, operation)) else {
        return;
    };
    let Some(operation) = model.operations.get_mut(&id) else {
        return;
    };
    if operation.state.is_final() {
        return;
    }
    let pause = pause_ms(operation.attempts);
    let again_at = command.at.saturating_add(pause);
    let cluster = operation.cluster.clone();
    if failure.retry && again_at < began.saturating_add(RETRY_FOR_MS) {
        operation.attempts = operation.attempts.saturating_add(1);
        operation.not_before = again_at;
        let why = format!(
            "{}; attempt {} follows in {} s",
            failure.message,
            u64::from(operation.attempts) + 1,
            pause / 1000
        );
        operation.state = OperationState::Waiting { why: why.clone() };
        if !(operation.kind.heals() && operation.attempts > 1) {
            journal::line("operation_retried", why)
                .cluster(&cluster)
                .operation(id)
                .write(model, command);
        }
        return;
    }
    operation.state = OperationState::Failed {
        failure: failure.clone(),
    };
    operation.ended_at = Some(command.at);
    let text = format!("operation {id} failed: {}", failure.message);
    journal::line("operation_failed", text)
        .cluster(&cluster)
        .operation(id)
        .write(model, command);
    undone::undone(model, command, id);
    turn(model, command, &cluster, id);
    trim(model);
}

/// 1, 2, 4, 8, 16, 30, 30 … seconds.
fn pause_ms(attempts: u32) -> UnixMs {
    FIRST_PAUSE_MS
        .checked_shl(attempts.min(10))
        .unwrap_or(LONGEST_PAUSE_MS)
        .min(LONGEST_PAUSE_MS)
}

/// Its pause is over. One that would be longer than any that is given comes of a clock that was set back.
pub fn is_due(operation: &Operation, now: UnixMs) -> bool {
    let left = operation.not_before.saturating_sub(now);
    left <= 0 || left > LONGEST_PAUSE_MS
}

fn active(model: &mut Model, id: OperationId) -> Result<&mut Operation, Failure> {
    let operation = model.operations.get_mut(&id).ok_or_else(|| unknown(id))?;
    if operation.state.is_final() {
        return Err(Failure::new("operation_ended", format!("operation {id} has ended"))
            .hint(format!("clusterctl ops show {id}"))
            .exit(ExitClass::Conflict));
    }
    Ok(operation)
}

/// No such operation.
pub fn unknown(id: OperationId) -> Failure {
    Failure::new("operation_unknown", format!("there is no operation {id}"))
        .hint("list them: clusterctl ops list")
        .exit(ExitClass::Usage)
}

fn busy(id: OperationId) -> Failure {
    Failure::new(
        "operation_running",
        format!("a plan of operation {id} is being carried out"),
    )
    .hint(format!("clusterctl ops watch {id}"))
    .exit(ExitClass::Conflict)
}

/// Forgets the oldest ended operations with their plans, beyond [`KEEP_OPERATIONS`] and [`limits::KEEP_OPERATIONS_BYTES`]; healings first, beyond [`KEEP_HEALINGS`]: a
/// member that fails for days must not push out what operators did.
fn trim(model: &mut Model) {
    loop {
        let healings = model.operations.values().filter(|op| op.kind.heals()).count();
        let too_many_healings = healings > KEEP_HEALINGS;
        let too_large = limits::hold(model) && limits::ended_bytes(model) > limits::KEEP_OPERATIONS_BYTES;
        if !too_many_healings && !too_large && model.operations.len() <= KEEP_OPERATIONS {
            return;
        }
        let settled = |operation: &&Operation| {
            (!too_many_healings || operation.kind.heals())
                && operation.state.is_final()
                && operation
                    .plans
                    .iter()
                    .all(|plan| model.plans.get(plan).is_none_or(|plan| plans::is_over(model, plan)))
        };
        let Some(oldest) = model.operations.values().find(settled).map(|operation| operation.id) else {
            return;
        };
        if let Some(gone) = model.operations.remove(&oldest) {
            model.plans.retain(|id, _| !gone.plans.contains(id));
        }
    }
}

#[cfg(test)]
mod unit {
    #[test]
    fn pauses_grow_to_half_a_minute() {
        let pauses: Vec<i64> = (0..8).map(|n| super::pause_ms(n) / 1000).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(super::pause_ms(u32::MAX), 30_000);
    }
}
