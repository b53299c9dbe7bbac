//! What a pause left in the middle, and what a person may do by hand meanwhile. Pure.

use crate::check::{self, Reach};
use crate::machine::plans;
use crate::model::{Cluster, Operation, OperationState, Plan, PlanState, PlannedStep};
use crate::planner::{World, heal};

/// A sentence for each operation that the pause has stopped or that is on its way to its safe point.
pub(super) fn left_in_the_middle(world: &World<'_>, cluster: &Cluster) -> Vec<String> {
    let active = world.model.active_operations().filter(|op| op.cluster == cluster.name);
    active
        .filter_map(|operation| {
            let plan = world.model.plans.get(operation.plans.last()?)?;
            stopped(world, cluster, operation, plan).or_else(|| goes_on(world, cluster, operation, plan))
        })
        .collect()
}

/// Its plan stopped at a safe point.
fn stopped(world: &World<'_>, cluster: &Cluster, operation: &Operation, plan: &Plan) -> Option<String> {
    let PlanState::Failed { step } = plan.state else {
        return None;
    };
    let step = plans::find(plan, step)?;
    let by_pause = plans::failure_of(step).is_some_and(|failure| failure.code == plans::PAUSED);
    if !by_pause || !matches!(operation.state, OperationState::Waiting { .. }) {
        return None;
    }
    Some(format!(
        "operation {} ({}) stopped before \"{}\"; by hand: {}",
        operation.id,
        operation.kind.name(),
        step.title,
        by_hand(world, cluster, step)
    ))
}

/// It is still being carried out: the pause holds it at its next safe point, or does not hold it.
fn goes_on(world: &World<'_>, cluster: &Cluster, operation: &Operation, plan: &Plan) -> Option<String> {
    if plan.state != PlanState::Running {
        return None;
    }
    let until = match cluster.holds_back(operation, world.now) {
        Some(_) => "goes on to its next safe point",
        None => "goes on; to stop it, too: clusterctl pause --all",
    };
    Some(format!(
        "operation {} ({}) {until}",
        operation.id,
        operation.kind.name()
    ))
}

/// What a person may do about the step that was not begun.
fn by_hand(world: &World<'_>, cluster: &Cluster, step: &PlannedStep) -> String {
    let host = &step.host;
    match check::reach(&step.step) {
        Reach::Harmless => "nothing has to be done".to_owned(),
        Reach::Restarts => format!("nothing has to be done; mysqld on {host} keeps its settings"),
        Reach::Joins | Reach::Destroys => {
            format!(
                "{host} stays out of the group; it may be left so, or joined with START GROUP_REPLICATION while another member leads"
            )
        }
        Reach::Leads => format!("the primary stays; to move it to {host}: clusterctl switchover --to {host}"),
        Reach::Leaves => format!("{host} is still in the group, which may be left so"),
        // The plan is as old as the pause: a person may have bootstrapped elsewhere since.
        Reach::Bootstraps if heal::bootstraps_by_hand(world, cluster, host) => format!(
            "no member is in the group, and agents start none; the group may be bootstrapped on the member that holds everything, e.g. {host}"
        ),
        Reach::Bootstraps => format!(
            "look first whether a group lives and what each member holds: clusterctl why -c {}",
            cluster.name
        ),
        Reach::Forgets => "the member's row and account are still there, which may be left so".to_owned(),
    }
}
