//! After an outage of all members: who is certainly out, what each holds, and who has everything (safety rules 1, 2, 4).
//!
//! Asked by `outage` for what is wrong, by `recover` for the plan. Pure; it never guesses: what is not known is told as that.

use std::collections::BTreeMap;

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::{MemberState, UnitState};

use crate::model::{Cluster, MemberPhase};
use crate::planner::context::seconds;
use crate::planner::live::{self, Out};
use crate::planner::recovery;
use crate::planner::world::World;

/// What is known of an outage.
pub(super) struct Outage {
    /// Members that run Group Replication without serving: it is to be stopped first.
    pub stuck: Vec<HostName>,
    /// Members of which it is not known whether they are out, or what they hold; why.
    pub unknown: BTreeMap<HostName, String>,
    /// Of those: the ones that answer, and whose mysqld is on its way up or down.
    pub moving: Vec<HostName>,
    /// What the others hold, applied or received.
    pub held: BTreeMap<HostName, GtidSet>,
    /// Members that were left out by an earlier break-glass: they stay out, and what they hold does not count.
    pub left_out: Vec<HostName>,
    /// Members that were left out before and count again: nothing was written without them.
    pub taken_back: Vec<HostName>,
    /// What is listed as a member and is no name of a host.
    pub nameless: Vec<String>,
    /// A line for each member.
    pub told: Vec<(HostName, String)>,
    /// Members that lead only if no other can: in maintenance, or on their way in or out of the cluster.
    last_choice: Vec<HostName>,
}

impl Outage {
    /// The member that holds everything that any of them holds, the first by name of equals.
    pub fn best(&self) -> Option<&HostName> {
        let all = self.all();
        let whole = |host: &&HostName| self.held.get(*host).is_some_and(|set| set.contains(&all));
        let mut whole: Vec<&HostName> = self.held.keys().filter(whole).collect();
        whole.sort_by_key(|host| (self.last_choice.contains(host), *host));
        whole.first().copied()
    }

    /// What all of them hold together.
    pub fn all(&self) -> GtidSet {
        self.held.values().fold(GtidSet::new(), |all, set| all.union(set))
    }
}

/// Looks at every member but those left out.
pub(super) fn examine(world: &World<'_>, cluster: &Cluster, without: &[HostName]) -> Outage {
    let mut case = Outage {
        stuck: Vec::new(),
        unknown: BTreeMap::new(),
        moving: Vec::new(),
        held: BTreeMap::new(),
        left_out: Vec::new(),
        taken_back: Vec::new(),
        nameless: Vec::new(),
        told: Vec::new(),
        last_choice: Vec::new(),
    };
    let mut before = Vec::new();
    for name in live::everyone(world, cluster) {
        let Ok(host) = name.parse::<HostName>() else {
            case.nameless.push(name);
            continue;
        };
        if without.contains(&host) {
            continue;
        }
        let Some(member) = cluster.members.get(&host) else {
            let why = format!("{host} is listed by a member, and this coordinator does not know it as one");
            case.told.push((host.clone(), why.clone()));
            case.unknown.insert(host, why);
            continue;
        };
        if member.phase != MemberPhase::Member || cluster.hands_off(&host, world.now).is_some() {
            case.last_choice.push(host.clone());
        }
        let left_out = cluster.left_out.contains_key(&host);
        let looked = is_stuck(world, cluster, &host).and_then(|stuck| match holds(world, cluster, &host) {
            // It counts only if it can tell.
            Err(_) if left_out => Ok((stuck, None)),
            held => Ok((stuck, Some(held?))),
        });
        match looked {
            Ok((stuck, held)) => {
                case.told.push((host.clone(), told(stuck, held.as_ref(), left_out)));
                if stuck {
                    case.stuck.push(host.clone());
                }
                if left_out {
                    before.push((host, held));
                } else if let Some(held) = held {
                    case.held.insert(host, held);
                }
            }
            Err(why) => {
                case.told.push((host.clone(), why.clone()));
                let unit = world.certain(&host).map(|seen| seen.observation.mysql.unit);
                if matches!(unit, Some(UnitState::Starting | UnitState::Stopping)) {
                    case.moving.push(host.clone());
                }
                case.unknown.insert(host, why);
            }
        }
    }
    if without.is_empty() && nothing_since(cluster, &case) {
        take_back(world, cluster, &mut case, before);
    } else {
        case.left_out = before.into_iter().map(|(host, _)| host).collect();
    }
    case
}

/// The group has numbered nothing without those that were left out, so what they hold is still the group's: the bootstrap
/// failed, or nobody has written since. Certain only if everybody who may have been in it is asked.
fn nothing_since(cluster: &Cluster, case: &Outage) -> bool {
    let members = cluster
        .left_out
        .iter()
        .filter(|(host, _)| cluster.members.contains_key(*host));
    let mut all = members.map(|(_, left_out)| left_out);
    let Some(first) = all.next() else { return false };
    // Of two that were left out one after the other, each may have used the numbers that the other did.
    all.all(|other| other == first)
        && case.unknown.is_empty()
        && case.nameless.is_empty()
        && !case.held.is_empty()
        && case.held.values().all(|held| first.base.contains(held))
}

/// They count again; one that cannot tell now what it holds counts, too.
fn take_back(world: &World<'_>, cluster: &Cluster, case: &mut Outage, before: Vec<(HostName, Option<GtidSet>)>) {
    for (host, held) in before {
        let seen = world.certain(&host);
        if let Some(held) = held {
            case.held.insert(host.clone(), held);
            case.taken_back.push(host);
        } else if seen.is_some_and(|seen| live::data_known(cluster, &host, seen)) {
            let why = format!(
                "{host} was given up, but nothing was written without it: what it holds counts, and is not known"
            );
            case.unknown.insert(host, why);
        } else {
            case.left_out.push(host);
        }
    }
}

fn told(stuck: bool, held: Option<&GtidSet>, left_out: bool) -> String {
    let what = if stuck {
        "Group Replication gave up there"
    } else {
        "out of the group"
    };
    let holds = held.map_or_else(
        || "what it holds is not known".to_owned(),
        |held| format!("holds {}", recovery::shown(held)),
    );
    let before = if left_out { ", was given up before" } else { "" };
    format!("{what}, {holds}{before}")
}

/// A member is out of the group; whether its Group Replication has still to be stopped. Or why that is not known.
fn is_stuck(world: &World<'_>, cluster: &Cluster, host: &HostName) -> Result<bool, String> {
    let seen = world.certain(host).ok_or_else(|| silent(world, host))?;
    match live::out(world, host) {
        Out::Yes => Ok(false),
        Out::Unknown(why) => Err(why),
        Out::No(why) => {
            let server = seen.observation.mysql.server.as_ref();
            let view = server.and_then(|server| live::view(server, cluster));
            match view.map(|view| view.state) {
                Some(MemberState::Error | MemberState::Offline) => Ok(true),
                _ => Err(why),
            }
        }
    }
}

/// What a member holds, applied or received; or why that is not known.
fn holds(world: &World<'_>, cluster: &Cluster, host: &HostName) -> Result<GtidSet, String> {
    let seen = world.certain(host).ok_or_else(|| silent(world, host))?;
    // A member whose data are gone held something, and nobody knows what: that is not "nothing" (safety rule 2).
    if !live::data_known(cluster, host, seen) {
        return Err(format!(
            "the data of {host} are not there any more: what they held is not known"
        ));
    }
    let (executed, received) = live::holds(seen, "").ok_or_else(|| {
        let unit = match seen.observation.mysql.unit {
            UnitState::Failed => "failed",
            UnitState::Stopped => "was stopped",
            _ => "does not run",
        };
        format!("mysqld on {host} {unit}, so nobody can tell what it holds")
    })?;
    let parse = |text| recovery::set(host, text).map_err(|failure| failure.message);
    Ok(parse(executed)?.union(&parse(received)?))
}

/// Since when nothing is heard, and what was told last.
pub(super) fn silent(world: &World<'_>, host: &HostName) -> String {
    let Some(seen) = world.sight.get(host) else {
        return format!("{host} has not answered since this coordinator leads");
    };
    let last = match live::holds(seen, "") {
        Some((executed, _)) if !executed.is_empty() => match executed.parse::<GtidSet>() {
            Ok(set) => format!(", it held {} then", recovery::shown(&set)),
            Err(_) => String::new(),
        },
        _ => String::new(),
    };
    format!("{host} answered last {} ago{last}", seconds(seen.age_ms))
}
