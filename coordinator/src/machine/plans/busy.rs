//! Hosts where a step of some plan runs or may run: no other plan of the cluster touches them.
//!
//! Asked by the adoption of plans, by the planner, by `check` and by status. Pure.

use std::collections::BTreeMap;

use clusterctl_proto::ids::{ClusterName, HostName, StepNumber};
use clusterctl_proto::step::Step;

use super::{StepKey, find, has_ended, is_settled};
use crate::model::{Model, Plan};

/// Copies that are being carried out, by the host that gets the data.
pub fn copies<'a>(model: &'a Model, cluster: &ClusterName) -> BTreeMap<&'a HostName, &'a Plan> {
    let open = model
        .plans
        .values()
        .filter(|plan| plan.draft.cluster == *cluster && plan.draft.side && !is_settled(plan));
    let steps = open.flat_map(|plan| plan.draft.steps.iter().map(move |step| (plan, step)));
    steps
        .filter(|(_, step)| !has_ended(step) && model.hosts.contains_key(&step.host))
        .map(|(plan, step)| (&step.host, plan))
        .collect()
}

/// Hosts where a copy is being carried out, or where a step of an earlier plan of this cluster may run still, although the plan was given
/// up.
pub fn busy_hosts<'a>(model: &'a Model, cluster: &ClusterName) -> BTreeMap<&'a HostName, StepKey> {
    let plans = model.plans.values().filter(|plan| plan.draft.cluster == *cluster);
    let unsettled = plans.flat_map(|plan| plan.unsettled.iter().map(move |number| (plan, *number)));
    let found = unsettled.filter_map(|(plan, number)| {
        let host = &find(plan, number)?.host;
        // One that is not enrolled any more is never asked again.
        model.hosts.contains_key(host).then_some((host, (plan.id, number)))
    });
    let mut busy: BTreeMap<&HostName, StepKey> = found.collect();
    for (host, plan) in copies(model, cluster) {
        let step = plan.draft.steps.iter().find(|step| step.host == *host);
        busy.entry(host)
            .or_insert((plan.id, step.map_or(1, |step| step.number)));
    }
    busy
}

/// Why a busy host is in the way, in words.
pub fn busy_text(model: &Model, host: &HostName, (plan, number): StepKey) -> String {
    let plan = model.plans.get(&plan);
    let step = plan.and_then(|plan| find(plan, number));
    if let (Some(plan), Some(step)) = (plan, step)
        && let Step::CloneData { donor, .. } = &step.step
        && !has_ended(step)
    {
        return format!(
            "{host} is being copied from {donor} by operation {}",
            plan.draft.operation
        );
    }
    let title = step.map_or("a step", |step| step.title.as_str());
    format!("the agent of {host} has not said yet whether an earlier step ended: {title}")
}

/// The plan has settled, and no step of it may run unseen.
pub fn is_over(model: &Model, plan: &Plan) -> bool {
    let runs = |number: &StepNumber| find(plan, *number).is_some_and(|step| model.hosts.contains_key(&step.host));
    is_settled(plan) && !plan.unsettled.iter().any(runs)
}
