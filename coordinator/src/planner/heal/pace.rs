//! Not again and again: what failed is tried after a pause that grows, and whoever waits is told so.
//!
//! Within one operation the machine retries after seconds (`machine::operations`); this is the pause between operations.

use clusterctl_proto::step::Step;

use super::trouble::{Care, Standing};
use crate::machine::plans;
use crate::model::{Cluster, Operation, OperationKind, OperationState, PlanState, PlannedStep, UnixMs};
use crate::planner::context::seconds;
use crate::planner::live;
use crate::planner::world::World;

const FIRST_MS: i64 = 30_000;
const LONGEST_MS: i64 = 600_000;
/// After so long without an attempt, what failed before is another story.
const FORGOTTEN_MS: i64 = 3_600_000;

/// What ended well, and had to be done again and again in this time, is paced as if it had failed.
const FLAPPING_MS: i64 = 120_000;
/// So often in that time is no flapping yet.
const FLAPPING: usize = 5;

/// Why it is not tried now, if it is not.
pub(super) fn held_back(world: &World<'_>, cluster: &Cluster, kind: &OperationKind) -> Option<Care> {
    let ended = world.model.operations.values().rev();
    let same: Vec<&Operation> = ended
        .filter(|op| op.cluster == cluster.name && op.kind == *kind && op.state.is_final())
        .collect();
    failing(world, kind, &same).or_else(|| flapping(world, &same))
}

/// It failed since it last went well; the newest first.
fn failing(world: &World<'_>, kind: &OperationKind, same: &[&Operation]) -> Option<Care> {
    // Each with what came after it.
    let mut newer = world.now;
    let mut failures: Vec<(&Operation, String)> = Vec::new();
    for op in same {
        let idle = newer.saturating_sub(op.ended_at?);
        if mended(world, op) || idle > FORGOTTEN_MS {
            break;
        }
        newer = op.submitted_at;
        failures.extend(why_not(op).map(|why| (*op, why)));
    }
    let (last, why) = failures.first()?;
    let since = since(world.now, last)?;
    // A server that has started since may do better, once.
    if failures.len() < 3 && restarted_since(world, kind, since) {
        return None;
    }
    let times = match failures.len() {
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    waiting(failures.len(), since, last, &format!("it failed {times}, last: {why}"))
}

/// It went well again and again, and does not last.
fn flapping(world: &World<'_>, same: &[&Operation]) -> Option<Care> {
    let recent =
        |op: &&&Operation| did_well(world, op) && since(world.now, op).is_some_and(|since| since < FLAPPING_MS);
    let times = same.iter().filter(recent).count();
    let beyond = times.checked_sub(FLAPPING).filter(|beyond| *beyond > 0)?;
    let last = *same.iter().find(recent)?;
    let told = format!("it was mended {times} times within two minutes and does not last");
    waiting(beyond, since(world.now, last)?, last, &told)
}

/// It ended well by what it did; one that was not needed any more when its turn came has done nothing.
fn did_well(world: &World<'_>, op: &Operation) -> bool {
    let last = op.plans.last();
    // A plan that is not kept any more is of long ago.
    let done = |plan| {
        world
            .model
            .plans
            .get(plan)
            .is_none_or(|plan| plan.state == PlanState::Done)
    };
    matches!(op.state, OperationState::Done { .. }) && last.is_some_and(done)
}

/// And all is well by it: a mysqld that was started has not joined yet.
fn mended(world: &World<'_>, op: &Operation) -> bool {
    let last = op.plans.last().and_then(|plan| world.model.plans.get(plan));
    let half = |step: &PlannedStep| matches!(step.step, Step::StartServer {});
    did_well(world, op) && !last.is_some_and(|plan| plan.draft.steps.iter().any(half))
}

fn why_not(op: &Operation) -> Option<String> {
    match &op.state {
        // A pause ended it: that is no reason to wait after the pause.
        OperationState::Failed { failure } if failure.code == plans::PAUSED => None,
        OperationState::Failed { failure } => Some(failure.message.clone()),
        OperationState::Cancelled { by } => Some(format!("{by} cancelled it")),
        _ => None,
    }
}

/// How long ago it ended, in ms; none when the clock was set back, which says nothing.
fn since(now: UnixMs, op: &Operation) -> Option<i64> {
    Some(now.saturating_sub(op.ended_at?)).filter(|since| *since >= 0)
}

fn waiting(count: usize, since_ms: i64, last: &Operation, told: &str) -> Option<Care> {
    let left = pause_ms(count).saturating_sub(since_ms);
    let left = u64::try_from(left).ok().filter(|left| *left > 0)?;
    Some(Care::not(
        Standing::Waiting,
        format!("{told}; the next attempt follows in {}", seconds(left)),
        "",
        format!("clusterctl ops show {}", last.id),
    ))
}

fn restarted_since(world: &World<'_>, kind: &OperationKind, since_ms: i64) -> bool {
    let OperationKind::Rejoin { host } = kind else {
        return false;
    };
    live::server(world, host).is_some_and(|server| {
        i64::try_from(server.uptime_seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000)
            < since_ms
    })
}

/// 30 s, 1, 2, 4, 8, 10, 10 … minutes.
fn pause_ms(failures: usize) -> i64 {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    FIRST_MS.saturating_mul(1 << doublings).min(LONGEST_MS)
}

#[cfg(test)]
mod unit {
    #[test]
    fn pauses_grow_to_ten_minutes() {
        let pauses: Vec<i64> = (1..8).map(|n| super::pause_ms(n) / 1000).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 600, 600]);
        assert_eq!(super::pause_ms(usize::MAX), 600_000);
    }
}
