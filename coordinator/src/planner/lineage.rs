//! Whose history a member's data are: its lineage beside the cluster's (safety rule 7: old histories are refused).
//!
//! Asked by everything that lets a member in, bootstraps or copies: `recovery`, `heal`, and, for what the agents have recorded and the
//! log has not, by `leader::lineages`. Pure; what an agent has not measured is never taken for the group's.

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::{Branch, LineageId, Lineages, Measure, MemberLineage, Shared};
use clusterctl_proto::observe::MemberState;
use clusterctl_proto::step::History;

use super::live::{self, Primary};
use super::recovery;
use super::world::{Seen, World};
use crate::machine::lineages;
use crate::model::Cluster;

/// The lineage of one member's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// Measured by its agent, or of the time before lineages were recorded.
    Of(LineageId),
    /// It entered a group past its agent: its data may be others under the same numbers.
    Unverified(LineageId),
    /// Its agent has no record of these data.
    No,
}

/// The lineage of a member's data by its agent's ledger.
pub(crate) fn of_member(cluster: &Cluster, seen: &Seen) -> Known {
    if cluster.lineages.is_empty() {
        return Known::Of(LineageId::origin());
    }
    match recorded(cluster, seen) {
        // Half of a copy is of what it was copied for, and counts for nothing.
        Some(record) if record.is_verified() && half_copied(cluster, seen) => Known::Of(record.id.clone()),
        Some(record) => match record.verified() {
            Some(id) => Known::Of(id.clone()),
            None => Known::Unverified(record.id.clone()),
        },
        // Agents of the release before recorded none.
        None if cluster.lineages.contains(&LineageId::origin()) => Known::Of(LineageId::origin()),
        None => Known::No,
    }
}

/// These data were being replaced by a copy that is not known to be complete, or whose donor has not vouched for it: what is there lacks
/// anything. They are never entered with, bootstrapped from or copied from, only copied over.
pub(crate) fn half_copied(cluster: &Cluster, seen: &Seen) -> bool {
    let server = seen.observation.mysql.server.as_ref();
    let noted = seen.observation.ledger.half_copied.get(&cluster.name);
    noted.is_some_and(|uuid| server.is_none_or(|server| server.server_uuid == *uuid))
}

/// Of those: the copy is complete, and nobody has vouched for what it brought.
pub(crate) fn holds_unvouched_copy(cluster: &Cluster, seen: &Seen) -> bool {
    let is_complete = recorded(cluster, seen).is_some_and(|record| record.copy_of.is_some());
    is_complete && half_copied(cluster, seen)
}

/// The record of the server's data, not of data that were there before them.
pub(super) fn recorded<'a>(cluster: &Cluster, seen: &'a Seen) -> Option<&'a MemberLineage> {
    let record = seen.observation.ledger.lineages.get(&cluster.name)?;
    let server = seen.observation.mysql.server.as_ref();
    server
        .is_none_or(|server| server.server_uuid == record.server_uuid)
        .then_some(record)
}

/// The lineage of the group that this primary leads; none: it is not recorded (yet).
pub(crate) fn of_group(world: &World<'_>, cluster: &Cluster, primary: &Primary<'_>) -> Option<LineageId> {
    if cluster.lineages.is_empty() {
        return Some(LineageId::origin());
    }
    let id = live_lineage(cluster, world.sight.get(primary.host)?, &primary.view.view_id)?;
    cluster.lineages.contains(&id).then_some(id)
}

/// What a server's view belongs to. Its agent's record names it more exactly: a forced membership keeps the first part of the view id.
fn live_lineage(cluster: &Cluster, seen: &Seen, view_id: &str) -> Option<LineageId> {
    let (by_view, _) = LineageId::of_view(view_id)?;
    let record = recorded(cluster, seen).filter(|record| record.id.prefix() == by_view.prefix());
    Some(record.map_or(by_view, |record| record.id.clone()))
}

/// This member was in the group after a membership of it was forced, and its record does not say so: nobody had told its agent. What it
/// holds may be the newest there is, so nobody went on without it.
pub(crate) fn was_in_later(cluster: &Cluster, seen: &Seen, id: &LineageId, last: &LineageId) -> bool {
    let Some(record) = recorded(cluster, seen) else {
        return false;
    };
    let forced = |later: &&LineageId| later.prefix() == id.prefix() && later.forced_at() > id.forced_at();
    let path = cluster.lineages.path(last);
    let mut later = path.into_iter().take_while(|step| *step != id).filter(forced);
    later.any(|later| later.forced_at() <= record.counter)
}

/// Of a member that others see in the group of this view: its own agent is silent, and has not seen it in there (since this coordinator
/// leads, and since it left the last time). Whether its data are the group's, nobody can tell.
pub(crate) fn is_unseen(world: &World<'_>, cluster: &Cluster, host: &HostName, view_id: &str) -> bool {
    let last = world.sight.get(host);
    world.certain(host).is_none() && !last.is_some_and(|seen| !seen.missed && was_inside(cluster, seen, view_id))
}

/// When this member was seen last, however long ago, it was in the group of this view.
fn was_inside(cluster: &Cluster, seen: &Seen, view_id: &str) -> bool {
    let server = seen.observation.mysql.server.as_ref();
    let view = server.and_then(|server| live::view(server, cluster));
    let id = |view_id: &str| LineageId::of_view(view_id).map(|(id, _)| id);
    view.is_some_and(|view| {
        matches!(view.state, MemberState::Online | MemberState::Recovering)
            && id(&view.view_id).is_some_and(|own| id(view_id) == Some(own))
    })
}

/// What a host that is out of the group holds, beside the group's.
pub(crate) fn measure(
    cluster: &Cluster,
    host: &HostName,
    seen: &Seen,
    held: &GtidSet,
    (group, group_has): (Option<&LineageId>, &GtidSet),
) -> Measure {
    if held.is_empty() {
        return Measure::Inside;
    }
    let (Known::Of(id), Some(group)) = (of_member(cluster, seen), group) else {
        return Measure::Unknown;
    };
    let measured = if id == *group {
        cluster.lineages.measure(&id, held, &id, group_has)
    } else {
        cluster.lineages.measure(&id, held, group, group_has)
    };
    // Recorded by the release before: abandoned then, with what the group had.
    match (cluster.left_out.get(host), measured) {
        (Some(left_out), Measure::Inside) if id == LineageId::origin() => beyond(held.subtract(&left_out.base)),
        (Some(left_out), Measure::Beyond(more)) if id == LineageId::origin() => {
            beyond(more.union(&held.subtract(&left_out.base)))
        }
        (_, measured) => measured,
    }
}

fn beyond(set: GtidSet) -> Measure {
    if set.is_empty() {
        Measure::Inside
    } else {
        Measure::Beyond(set)
    }
}

/// The lineage that a member's agent has on record for its data; none: none is, or lineages are not recorded yet.
pub(crate) fn recorded_as(world: &World<'_>, cluster: &Cluster, host: &HostName) -> Option<LineageId> {
    let record = recorded(cluster, world.certain(host)?)?;
    record.verified().filter(|_| !cluster.lineages.is_empty()).cloned()
}

/// Data that are all in the history that the cluster's last lineage began with are its data, too, whatever their record says.
pub(crate) fn as_of_last(cluster: &Cluster, id: LineageId, set: &GtidSet) -> LineageId {
    match &cluster.lineage {
        Some(last) if id != *last && !cluster.lineages.descends(last, &id) => {
            match cluster.lineages.shared(&id, last) {
                Shared::Base(base) if base.contains(set) => last.clone(),
                _ => id,
            }
        }
        _ => id,
    }
}

/// What the step that lets a member in is given; none while nothing is recorded.
pub(crate) fn history(cluster: &Cluster, group: Option<&LineageId>) -> Option<History> {
    Some(History {
        group: group.filter(|_| !cluster.lineages.is_empty())?.clone(),
        lineages: cluster.lineages.clone(),
    })
}

/// Something that the log does not know of a cluster's lineages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unrecorded {
    /// The lineage.
    pub id: LineageId,
    /// Where it branched off; none: it is known.
    pub branch: Option<Branch>,
    /// The group lives in it now.
    pub leads: bool,
}

/// What agents tell of lineages that the log does not know yet.
pub(crate) fn unrecorded(world: &World<'_>, cluster: &Cluster) -> Vec<Unrecorded> {
    let mut all = Vec::new();
    let lineages = &cluster.lineages;
    for host in cluster.members.keys() {
        let Some(seen) = world.certain(host) else { continue };
        // The host on which one began may never come back to tell of it.
        let untold = seen.observation.ledger.untold.get(&cluster.name);
        for (id, branch) in untold.into_iter().flat_map(Lineages::iter) {
            let known = lineages.contains(id) || all.iter().any(|other: &Unrecorded| other.id == *id);
            if !known && !lineages.is_empty() {
                all.push(Unrecorded {
                    id: id.clone(),
                    branch: Some(branch.clone()),
                    leads: false,
                });
            }
        }
        let Some(record) = recorded(cluster, seen) else {
            continue;
        };
        let Some(branch) = &record.branch else { continue };
        let completes = lineages.get(&record.id).is_some_and(|known| completes(known, branch));
        if !lineages.contains(&record.id) || completes {
            all.push(Unrecorded {
                id: record.id.clone(),
                branch: Some(branch.clone()),
                leads: false,
            });
        }
    }
    if let Some(primary) = live::primary(world, cluster)
        && let Some(seen) = world.sight.get(primary.host)
        && let Some(id) = live_lineage(cluster, seen, &primary.view.view_id)
    {
        if lineages.contains(&id) {
            let moved = cluster.lineage.as_ref() != Some(&id) && cluster.goes_on_in(&id);
            if moved && nobody_else_lives(world, cluster, &primary, &id) {
                all.push(Unrecorded {
                    id,
                    branch: None,
                    leads: true,
                });
            }
        } else if let Some(branch) = adopted(world, cluster, &primary, seen) {
            all.push(Unrecorded {
                id,
                branch: Some(branch),
                leads: true,
            });
        }
    }
    // What the log would not take is not proposed each second.
    all.retain(|told| {
        told.branch
            .as_ref()
            .is_none_or(|branch| lineages::takes(lineages, &told.id, branch))
    });
    all
}

/// What the cluster went on in until now cannot live any more: a majority of its newest view that anybody told of is in this primary's view, or
/// certainly out of every group; where none is told of, all members. A view shrinks with every orderly STOP, so a majority of all members
/// proves nothing. A group that one sees alone, cut off from the others, is not where the cluster goes on.
fn nobody_else_lives(world: &World<'_>, cluster: &Cluster, primary: &Primary<'_>, new: &LineageId) -> bool {
    let accounted = |host: &HostName| {
        let inside = primary.state(world, host);
        matches!(inside, Some(MemberState::Online | MemberState::Recovering))
            || live::out(world, host) == live::Out::Yes
    };
    let seen = cluster.members.keys().filter_map(|host| world.sight.get(host));
    let views = seen.filter_map(|seen| live::view(seen.observation.mysql.server.as_ref()?, cluster));
    let of_before = views.filter_map(|view| {
        let (id, counter) = LineageId::of_view(&view.view_id)?;
        let before = cluster
            .lineage
            .as_ref()
            .is_some_and(|last| last.prefix() == id.prefix());
        // A forced membership keeps the prefix: its own views are not of before.
        let forced = new.prefix() == id.prefix() && counter >= new.forced_at();
        (before && !forced).then_some((counter, view))
    });
    let Some((_, view)) = of_before.max_by_key(|(counter, _)| *counter) else {
        return cluster.members.keys().all(accounted);
    };
    let inside = |host: &&HostName| live::row(view, world, host).is_some();
    let there: Vec<&HostName> = cluster.members.keys().filter(inside).collect();
    there.iter().filter(|host| accounted(host)).count() * 2 > view.members.len()
}

/// The agent of a member that is in a group has not taken into account how it got there: its record is of another one.
pub(crate) fn is_unmeasured(cluster: &Cluster, seen: &Seen) -> bool {
    let (Some(by_view), Some(record)) = (by_view(cluster, seen), recorded(cluster, seen)) else {
        return false;
    };
    !cluster.lineages.is_empty() && record.id.prefix() != by_view.prefix()
}

/// The lineage of the group that a member is in, by the first part of its view's id; none: it is in none.
pub(super) fn by_view(cluster: &Cluster, seen: &Seen) -> Option<LineageId> {
    let view = live::view(seen.observation.mysql.server.as_ref()?, cluster)?;
    let inside = matches!(view.state, MemberState::Online | MemberState::Recovering);
    LineageId::of_view(&view.view_id).filter(|_| inside).map(|(id, _)| id)
}

fn completes(known: &Branch, told: &Branch) -> bool {
    known.base.is_empty() && !told.base.is_empty() && known.parent == told.parent
}

/// A cluster of the time before lineages were recorded: what its group has now is what it shares with everybody who is away. Not before
/// the agent of every member that is in the group records its lineage: one that leaves in the middle of the upgrade is not away.
fn adopted(world: &World<'_>, cluster: &Cluster, primary: &Primary<'_>, seen: &Seen) -> Option<Branch> {
    let record = recorded(cluster, seen)?;
    let before = cluster.lineages.is_empty() && cluster.formed && record.branch.is_none();
    let of_it = |host: &HostName| {
        let told = world.certain(host).and_then(|seen| recorded(cluster, seen));
        told.and_then(MemberLineage::verified) == Some(&record.id)
    };
    let mut inside = cluster.members.keys().filter(|host| primary.row(world, host).is_some());
    if !before || record.verified().is_none() || !inside.all(of_it) {
        return None;
    }
    Some(Branch {
        parent: Some(LineageId::origin()),
        base: recovery::set(primary.host, &primary.server.gtid_executed).ok()?,
        generation: None,
        host: Some(primary.host.clone()),
        abandoned: Default::default(),
    })
}

/// Code of a group that goes on from an abandoned history.
pub(crate) const GIVEN_UP_LEADS: &str = "given_up_leads";

/// The group that this primary leads goes on from where the cluster was, as far as is recorded.
pub(crate) fn goes_on(world: &World<'_>, cluster: &Cluster, primary: &Primary<'_>) -> bool {
    if cluster.lineages.is_empty() {
        return !cluster.left_out.contains_key(primary.host);
    }
    of_group(world, cluster, primary).is_none_or(|id| cluster.goes_on_in(&id))
}

/// An operator abandoned this member's data on the way to the later lineage. What a person has bootstrapped from them by hand lived on its
/// own, perhaps after that word: it is not covered by it, and a person judges again.
pub(crate) fn is_abandoned(lineages: &Lineages, id: &LineageId, later: &LineageId, host: &HostName) -> bool {
    let aside = !lineages.descends(id, later);
    let by_hand = lineages.get(id).is_some_and(|branch| branch.generation.is_none());
    !(aside && by_hand) && abandoned(lineages, id, later).any(|name| name == host)
}

/// Members that an operator abandoned on the way from one lineage to a later one.
fn abandoned<'a>(
    lineages: &'a Lineages,
    from: &LineageId,
    to: &'a LineageId,
) -> impl Iterator<Item = &'a HostName> + use<'a> {
    let ancestors: Vec<LineageId> = lineages.path(from).into_iter().cloned().collect();
    lineages
        .path(to)
        .into_iter()
        .take_while(move |id| !ancestors.contains(id))
        .filter_map(|id| lineages.get(id))
        .flat_map(|branch| &branch.abandoned)
}
