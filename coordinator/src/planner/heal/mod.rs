//! What is wrong with a formed cluster that nobody asked for, and what follows: an operation that mends it, or a reason why
//! nothing is done, with what would unlock it.
//!
//! Called by `leader::heal` on every tick, which submits what is to be done, by the planning functions of those operations, which ask
//! again whether it is still so, and by `leader::status` for `status` and `why`: all three say the same, since it is one function of
//! what is seen now. Pure.

mod break_glass;
mod forget;
mod holders;
mod loss;
mod member;
mod outage;
mod pace;
mod quarantine;
mod recover;
mod rejoin;
mod router;
mod trouble;
mod twins;
mod unpromised;
mod unproven;

use clusterctl_proto::ids::{ClusterName, HostName};

use super::restored;
use super::world::World;
use crate::machine::plans;
use crate::model::{Cluster, MemberPhase, Operation, OperationKind, RouterPhase, UnixMs};

pub(crate) use forget::plan as forget;
pub(crate) use outage::{SPLIT_GROUP, stalled};
pub(crate) use quarantine::may_have_more;
pub(crate) use recover::plan as recover;
pub(crate) use rejoin::{copies, plan as rejoin};
pub(crate) use router::{ROUTER_DOWN, plan as start_router};
pub(crate) use trouble::told;
pub(crate) use trouble::{Care, Evidence, Standing, Subject, Trouble};
pub(crate) use twins::{TWO_MACHINES, wrong as two_machines};
pub(crate) use unproven::{
    GIVEN_UP_INSIDE, Unproven, copy_again, foreign_inside, is_unproven, strangers, unproven_inside,
};

/// Everything that is wrong, the worst first: the group, then members, then routers. Of one subject the first counts.
pub(crate) fn troubles(world: &World<'_>, cluster: &Cluster) -> Vec<Trouble> {
    let mut all = now(world, cluster);
    for trouble in &mut all {
        let care = match (&trouble.care, &trouble.subject) {
            (Care::Act(kind), _) if running(world, cluster, kind).is_some() => None,
            (Care::Act(kind), _) => pace::held_back(world, cluster, kind)
                .map(|care| unpromised::told(world, cluster, kind, care))
                .or_else(|| in_turn(world, cluster)),
            // What is seen on its way is what the operation does.
            (Care::Not(not), Subject::Host(host)) if not.standing == Standing::Waiting => {
                let kind = OperationKind::Rejoin { host: host.clone() };
                running(world, cluster, &kind).map(|_| Care::Act(kind))
            }
            _ => None,
        };
        if let Some(care) = care {
            trouble.care = care;
        }
    }
    all
}

/// No member of this cluster is certainly in its group.
pub(crate) fn nobody_inside(world: &World<'_>, cluster: &ClusterName) -> bool {
    let cluster = world.model.clusters.get(cluster);
    cluster.is_some_and(|cluster| matches!(outage::group(world, cluster), outage::Group::Out))
}

/// A person may bootstrap on this member: every member certainly says that it is out and what it holds, and this one holds everything.
pub(crate) fn bootstraps_by_hand(world: &World<'_>, cluster: &Cluster, host: &HostName) -> bool {
    let case = holders::examine(world, cluster, &[]);
    let all_told = case.unknown.is_empty() && case.nameless.is_empty() && case.stuck.is_empty() && !case.unlisted;
    let settled = |host: &HostName| !plans::busy_hosts(world.model, &cluster.name).contains_key(host);
    all_told && nobody_inside(world, &cluster.name) && cluster.members.keys().all(settled) && case.best() == Some(host)
}

/// Another plan of the cluster is being carried out: it comes first, and may be what is seen.
fn in_turn(world: &World<'_>, cluster: &Cluster) -> Option<Care> {
    let open = plans::open_plan(world.model, &cluster.name)?;
    let id = open.draft.operation;
    Some(Care::not(
        Standing::Waiting,
        format!("operation {id} is being carried out, one thing is done after another"),
        "",
        format!("clusterctl ops watch {id}"),
    ))
}

/// What is to be submitted now against these troubles.
pub(crate) fn needed(world: &World<'_>, cluster: &Cluster, troubles: &[Trouble]) -> Vec<OperationKind> {
    let wanted = troubles.iter().filter_map(|trouble| match &trouble.care {
        Care::Act(kind) => Some(kind),
        Care::Not(_) => None,
    });
    // An operator's operation about the same host does what is needed there, or the opposite.
    let asked = |kind: &OperationKind| {
        let mut others = world.model.active_operations().filter(|op| op.cluster == cluster.name);
        others.any(|op| !op.kind.heals() && op.kind.hosts().iter().any(|host| kind.hosts().contains(host)))
    };
    wanted
        .filter(|kind| running(world, cluster, kind).is_none() && !asked(kind))
        .cloned()
        .collect()
}

/// The operation that does this.
pub(crate) fn running<'a>(world: &World<'a>, cluster: &Cluster, kind: &OperationKind) -> Option<&'a Operation> {
    let mut active = world.model.active_operations();
    active.find(|op| op.cluster == cluster.name && op.kind == *kind)
}

/// Until when a host is to be left alone by its agent, too (0: without an end): said with every question.
pub(crate) fn hands_off(cluster: &Cluster, host: &HostName, now: UnixMs) -> Option<UnixMs> {
    let settled = cluster
        .members
        .get(host)
        .is_none_or(|member| member.phase == MemberPhase::Member);
    if !settled {
        return Some(0);
    }
    cluster.hands_off(host, now).map(|said| said.until.unwrap_or(0))
}

/// Without regard to how often it was tried.
fn now(world: &World<'_>, cluster: &Cluster) -> Vec<Trouble> {
    let not_led = restored::cluster_trouble(world, cluster);
    if !cluster.formed {
        return not_led.into_iter().collect();
    }
    let group = outage::group(world, cluster);
    let mut all: Vec<Trouble> = outage::trouble(world, cluster, &group).into_iter().collect();
    if let outage::Group::Led(primary) = &group {
        all.extend(unproven::strangers_inside(world, cluster, primary));
    }
    let hosts = cluster.members.keys().chain(cluster.routers.keys());
    all.extend(hosts.filter_map(|host| restored::host_trouble(world, host)));
    let members = cluster
        .members
        .iter()
        .filter(|(_, member)| member.phase == MemberPhase::Member);
    let of_member = |host: &HostName| {
        twins::trouble(world, host)
            .or_else(|| forget::trouble(world, cluster, &group, host))
            .or_else(|| member::trouble(world, cluster, &group, host))
    };
    all.extend(members.filter_map(|(host, _)| of_member(host)));
    // A member that joins or leaves is its operation's, but no operation forgets that it was abandoned before.
    let others = cluster
        .members
        .iter()
        .filter(|(_, member)| member.phase != MemberPhase::Member);
    all.extend(others.filter_map(|(host, _)| forget::trouble(world, cluster, &group, host)));
    let routers = cluster
        .routers
        .iter()
        .filter(|(_, router)| router.phase == RouterPhase::Router);
    all.extend(routers.filter_map(|(host, _)| twins::trouble(world, host).or_else(|| router::trouble(world, host))));
    for trouble in &mut all {
        trouble.respect(cluster, world.now);
        if let (Some(not_led), Care::Act(_)) = (&not_led, &trouble.care) {
            trouble.care = not_led.care.clone();
        }
    }
    all.splice(0..0, not_led);
    all
}

/// Whether this very operation is what is to be done now; else why it is not needed any more.
fn still_needed(world: &World<'_>, cluster: &Cluster, kind: &OperationKind) -> Result<(), String> {
    let about = |trouble: &Trouble| match &trouble.subject {
        Subject::Host(host) => kind.hosts().contains(&host),
        Subject::Cluster => matches!(kind, OperationKind::Recover { .. }),
    };
    let all: Vec<Trouble> = now(world, cluster).into_iter().filter(about).collect();
    if all.iter().any(|trouble| trouble.care == Care::Act(kind.clone())) {
        return Ok(());
    }
    Err(match all.into_iter().next() {
        None => "nothing is wrong any more".to_owned(),
        Some(trouble) => match trouble.care {
            Care::Act(other) => format!("{}: {} is to be done", trouble.wrong, other.name()),
            Care::Not(not) => format!("{}: {}", trouble.wrong, not.why),
        },
    })
}

/// A few words on what is done about a host, for the sentence that opens a status; `operator_wants` it left alone.
pub(crate) fn word(trouble: &Trouble, operator_wants: bool) -> &'static str {
    match &trouble.care {
        Care::Act(_) => "being brought back",
        Care::Not(_) if trouble.code == "member_quarantined" => "quarantined",
        Care::Not(_) if operator_wants => "left alone",
        Care::Not(not) => match not.standing {
            Standing::LeftAlone => "left as it is",
            Standing::Blocked => "needs a person",
            Standing::Waiting => "waited for",
        },
    }
}
