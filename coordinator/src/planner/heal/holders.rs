//! After an outage of all members: who is certainly out, what each holds, and who has everything (safety rules 1, 2, 4).
//!
//! Asked by `outage` for what is wrong, by `recover` for the plan. Pure; it never guesses: what is not known is told as that.

use std::collections::BTreeMap;

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::{LineageId, Lineages, Measure, Shared};
use clusterctl_proto::observe::{MemberState, UnitState};

use crate::model::{Cluster, MemberPhase};
use crate::planner::context::seconds;
use crate::planner::lineage::{self, Known};
use crate::planner::live::{self, Out};
use crate::planner::recovery;
use crate::planner::vouch;
use crate::planner::world::{Seen, World};

/// What one member holds, and in which lineage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    /// The lineage of its data.
    pub lineage: LineageId,
    /// Applied or received.
    pub set: GtidSet,
}

/// What is known of an outage.
pub(super) struct Outage {
    /// Members that run Group Replication without serving: it is to be stopped first.
    pub stuck: Vec<HostName>,
    /// Members of which it is not known whether they are out, or what they hold; why.
    pub unknown: BTreeMap<HostName, String>,
    /// Of those: the ones that answer, and whose mysqld is on its way up or down.
    pub moving: Vec<HostName>,
    /// What the others hold, applied or received.
    pub held: BTreeMap<HostName, Held>,
    /// Members that were abandoned, by a forced recovery or by a bootstrap by hand without them: what they hold beyond the group does
    /// not count.
    pub behind: Vec<HostName>,
    /// Of those that answer: what they hold of the history that the cluster went on in. That counts: whoever leads holds it, unless these
    /// members are given up by name.
    pub good_part: BTreeMap<HostName, Held>,
    /// Members that were abandoned and count again: nothing was written without them.
    pub taken_back: Vec<HostName>,
    /// What is listed as a member and is no name of a host.
    pub nameless: Vec<String>,
    /// No member shows its copy of the metadata: members that other tools have added are not known.
    pub unlisted: bool,
    /// A line for each member.
    pub told: Vec<(HostName, String)>,
    /// Members that lead only if no other can: on their way in or out of the cluster.
    last_choice: Vec<HostName>,
    /// Members that an operator wants left alone: they lead only if none of the others can.
    left_alone: Vec<HostName>,
    /// Members whose data were being replaced by a copy that is not known to be complete: none of them leads.
    pub half_copied: Vec<HostName>,
    /// Members that hold a complete copy, and nobody has vouched for it; who is asked. None of them leads either.
    pub unvouched: BTreeMap<HostName, String>,
    lineages: Lineages,
}

impl Outage {
    /// The member that holds everything that any of them holds, the first by name of equals.
    pub fn best(&self) -> Option<&HostName> {
        let proven = |host: &&HostName| !self.half_copied.contains(*host) && !self.unvouched.contains_key(*host);
        let mut whole: Vec<&HostName> = self
            .held
            .keys()
            .filter(proven)
            .filter(|host| self.has_all(host))
            .collect();
        whole.sort_by_key(|host| (self.left_alone.contains(host), self.last_choice.contains(host), *host));
        whole.first().copied()
    }

    /// By the numbers it holds all that any of them holds.
    fn has_all(&self, host: &HostName) -> bool {
        let candidate = &self.held[host];
        let mut all = self.held.values().chain(self.good_part.values());
        all.all(|other| inside(&self.lineages, other, candidate))
    }

    /// The histories do not differ: somebody has all by its numbers, and that is a copy which does not count.
    pub fn only_copies(&self) -> bool {
        self.best().is_none() && self.held.keys().any(|host| self.has_all(host))
    }

    /// Why copies do not count.
    pub fn copies_told(&self) -> Vec<String> {
        let half = self
            .half_copied
            .iter()
            .map(|host| format!("a copy was replacing the data of {host} and is not known to be complete"));
        let unvouched = self.unvouched.iter().map(|(host, donors)| {
            format!("{host} holds a complete copy of the data of {donors}, and nobody has vouched for it")
        });
        half.chain(unvouched).collect()
    }

    /// What one member holds beyond another; none: it cannot be told.
    pub fn beyond(&self, one: &Held, other: &Held) -> Option<GtidSet> {
        match self
            .lineages
            .measure(&one.lineage, &one.set, &other.lineage, &other.set)
        {
            Measure::Inside => Some(GtidSet::new()),
            Measure::Beyond(more) => Some(more),
            Measure::Unknown => None,
        }
    }

    /// Two members of which it cannot be told whether one holds what the other does: where their histories part is not recorded.
    pub fn unmeasured(&self) -> Option<(&HostName, &HostName)> {
        let pairs = self
            .held
            .iter()
            .flat_map(|one| self.held.iter().map(move |other| (one, other)));
        let mut unmeasured = pairs
            .filter(|((_, one), (_, other))| self.beyond(one, other).is_none() && !inside(&self.lineages, other, one));
        unmeasured.next().map(|((one, _), (other, _))| (one, other))
    }
}

fn inside(lineages: &Lineages, one: &Held, other: &Held) -> bool {
    lineages.measure(&one.lineage, &one.set, &other.lineage, &other.set) == Measure::Inside
}

/// Looks at every member but those that are abandoned now.
pub(super) fn examine(world: &World<'_>, cluster: &Cluster, without: &[HostName]) -> Outage {
    let mut case = Outage {
        stuck: Vec::new(),
        unknown: BTreeMap::new(),
        moving: Vec::new(),
        held: BTreeMap::new(),
        behind: Vec::new(),
        good_part: BTreeMap::new(),
        taken_back: Vec::new(),
        nameless: Vec::new(),
        unlisted: !live::metadata_known(world, cluster),
        told: Vec::new(),
        last_choice: Vec::new(),
        left_alone: Vec::new(),
        half_copied: Vec::new(),
        unvouched: BTreeMap::new(),
        lineages: cluster.lineages.clone(),
    };
    // Of members that were abandoned: what they hold, if that can be told.
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
        if member.phase != MemberPhase::Member {
            case.last_choice.push(host.clone());
        }
        if cluster.hands_off(&host, world.now).is_some() {
            case.left_alone.push(host.clone());
        }
        match world.certain(&host) {
            Some(seen) if lineage::holds_unvouched_copy(cluster, seen) => {
                let donors = vouch::donors(world, cluster, seen).join(" and ");
                case.unvouched.insert(host.clone(), donors);
            }
            Some(seen) if lineage::half_copied(cluster, seen) => case.half_copied.push(host.clone()),
            _ => {}
        }
        let looked = running(world, cluster, &host).and_then(|running| {
            let held = holds(world, cluster, &host);
            let behind = is_behind(world, cluster, &host, held.as_ref().ok());
            match held {
                // It counts only if it can tell.
                Err(_) if behind => Ok((running, behind, None)),
                held => Ok((running, behind, Some(held?))),
            }
        });
        match looked {
            Ok((running, behind, held)) => {
                case.told
                    .push((host.clone(), told(running, held.as_ref().map(|held| &held.set), behind)));
                if running != Running::Not {
                    case.stuck.push(host.clone());
                }
                if behind {
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
    count_again(world, cluster, &mut case, before, without.is_empty());
    case
}

/// A member whose history ended where the cluster's went on without it: it was abandoned, or the group was bootstrapped by hand without
/// it. One whose data are all in the cluster's history is not: nothing of it is missing there.
fn is_behind(world: &World<'_>, cluster: &Cluster, host: &HostName, held: Option<&Held>) -> bool {
    let Some(seen) = world.certain(host) else { return false };
    if cluster.lineages.is_empty() {
        return cluster.left_out.contains_key(host);
    }
    let (Known::Of(id), Some(last)) = (lineage::of_member(cluster, seen), &cluster.lineage) else {
        return false;
    };
    let lineages = &cluster.lineages;
    if lineages.descends(last, &id) {
        return false;
    }
    // A side branch counts, unless somebody said that its members do not: two histories are for a person to judge.
    let named = lineage::is_abandoned(lineages, &id, last, host);
    let went_on = named || lineages.descends(&id, last) && !lineage::was_in_later(cluster, seen, &id, last);
    let legacy = cluster.left_out.contains_key(host) && id == LineageId::origin();
    match held {
        // What nobody can tell is given up only where somebody has said so.
        None => went_on && (named || legacy),
        Some(held) => went_on && (held.lineage != *last || legacy),
    }
}

/// Members that were abandoned count again if nothing was written without them, as everyone who may have been in the group certainly
/// shows: then the bootstrap failed, or nobody has written since.
fn count_again(
    world: &World<'_>,
    cluster: &Cluster,
    case: &mut Outage,
    before: Vec<(HostName, Option<Held>)>,
    everybody: bool,
) {
    let all_told = everybody && case.unknown.is_empty() && case.nameless.is_empty() && !case.held.is_empty();
    // Without anybody who went on, nobody went on without them.
    let goes_on = |held: &Held| {
        let last = cluster.lineage.as_ref();
        cluster.lineages.is_empty() || last.is_none_or(|last| cluster.lineages.descends(last, &held.lineage))
    };
    let went_on = cluster.lineages.is_empty() || cluster.lineage.is_none() || case.held.values().any(goes_on);
    // Nor is anybody behind a history that would not go on: who holds everything else is of another one.
    let beside = case.best().is_some_and(|best| !goes_on(&case.held[best]));
    let mut back = Vec::new();
    for (host, held) in before {
        let seen = world.certain(&host);
        let nothing_since =
            !went_on || beside || all_told && seen.is_some_and(|seen| nothing_since(cluster, &host, seen, case));
        match held {
            Some(held) if nothing_since => back.push((host, held)),
            None if nothing_since && seen.is_some_and(|seen| live::data_known(world, cluster, &host, seen)) => {
                let why = format!(
                    "{host} was abandoned, but nothing was written without it: what it holds counts, and is not known"
                );
                case.unknown.insert(host, why);
            }
            held => {
                let part = held.and_then(|held| good_part(cluster, &held));
                case.good_part.extend(part.map(|part| (host.clone(), part)));
                case.behind.push(host);
            }
        }
    }
    if back.is_empty() {
        return;
    }
    case.taken_back = back.iter().map(|(host, _)| host.clone()).collect();
    case.held.extend(back);
    // Two that were abandoned at different times may contradict each other: then it stays as it was decided. Of one that nobody has
    // spoken about a person decides.
    if case.best().is_none() && !beside {
        let decided = |host: &HostName| by_word(world, cluster, host);
        let (behind, asked): (Vec<HostName>, Vec<HostName>) =
            std::mem::take(&mut case.taken_back).into_iter().partition(decided);
        case.held.retain(|host, _| !behind.contains(host));
        case.behind.extend(behind);
        case.taken_back = asked;
    }
}

/// What is held in another lineage, as far as it is in the one in which the cluster went on. Where nothing is known of that, nothing.
fn good_part(cluster: &Cluster, held: &Held) -> Option<Held> {
    let last = cluster.lineage.as_ref()?;
    let set = match cluster.lineages.shared(&held.lineage, last) {
        Shared::Base(base) => held.set.intersect(&base),
        Shared::Same | Shared::Unknown => return None,
    };
    let lineage = last.clone();
    (!set.is_empty()).then_some(Held { lineage, set })
}

/// An operator has said that this member's data do not count.
fn by_word(world: &World<'_>, cluster: &Cluster, host: &HostName) -> bool {
    if cluster.lineages.is_empty() {
        return cluster.left_out.contains_key(host);
    }
    let known = world.certain(host).map(|seen| lineage::of_member(cluster, seen));
    match (known, &cluster.lineage) {
        (Some(Known::Of(id)), Some(last)) => {
            let legacy = cluster.left_out.contains_key(host) && id == LineageId::origin();
            legacy || lineage::is_abandoned(&cluster.lineages, &id, last, host)
        }
        _ => false,
    }
}

/// The group has numbered nothing beyond what it shares with this member's lineage.
fn nothing_since(cluster: &Cluster, host: &HostName, seen: &Seen, case: &Outage) -> bool {
    if cluster.lineages.is_empty() {
        let base = cluster.left_out.get(host).map(|left_out| &left_out.base);
        return base.is_some_and(|base| case.held.values().all(|held| base.contains(&held.set)));
    }
    let Known::Of(id) = lineage::of_member(cluster, seen) else {
        return false;
    };
    case.held
        .values()
        .all(|held| match cluster.lineages.shared(&held.lineage, &id) {
            Shared::Same => false,
            Shared::Base(base) => base.contains(&held.set),
            Shared::Unknown => false,
        })
}

fn told(running: Running, held: Option<&GtidSet>, behind: bool) -> String {
    let what = match running {
        Running::Not => "out of the group",
        Running::GaveUp => "Group Replication gave up there",
        Running::Halted => "its group agrees on nothing any more and commits nothing, though it shows itself ONLINE",
    };
    let holds = held.map_or_else(
        || "what it holds is not known".to_owned(),
        |held| format!("holds {}", recovery::shown(held)),
    );
    let before = if behind { ", was abandoned before" } else { "" };
    format!("{what}, {holds}{before}")
}

/// What Group Replication still does on a member that is out of service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Running {
    /// It does not run.
    Not,
    /// In ERROR, or it tries to come back: it has to be stopped.
    GaveUp,
    /// Its group will never agree on anything again, whatever its view shows: it has to be stopped.
    Halted,
}

/// A member is out of the group, or serves nobody there; what its Group Replication still does. Or why that is not known.
fn running(world: &World<'_>, cluster: &Cluster, host: &HostName) -> Result<Running, String> {
    let seen = world.certain(host).ok_or_else(|| silent(world, host))?;
    match live::out(world, host) {
        Out::Yes => Ok(Running::Not),
        Out::Unknown(why) => Err(why),
        Out::No(why) => {
            let server = seen.observation.mysql.server.as_ref();
            let view = server.and_then(|server| live::view(server, cluster));
            match view {
                Some(view) if view.has_halted() => Ok(Running::Halted),
                Some(view) if matches!(view.state, MemberState::Error | MemberState::Offline) => Ok(Running::GaveUp),
                _ => Err(why),
            }
        }
    }
}

/// What a member holds, applied or received, and in which lineage; or why that is not known.
pub(super) fn holds(world: &World<'_>, cluster: &Cluster, host: &HostName) -> Result<Held, String> {
    let seen = world.certain(host).ok_or_else(|| silent(world, host))?;
    // A member whose data are gone held something, and nobody knows what: that is not "nothing" (safety rule 2).
    if !live::data_known(world, cluster, host, seen) {
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
    let set = parse(executed)?.union(&parse(received)?);
    let lineage = match lineage::of_member(cluster, seen) {
        Known::Of(id) => lineage::as_of_last(cluster, id, &set),
        // Nothing stands under a number that could be another's.
        Known::No | Known::Unverified(_) if set.is_empty() => LineageId::origin(),
        Known::Unverified(id) if id != LineageId::origin() => {
            return Err(format!(
                "{host} entered lineage {id} of the group past its agent: its data may be others under the same numbers"
            ));
        }
        Known::No | Known::Unverified(_) => {
            return Err(format!(
                "the agent of {host} has no record of which bootstrap its data descend from"
            ));
        }
    };
    Ok(Held { lineage, set })
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
