//! Lineages of a cluster's group: what agents tell of its bootstraps is kept in the log, for the members that come back later.
//!
//! The agent of the member that was bootstrapped records a lineage first, also without a coordinator; the leader proposes it as soon
//! as it hears of it (`planner::lineage`). What was recorded first stays.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, Generation, HostName, PlanId};
use clusterctl_proto::lineage::{Branch, LineageId, Lineages};
use clusterctl_proto::step::{StepData, StepOutcome};

use super::apply::Applied;
use super::{Answer, Command, journal};
use crate::model::{Cluster, Model};

/// Feature level from which the cluster remembers when it was last led: below it, a plan that ran is where it goes on, however late that is
/// told.
const LED_LEVEL: u32 = 3;
/// More than any group is bootstrapped in its life; the tree travels with every question.
const MOST: usize = 500;

/// Whether this lineage would change the tree: it is not full, and what is told contradicts nothing in it.
pub(crate) fn takes(lineages: &Lineages, id: &LineageId, branch: &Branch) -> bool {
    let room = lineages.contains(id) || lineages.iter().count() < MOST;
    room && lineages.clone().add(id.clone(), branch.clone())
}

pub(super) fn record(
    model: &mut Model,
    command: &Command,
    name: &ClusterName,
    (id, told): (&LineageId, Option<&Branch>),
    leads: Option<u64>,
) -> Applied {
    let abandoned = told.and_then(|branch| given_up(model, name, branch));
    let remembers = model.feature_level >= LED_LEVEL;
    let cluster = model
        .clusters
        .get_mut(name)
        .ok_or_else(|| Failure::new("no_such_cluster", format!("there is no cluster {name}")))?;
    let mut text = None;
    if let Some(told) = told {
        if cluster.lineages.iter().count() >= MOST && !cluster.lineages.contains(id) {
            return Err(Failure::new(
                "too_many_lineages",
                format!("{name} has {MOST} lineages on record already"),
            ));
        }
        let branch = Branch {
            abandoned: abandoned.clone().unwrap_or_default().into_iter().collect(),
            ..told.clone()
        };
        origin(cluster, &branch);
        let host = branch.host.clone();
        if cluster.lineages.add(id.clone(), branch) {
            let by = match (&told.generation, &host) {
                (Some(generation), Some(host)) => format!("bootstrapped on {host} by plan {}", generation.index),
                (None, Some(host)) => format!("bootstrapped by hand, seen by the agent of {host}"),
                _ => "bootstrapped".to_owned(),
            };
            text = Some((host, format!("the group of {name} has a new lineage {id}: {by}")));
        }
    }
    // A plan that ran is where the cluster goes on, whatever was before, unless a later plan's bootstrap is known already, or the cluster
    // went on in a group that a person made since: a host that was off since tells late. Else only what follows from there, by the entry
    // `leads` of the log.
    let planned = told.and_then(|branch| branch.generation);
    let ours = abandoned.is_some()
        && planned >= newest_planned(cluster)
        && (!remembers || planned.is_some_and(|generation| generation.index > cluster.led_at));
    if let Some(index) = leads.filter(|_| cluster.goes_on_in(id)) {
        (cluster.lineage, cluster.led_at) = (Some(id.clone()), if remembers { index } else { 0 });
    } else if ours {
        cluster.lineage = Some(id.clone());
    }
    if let Some((host, text)) = text {
        let line = journal::line("lineage_recorded", text).cluster(name);
        match host {
            Some(host) => line.host(&host).write(model, command),
            None => line.write(model, command),
        }
    }
    Ok(Answer::Applied)
}

/// A plan's bootstrap has ended well: its agent tells the lineage in the outcome. Where the outcome is lost, the next answer tells it.
pub(super) fn bootstrapped(model: &mut Model, command: &Command, name: &ClusterName, outcome: &StepOutcome) {
    let Some(StepData::Bootstrapped { lineage }) = &outcome.data else {
        return;
    };
    if record(model, command, name, (&lineage.id, lineage.branch.as_ref()), None).is_err() {
        // The step has ended all the same; a tree that is full lets nobody in by what it does not know.
    }
}

/// The newest plan that bootstrapped a lineage which the cluster went through.
fn newest_planned(cluster: &Cluster) -> Option<Generation> {
    let path = cluster.lineage.as_ref().map(|last| cluster.lineages.path(last));
    let branches = path.into_iter().flatten().filter_map(|id| cluster.lineages.get(id));
    branches.filter_map(|branch| branch.generation).max()
}

/// Whom the plan abandoned that bootstrapped this lineage; none: no plan of this cluster did. In a log that lacks orders another plan may
/// have its number.
fn given_up(model: &Model, name: &ClusterName, branch: &Branch) -> Option<Vec<HostName>> {
    let generation = branch.generation?;
    let plan = model.plans.get(&PlanId(generation.index))?;
    let given_up = plan.draft.given_up.as_ref();
    (plan.draft.cluster == *name && plan.generation == generation)
        .then(|| given_up.map(|lost| lost.members.clone()).unwrap_or_default())
}

/// What was before lineages were recorded is a lineage, too: members that are away since then belong to it.
fn origin(cluster: &mut Cluster, branch: &Branch) {
    let origin = LineageId::origin();
    if cluster.lineages.is_empty() && branch.parent.as_ref() == Some(&origin) {
        let root = Branch {
            parent: None,
            base: Default::default(),
            generation: None,
            host: None,
            abandoned: Default::default(),
        };
        cluster.lineages.add(origin, root);
    }
}
