//! A member that is out and holds what the group has not, or what cannot be compared with it: quarantined, with what would decide it.
//!
//! Called by `member.rs`. Pure; it never proposes to throw anything away unasked.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::{LineageId, Measure};
use clusterctl_proto::observe::{MemberState, ServerFacts};

use super::trouble::{Care, Standing, Trouble};
use super::unproven::waits_for;
use crate::model::Cluster;
use crate::planner::lineage::{self, Known};
use crate::planner::live::{self, Primary};
use crate::planner::recovery;
use crate::planner::vouch;
use crate::planner::world::{Seen, World};

/// It holds what the group has not, or what cannot be compared with it: never cloned over unasked (safety rule 3).
pub(super) fn diverged(
    world: &World<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    (host, seen): (&HostName, &Seen),
    server: &ServerFacts,
) -> Option<Trouble> {
    let parse = |text: &str| recovery::set(host, text);
    let wrong = format!("{host} is not in the group");
    let held = match (parse(&server.gtid_executed), parse(&server.gtid_received)) {
        (Ok(executed), Ok(received)) => executed.union(&received),
        (Err(failure), _) | (_, Err(failure)) => {
            let care = Care::blocked(failure.message, "this is a defect: please report it", "");
            return Some(Trouble::of(host, "member_out", wrong, care));
        }
    };
    let group_has = parse(&primary.server.gtid_executed).ok()?;
    let group = lineage::of_group(world, cluster, primary);
    let extra = match lineage::measure(cluster, host, seen, &held, (group.as_ref(), &group_has)) {
        Measure::Inside => return None,
        Measure::Beyond(extra) => extra,
        Measure::Unknown if !group_has.contains(&held) => held.subtract(&group_has),
        Measure::Unknown => return Some(not_comparable(world, cluster, primary, (host, seen), group.as_ref())),
    };
    let since = match (lineage::of_member(cluster, seen), &group) {
        (Known::Of(id), Some(group)) if id != *group => {
            format!(
                ", which went on without it since lineage {id} (it is {group} now) and may use the same numbers for others"
            )
        }
        _ => String::new(),
    };
    let care = Care::blocked(
        format!(
            "quarantined: it holds {} transactions that the group has not{since}; they are never thrown away unasked",
            extra.count()
        ),
        format!(
            "look what they are (on {host}: mysqlbinlog --include-gtids='{extra}' /var/lib/mysql/binlog.*), write what is needed of it again on {}; then take {host} out, empty its data directory after a backup, and join it again",
            primary.host
        ),
        format!("clusterctl remove {host}"),
    );
    // For a second after it left, the primary may not have told yet of what the group numbered last: nothing is done meanwhile, and the
    // journal waits (`leader::heal`).
    let trouble = Trouble::of(host, "member_quarantined", wrong, care)
        .seen(host, format!("only here: {}", recovery::shown(&extra)))
        .seen(primary.host, format!("the group has: {}", recovery::shown(&group_has)));
    Some(trouble)
}

/// This member is out and holds something, and what the living group began with is not recorded, though an agent may still tell it: the
/// group may go on from abandoned data, and this member be the only one that has what counts.
pub(crate) fn may_have_more(world: &World<'_>, cluster: &Cluster, primary: &Primary<'_>, host: &HostName) -> bool {
    let state = primary.state(world, host);
    let inside = matches!(state, Some(MemberState::Online | MemberState::Recovering));
    let holds = world.certain(host).is_some_and(|seen| {
        let held = live::holds(seen, "");
        held.is_none_or(|(executed, received)| !executed.is_empty() || !received.is_empty())
    });
    !inside && holds && lineage::of_group(world, cluster, primary).is_none() && !untold(world, cluster, primary)
}

/// Every agent answers, and none has on record what the group that lives now began with: nobody will tell.
fn untold(world: &World<'_>, cluster: &Cluster, primary: &Primary<'_>) -> bool {
    let Some((group, _)) = LineageId::of_view(&primary.view.view_id) else {
        return false;
    };
    let silent = |host: &HostName| {
        let seen = world.certain(host)?;
        if lineage::is_unmeasured(cluster, seen) {
            return Some(false);
        }
        let record = seen.observation.ledger.lineages.get(&cluster.name);
        Some(record.is_none_or(|record| record.id.prefix() != group.prefix() || record.branch.is_none()))
    };
    cluster.members.keys().all(|host| silent(host) == Some(true))
}

/// Numbers prove nothing between histories of which it is not known where they branched off.
fn not_comparable(
    world: &World<'_>,
    cluster: &Cluster,
    primary: &Primary<'_>,
    (host, seen): (&HostName, &Seen),
    group: Option<&LineageId>,
) -> Trouble {
    let waits = waits_for(world, cluster, host, seen);
    let (told, care) = match (lineage::of_member(cluster, seen), group, waits) {
        (_, None, _) if untold(world, cluster, primary) => (
            "the bootstrap of the group that lives now is on no agent's record".to_owned(),
            Care::blocked(
                "quarantined: the group was bootstrapped past clusterctl, and no agent saw what it began with; numbers of transactions prove nothing then",
                "compare its data with the others' (CHECKSUM TABLE); then take it out, empty its data directory after a backup, and join it again",
                format!("clusterctl remove {host}"),
            ),
        ),
        (_, None, _) => (
            "the bootstrap of the group that lives now is not recorded".to_owned(),
            Care::not(
                Standing::Waiting,
                format!(
                    "quarantined: the group was bootstrapped past clusterctl; what it began with is told by the agent of the member where that was done, and {host} comes in then if it has nothing else"
                ),
                "start the agents of all members; if nobody saw that bootstrap, the member can be taken out once they all answer",
                format!("clusterctl why -c {}", cluster.name),
            ),
        ),
        (Known::Unverified(id), Some(_), Some(care)) => (format!("its data entered lineage {id} past its agent"), care),
        (known, Some(group), _) => {
            let told = match known {
                Known::Of(id) => format!(
                    "its data are of lineage {id}, the group's of {group}, and how they hang together is not known"
                ),
                Known::Unverified(id) => match vouch::donors(world, cluster, seen).as_slice() {
                    [] => format!("its data entered lineage {id} past its agent"),
                    donors => format!(
                        "it got what it lacked from {} in lineage {id}, and nothing proves that what that had then was the group's",
                        donors.join(" and ")
                    ),
                },
                Known::No => "its agent has no record of which bootstrap its data descend from".to_owned(),
            };
            let care = Care::blocked(
                format!("quarantined: {told}; numbers of transactions prove nothing then"),
                "look what it holds; then take it out, empty its data directory after a backup, and join it again",
                format!("clusterctl remove {host}"),
            );
            (told, care)
        }
    };
    Trouble::of(host, "member_quarantined", format!("{host} is not in the group"), care)
        .seen(host, told)
        .seen(
            primary.host,
            format!(
                "leads lineage {}",
                group.map_or("that is not recorded", |id| id.as_str())
            ),
        )
}
