//! `clusterctl why`: what is wrong, who saw it and how surely, what is done about it or why nothing is, what would unlock it.
//!
//! The judgement is `planner::heal`'s, the same by which healing acts; here it is only put into words.

use clusterctl_proto::clock::rfc3339_millis;
use clusterctl_proto::ids::{ClusterName, HostName};
use clusterctl_proto::wire::control as pb;

use super::{verdict, witness};
use crate::machine::plans;
use crate::model::{Cluster, Operation, OperationState};
use crate::planner::heal::{self, Care, Evidence, Subject, Trouble};
use crate::planner::{Seen, World};

/// Of this cluster or all, about this host or all.
pub fn explain(world: &World<'_>, which: Option<&ClusterName>, host: Option<&HostName>) -> Vec<pb::ClusterExplained> {
    let clusters = world.model.clusters.values();
    clusters
        .filter(|cluster| which.is_none_or(|name| *name == cluster.name))
        .map(|cluster| one(world, cluster, host))
        .collect()
}

fn one(world: &World<'_>, cluster: &Cluster, host: Option<&HostName>) -> pb::ClusterExplained {
    let troubles = heal::troubles(world, cluster);
    let verdict = verdict::of(world, cluster, witness(world, cluster).as_ref(), &troubles);
    let about = |trouble: &Trouble| match (&trouble.subject, host) {
        // What befell the group befell each member.
        (Subject::Cluster, Some(host)) => cluster.members.contains_key(host),
        (_, None) => true,
        (Subject::Host(_), Some(host)) => trouble.is_of(host),
    };
    let troubles = troubles.iter().filter(|trouble| about(trouble));
    pb::ClusterExplained {
        cluster: cluster.name.to_string(),
        verdict: verdict.sentence,
        state: verdict.state.to_owned(),
        troubles: troubles.map(|trouble| told(world, cluster, trouble)).collect(),
    }
}

fn told(world: &World<'_>, cluster: &Cluster, trouble: &Trouble) -> pb::Trouble {
    let mut to = pb::Trouble {
        subject: match &trouble.subject {
            Subject::Cluster => cluster.name.to_string(),
            Subject::Host(host) => host.to_string(),
        },
        wrong: trouble.wrong.clone(),
        evidence: trouble.evidence.iter().map(|seen| evidence(world, seen)).collect(),
        code: trouble.code.to_owned(),
        ..Default::default()
    };
    match &trouble.care {
        Care::Not(not) => {
            not.standing.name().clone_into(&mut to.state);
            to.doing.clone_from(&not.why);
            to.unlock.clone_from(&not.unlock);
            to.command.clone_from(&not.command);
        }
        Care::Act(kind) => {
            "healing".clone_into(&mut to.state);
            let title = crate::machine::describe::title(kind, cluster.name.as_str());
            match heal::running(world, cluster, kind) {
                None => to.doing = format!("about to {title}"),
                Some(op) => {
                    to.operation = op.id.0;
                    to.doing = doing(world, op, &title);
                    to.command = format!("clusterctl ops watch {}", op.id);
                }
            }
        }
    }
    to
}

/// `operation 42 (rejoin node3): join node3 to the group by incremental recovery`.
pub(super) fn doing(world: &World<'_>, op: &Operation, title: &str) -> String {
    let what = match &op.state {
        OperationState::Waiting { why } => why.clone(),
        _ => {
            let plan = op.plans.last().and_then(|id| world.model.plans.get(id));
            let steps = plan.map(plans::ready_steps).unwrap_or_default();
            let titles: Vec<&str> = steps.iter().map(|step| step.title.as_str()).collect();
            titles.join("; ")
        }
    };
    if what.is_empty() {
        format!("operation {} ({title})", op.id)
    } else {
        format!("operation {} ({title}): {what}", op.id)
    }
}

fn evidence(world: &World<'_>, evidence: &Evidence) -> pb::Evidence {
    let seen = world.sight.get(&evidence.host);
    let at = |seen: &Seen| world.now.saturating_sub(i64::try_from(seen.age_ms).unwrap_or(i64::MAX));
    pb::Evidence {
        text: evidence.text.clone(),
        who: format!("agent/{}", evidence.host),
        at: seen
            .map(|seen| rfc3339_millis(u64::try_from(at(seen)).unwrap_or_default()))
            .unwrap_or_default(),
        certainty: match seen {
            Some(seen) if seen.is_certain() => "certain",
            Some(_) => "stale",
            None => "unknown",
        }
        .to_owned(),
        age_ms: seen.map_or(0, |seen| seen.age_ms),
    }
}
