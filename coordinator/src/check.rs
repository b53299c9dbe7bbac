//! The rules of safety (DESIGN section 5) as named functions over a plan.
//!
//! Run by the leader before it adopts a plan, and by tests after every planning. Pure: no IO, no clock, no async.

use clusterctl_proto::failure::Failure;

use crate::model::{Operation, PlanDraft};
use crate::planner::World;

/// Ok if the plan breaks no rule; else the failure names the rule.
pub fn check(world: &World<'_>, operation: &Operation, draft: &PlanDraft) -> Result<(), Failure> {
    let _ = (world, operation);
    well_formed(draft)
}

/// Steps are numbered from 1 and depend on earlier ones only.
fn well_formed(draft: &PlanDraft) -> Result<(), Failure> {
    for (step, number) in draft.steps.iter().zip(1..) {
        if step.number != number || step.after.iter().any(|before| *before >= number || *before == 0) {
            return Err(Failure::new("rule_well_formed", format!("step {number} is out of order")));
        }
    }
    Ok(())
}
