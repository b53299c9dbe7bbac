//! Hosts that the release before recorded as abandoned, until they are let in: what they hold is measured by lineages from then on.

use clusterctl_proto::ids::{PlanId, StepNumber};
use clusterctl_proto::step::Step;

use super::plans;
use crate::model::{Model, PlannedStep};

/// A member that was left out enters, or may have: the plan was adopted since it held nothing that was given up, and from now on it
/// gets what the group has. What it holds then is no proof against it, however its join ends.
pub(super) fn let_in(model: &mut Model, plan: PlanId, step: StepNumber) {
    let Some(plan) = model.plans.get(&plan) else { return };
    let enters = |step: &&PlannedStep| match step.step {
        Step::JoinGroup { .. } => plans::may_have_run(plan, step),
        // Its data are the donor's now.
        Step::CloneData { .. } => plans::has_ended(step) && plans::failure_of(step).is_none(),
        _ => false,
    };
    if let Some(step) = plans::find(plan, step).filter(enters)
        && let Some(cluster) = model.clusters.get_mut(&plan.draft.cluster)
    {
        cluster.left_out.remove(&step.host);
    }
}
