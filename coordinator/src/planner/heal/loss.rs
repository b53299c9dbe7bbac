//! What a break-glass would risk, as a short code: it stands for exactly what was shown. If anything of it changes, the code does,
//! too, and the approval is worth nothing.

use std::collections::BTreeSet;

use clusterctl_proto::ids::{HostName, PlanId};
use clusterctl_proto::step::Step;

use super::holders::{self, Outage};
use crate::machine::plans;
use crate::model::{Cluster, PlannedStep};
use crate::planner::context::Context;

/// Eight hexadecimal digits over the cluster, who is left out, what everybody else holds, what those that are left out and answer hold, and
/// which plan made a group last on one that is left out: whoever approved before that did not know that it lives there.
pub(super) fn code(context: &Context<'_>, cluster: &Cluster, without: &[HostName], case: &Outage) -> String {
    let mut names: Vec<&str> = without.iter().map(HostName::as_str).collect();
    names.sort_unstable();
    let mut text = format!("{} {}\n", cluster.cluster_id, names.join(","));
    if let Some(plan) = made_there(context, cluster, without) {
        text.push_str(&format!("{plan}\n"));
    }
    for (host, held) in &case.held {
        text.push_str(&format!("{host} {} {}\n", held.lineage, held.set));
    }
    let lost: BTreeSet<&HostName> = without.iter().collect();
    for host in lost {
        if let Ok(held) = holders::holds(&context.world, cluster, host) {
            text.push_str(&format!("lost: {host} {} {}\n", held.lineage, held.set));
        }
    }
    if case.unlisted {
        text.push_str("unlisted\n");
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest
        .as_ref()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The newest plan of another operation that bootstrapped on one of these hosts, or may have.
fn made_there(context: &Context<'_>, cluster: &Cluster, without: &[HostName]) -> Option<PlanId> {
    let plans = context.world.model.plans.values().rev();
    let mut others = plans.filter(|plan| plan.draft.cluster == cluster.name && plan.draft.operation != context.op.id);
    let made = others.find(|plan| {
        let made = |step: &PlannedStep| {
            matches!(step.step, Step::BootstrapGroup { .. })
                && without.contains(&step.host)
                && plans::has_ended(step)
                && plans::may_have_run(plan, step)
        };
        plan.draft.steps.iter().any(made)
    });
    made.map(|plan| plan.id)
}

/// The command that does it.
pub(super) fn command(cluster: &Cluster, without: &[HostName], code: &str) -> String {
    let names: Vec<&str> = without.iter().map(HostName::as_str).collect();
    if names.is_empty() {
        return format!("clusterctl recover {} --accept-loss {code} --expires 15m", cluster.name);
    }
    format!(
        "clusterctl recover {} --without {} --accept-loss {code} --expires 15m",
        cluster.name,
        names.join(",")
    )
}
