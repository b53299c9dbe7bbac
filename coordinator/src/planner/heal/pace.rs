//! Not again and again: what failed is tried after a pause that grows, and whoever waits is told so.
//!
//! Within one operation the machine retries after seconds (`machine::operations`); this is the pause between operations.

use super::trouble::{Care, Standing};
use crate::model::{Cluster, Operation, OperationKind, OperationState};
use crate::planner::context::seconds;
use crate::planner::live;
use crate::planner::world::World;

const FIRST_MS: i64 = 30_000;
const LONGEST_MS: i64 = 600_000;

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
    let last = *same.first()?;
    let since = world.now.saturating_sub(last.ended_at?);
    // A clock that was set back says nothing.
    if since < 0 {
        return None;
    }
    let well = |op: &&Operation| matches!(op.state, OperationState::Done { .. });
    let (count, told) = match &last.state {
        OperationState::Done { .. } => {
            let recent =
                |op: &&&Operation| well(op) && op.ended_at.is_some_and(|at| world.now.saturating_sub(at) < FLAPPING_MS);
            let times = same.iter().filter(recent).count();
            let count = times.checked_sub(FLAPPING).filter(|count| *count > 0)?;
            (
                count,
                format!("it was mended {times} times within two minutes and does not last"),
            )
        }
        state => {
            let failures = same.iter().take_while(|op| !well(op)).count();
            let why = match state {
                OperationState::Failed { failure } => failure.message.clone(),
                OperationState::Cancelled { by } => format!("{by} cancelled it"),
                _ => return None,
            };
            // A server that has started since may do better, once.
            if failures < 3 && restarted_since(world, kind, since) {
                return None;
            }
            let times = if failures == 1 {
                "once".to_owned()
            } else {
                format!("{failures} times")
            };
            (failures, format!("it failed {times}, last: {why}"))
        }
    };
    let left = pause_ms(count).saturating_sub(since);
    if left <= 0 {
        return None;
    }
    let left = seconds(u64::try_from(left).unwrap_or_default());
    Some(Care::not(
        Standing::Waiting,
        format!("{told}; the next attempt follows in {left}"),
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
