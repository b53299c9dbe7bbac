//! A member that answers and keeps a recovery from happening: its promise fails, or its agent does not say whether a step ended.
//!
//! Nobody bootstraps without its word (safety rule 1), and it cannot be abandoned while it answers. Told by `outage`, `recover` and
//! `break_glass`, each with the way out: the host is powered off or its agent stopped, then it can be named. Pure.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::step::Step;

use super::trouble::Care;
use crate::machine::plans;
use crate::model::{Cluster, Operation, OperationKind, Plan, PlanState};
use crate::planner::world::World;

/// The member whose own word it was that it cannot promise, in the newest attempt to recover the cluster, and why.
pub(super) fn refused<'a>(world: &World<'a>, cluster: &Cluster) -> Option<(&'a HostName, &'a str)> {
    let recovers = |op: &Operation| matches!(op.kind, OperationKind::Recover { .. });
    let of_recovery = |plan: &&Plan| {
        let operation = world.model.operations.get(&plan.draft.operation);
        plan.draft.cluster == cluster.name && operation.is_some_and(recovers)
    };
    let mut attempts = world.model.plans.values().rev().filter(of_recovery);
    let last = attempts.find(|plan| plan.state != PlanState::Running)?;
    if cluster.led_at > last.id.0 {
        // The group lived since, in what a person had bootstrapped.
        return None;
    }
    if cluster.last_plan != Some(last.id) && world.model.plans.get(&cluster.last_plan?)?.state != PlanState::Running {
        // Of an earlier outage.
        return None;
    }
    let PlanState::Failed { step } = last.state else {
        return None;
    };
    let by_leader = last.never_begun.contains(&step) || last.unsettled.contains(&step);
    let step = plans::find(last, step).filter(|step| !by_leader && matches!(step.step, Step::Promise {}))?;
    Some((&step.host, &plans::failure_of(step)?.message))
}

/// Why nothing is bootstrapped although this member answers and what it holds is known; none: it does what it is asked for.
pub(super) fn why(world: &World<'_>, cluster: &Cluster, host: &HostName) -> Option<String> {
    let cannot = refused(world, cluster).filter(|(refusing, _)| *refusing == host);
    let cannot = cannot.map(|(_, why)| format!("{host} cannot promise to stay out of other groups: {why}"));
    let copied = plans::copies(world.model, &cluster.name).contains_key(host);
    let busy = || plans::busy_hosts(world.model, &cluster.name).get(host).copied();
    cannot.or_else(|| Some(plans::busy_text(world.model, host, busy()?)).filter(|_| !copied))
}

/// How a recovery goes on without a member that answers.
pub(super) fn way_out(cluster: &Cluster, host: &HostName) -> String {
    format!(
        "to go on without {host}: power it off, or on {host}: systemctl stop clusterctl-agent; then: clusterctl recover {} --without {host}",
        cluster.name
    )
}

/// A recovery that waits for its next attempt, with the way out where a member cannot promise.
pub(super) fn told(world: &World<'_>, cluster: &Cluster, kind: &OperationKind, mut care: Care) -> Care {
    if let (OperationKind::Recover { .. }, Care::Not(not)) = (kind, &mut care)
        && let Some((host, why)) = refused(world, cluster)
    {
        not.why = format!("{host} cannot promise to stay out of other groups ({why}); {}", not.why);
        not.unlock = format!(
            "mend that on {host}: the cluster is recovered by itself then. Only if {host} is to be given up: power it off or stop its agent, then the forced recovery, which shows first what would be lost"
        );
        not.command = format!("clusterctl recover {} --without {host}", cluster.name);
    }
    care
}
