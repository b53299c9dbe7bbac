//! Asks the planner about every operation that waits, and turns its answers into changes to propose.

use std::collections::BTreeSet;
use std::time::Duration;

use clusterctl_proto::ids::{ClusterName, OperationId};
use tokio::time::Instant;

use super::Leader;
use crate::check;
use crate::machine::Change;
use crate::machine::{limits, operations, plans};
use crate::model::{Model, Operation, OperationState};
use crate::planner::{self, Decision, World};

const HOLD: Duration = Duration::from_millis(900);

impl Leader {
    /// What to propose now. In each cluster at most one operation gets a plan; the others wait for it.
    pub(super) fn decide(&self, now: Instant) -> Vec<Change> {
        let waits = |model: &Model| {
            model
                .active_operations()
                .any(|op| matches!(op.state, OperationState::Waiting { .. }))
        };
        if !self.node.state().read(waits) {
            return Vec::new();
        }
        let held: BTreeSet<OperationId> = {
            let mut held = self.held();
            held.retain(|_, until| *until > now);
            held.keys().copied().collect()
        };
        // What the last plan did is to be seen first.
        let unseen = self.unseen(now);
        self.look(|world| {
            let mut changes = Vec::new();
            let mut busy = unseen;
            // Operators first: what heals fills the gaps, also while an operator's operation waits for just that.
            for heals in [false, true] {
                let turn = world.model.active_operations().filter(|op| op.kind.heals() == heals);
                for operation in turn.filter(|op| !held.contains(&op.id)) {
                    changes.extend(decide_one(world, operation, &mut busy));
                }
            }
            changes
        })
    }

    /// Not asked about for a while: its change was not taken, or it only waits with other words. Without this a change that
    /// is never taken would be proposed again and again, each time with an entry in the log.
    pub(super) fn hold(&self, operation: OperationId, now: Instant) {
        self.held().insert(operation, now + HOLD);
    }
}

fn decide_one(world: &World<'_>, operation: &Operation, busy: &mut BTreeSet<ClusterName>) -> Option<Change> {
    let OperationState::Waiting { why: known } = &operation.state else {
        return None;
    };
    if !operations::is_due(operation, world.now) || busy.contains(&operation.cluster) {
        return None;
    }
    let waits = |why: String| {
        // As it is stored: else a long one would differ each time.
        let why = limits::text(&why);
        (why != *known).then_some(Change::Waiting {
            operation: operation.id,
            why,
        })
    };
    if let Some(open) = plans::open_plan(world.model, &operation.cluster) {
        let of = open.draft.operation;
        // A plan of this operation that stopped is being cleaned up after: its text stays.
        return if of == operation.id {
            None
        } else {
            waits(format!("operation {of} is running"))
        };
    }
    match planner::decide(world, operation) {
        Decision::Wait(why) => waits(why),
        Decision::Already(message) => {
            busy.insert(operation.cluster.clone());
            Some(Change::EndOperation {
                operation: operation.id,
                result: Ok(message),
            })
        }
        Decision::Refuse(failure) => {
            busy.insert(operation.cluster.clone());
            Some(Change::EndOperation {
                operation: operation.id,
                result: Err(failure),
            })
        }
        Decision::Plan(draft) => {
            busy.insert(operation.cluster.clone());
            match check::check(world, operation, &draft) {
                Ok(()) => Some(Change::Adopt { draft }),
                Err(failure) => {
                    tracing::error!(operation = %operation.id, cluster = %operation.cluster, code = failure.code, "a plan breaks a rule: {failure}");
                    Some(Change::EndOperation {
                        operation: operation.id,
                        result: Err(failure),
                    })
                }
            }
        }
    }
}
