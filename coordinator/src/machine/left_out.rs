//! Who a break-glass left out of the group, from the bootstrap that may have run until they are let in or taken back.

use clusterctl_proto::ids::{HostName, HostRole, OperationId, PlanId, StepNumber};
use clusterctl_proto::step::Step;

use super::plans;
use crate::model::{LeftOut, Model, PlannedStep};

/// A bootstrap that gives members up has run, or may have: from now on the group numbers without them. Whoever was left out must prove
/// more than others before it comes in. Or one takes them back.
pub(super) fn given_up(model: &mut Model, plan: PlanId, step: StepNumber) {
    let Some(plan) = model.plans.get(&plan) else { return };
    let bootstraps = |step: &&PlannedStep| matches!(step.step, Step::BootstrapGroup { .. });
    let ran = plans::find(plan, step)
        .filter(bootstraps)
        .is_some_and(|step| plans::may_have_run(plan, step));
    if let Some(cluster) = model.clusters.get_mut(&plan.draft.cluster).filter(|_| ran) {
        if let Some(back) = &plan.draft.taken_back {
            let by = back
                .members
                .iter()
                .filter_map(|host| cluster.left_out.get(host))
                .map(|left_out| left_out.by);
            let by: Vec<OperationId> = by.collect();
            cluster.left_out.retain(|host, _| !back.members.contains(host));
            // Whoever could not say what it holds, and was left out with these, shares what they bring back.
            for left_out in cluster
                .left_out
                .values_mut()
                .filter(|left_out| by.contains(&left_out.by))
            {
                left_out.base.clone_from(&back.base);
            }
        }
        let Some(given_up) = &plan.draft.given_up else { return };
        // A host that was taken out before may hold what is given up now, too. One that never was in the group holds nothing of it.
        let databases = model.hosts.values().filter(|host| host.roles.contains(&HostRole::Db));
        let others = databases.map(|host| &host.name).filter(|host| !cluster.has(host));
        let hosts: Vec<HostName> = given_up.members.iter().chain(others).cloned().collect();
        for host in hosts {
            let now = LeftOut {
                base: given_up.base.clone(),
                by: plan.draft.operation,
            };
            cluster.left_out.entry(host).or_insert(now);
        }
        // The group numbers without it since the first time, and what it shares with those that are given up now is given up, too.
        for left_out in cluster.left_out.values_mut() {
            left_out.base = left_out.base.intersect(&given_up.base);
        }
    }
}

/// A member that was left out enters, or may have: the plan was adopted since it held nothing that was given up, and from now on it
/// gets what the group has. What it holds then is no proof against it, however its join ends.
pub(super) fn let_in(model: &mut Model, plan: PlanId, step: StepNumber) {
    let Some(plan) = model.plans.get(&plan) else { return };
    let enters = |step: &&PlannedStep| matches!(step.step, Step::JoinGroup { .. }) && plans::may_have_run(plan, step);
    if let Some(step) = plans::find(plan, step).filter(enters)
        && let Some(cluster) = model.clusters.get_mut(&plan.draft.cluster)
    {
        cluster.left_out.remove(&step.host);
    }
}
