//! Members that entered past their agent have what they lacked from others, and a copy has all from its donor: who vouches for what he gave,
//! and who is asked yet.
//!
//! A member's data are proven, or it is not known yet (its donors are asked), or nobody will vouch for them. Silence is no answer: the agent
//! of a donor that was restarted tells in a moment. Asked by `heal::unproven` and everything that lets a member in, by `check`, and by
//! `leader::lineages`, which passes on who vouches. Pure; by what agents answered just now alone.

use std::collections::BTreeSet;

use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::{LineageId, MemberLineage, Span, Stay};

use super::lineage::{by_view, half_copied, holds_unvouched_copy, is_unmeasured, recorded};
use super::live::{self, Out};
use super::world::{Seen, World};
use crate::model::Cluster;

/// Members that vouch for what they gave to others, whatever has become of them since.
pub(crate) fn stays(world: &World<'_>, cluster: &Cluster) -> Vec<Stay> {
    let hosts = cluster.members.keys();
    hosts
        .filter_map(|host| Some(stays_of(cluster, host, world.certain(host)?)))
        .flatten()
        .collect()
}

fn stays_of(cluster: &Cluster, host: &HostName, seen: &Seen) -> Vec<Stay> {
    let Some(record) = recorded(cluster, seen).filter(|_| !is_unmeasured(cluster, seen)) else {
        return Vec::new();
    };
    let address = address(cluster, host, Some(seen));
    let mut stays = if half_copied(cluster, seen) {
        let of_before = MemberLineage {
            span: None,
            ..record.clone()
        };
        of_before.stays(&address)
    } else {
        record.stays(&address)
    };
    stays.retain(|stay| !is_abandoned(cluster, host, &stay.id));
    stays
}

/// Data of the release before, which recorded no lineages, that an operator abandoned.
fn is_abandoned(cluster: &Cluster, host: &HostName, id: &LineageId) -> bool {
    *id == LineageId::origin() && cluster.left_out.contains_key(host)
}

/// As the others' logs name it. A server that does not answer is named by intent.
fn address(cluster: &Cluster, host: &HostName, seen: Option<&Seen>) -> String {
    match seen.and_then(|seen| seen.observation.mysql.server.as_ref()) {
        Some(server) => format!("{}:{}", server.report_host, server.port),
        None => live::address(cluster, host),
    }
}

fn member_at<'a>(world: &World<'_>, cluster: &'a Cluster, donor: &str) -> Option<&'a HostName> {
    let named = |host: &&HostName| address(cluster, host, world.sight.get(host)).eq_ignore_ascii_case(donor);
    cluster.members.keys().find(named)
}

/// This member's data are proven but for what its donors gave it, and of none of these it is certain that he will not vouch for it.
pub(crate) fn is_pending(world: &World<'_>, cluster: &Cluster, seen: &Seen) -> bool {
    silent_donors(world, cluster, seen).is_some()
}

/// The same: the hosts at which the asking stops, since their agents do not answer. Empty: all do, and it takes a moment. None: nobody is asked.
pub(crate) fn silent_donors<'a>(
    world: &World<'_>,
    cluster: &'a Cluster,
    seen: &Seen,
) -> Option<BTreeSet<&'a HostName>> {
    let whole = |record: &&MemberLineage| record.copy_of.is_some() || !half_copied(cluster, seen);
    let record = recorded(cluster, seen).filter(|record| record.is_pending());
    let record = record.filter(whole)?;
    let mut asked = Asked {
        world,
        cluster,
        silent: BTreeSet::new(),
        on_the_way: BTreeSet::new(),
    };
    (!asked.any_will_not(record, u64::MAX)).then_some(asked.silent)
}

/// This server holds a complete copy, and nobody has told yet whether its donor vouches for it.
pub(crate) fn copy_waits(world: &World<'_>, cluster: &Cluster, seen: &Seen) -> bool {
    holds_unvouched_copy(cluster, seen) && is_pending(world, cluster, seen)
}

/// These data are not proven, and may be so yet: by the word of their donors, or by what their agent records at its next look. `into`: the
/// lineage that they are to be of.
pub(crate) fn is_undecided(world: &World<'_>, cluster: &Cluster, seen: &Seen, into: &LineageId) -> bool {
    if is_unmeasured(cluster, seen) {
        return by_view(cluster, seen).is_some_and(|id| id.prefix() == into.prefix());
    }
    let unproven = recorded(cluster, seen).filter(|record| !record.is_verified() && !half_copied(cluster, seen));
    match unproven {
        Some(record) => record.may_be_proven(&cluster.lineages),
        None => is_pending(world, cluster, seen),
    }
}

/// Whether donors vouch, asked along the way from one to the next.
struct Asked<'w, 'a> {
    world: &'w World<'w>,
    cluster: &'a Cluster,
    /// Whose agents do not answer.
    silent: BTreeSet<&'a HostName>,
    on_the_way: BTreeSet<HostName>,
}

impl Asked<'_, '_> {
    /// One of those who gave this member something until this view will not vouch for it.
    fn any_will_not(&mut self, record: &MemberLineage, until: u64) -> bool {
        let mut gave = record.donors.iter().filter(|(_, given)| given.since <= until);
        gave.any(|(donor, given)| self.will_not(record, donor, *given))
    }

    fn will_not(&mut self, record: &MemberLineage, donor: &str, given: Span) -> bool {
        let (world, cluster) = (self.world, self.cluster);
        let Some(host) = member_at(world, cluster, donor) else {
            return true;
        };
        let Some(seen) = world.certain(host) else {
            self.silent.insert(host);
            return false;
        };
        let mut stays = stays_of(cluster, host, seen).into_iter();
        if stays.any(|stay| record.accepts(&stay, donor, given)) || is_unmeasured(cluster, seen) {
            return false;
        }
        let Some(theirs) = recorded(cluster, seen) else {
            // Those of another server are on record, or none yet.
            return seen.observation.ledger.lineages.contains_key(&cluster.name);
        };
        if half_copied(cluster, seen) || is_abandoned(cluster, host, &theirs.id) {
            return true;
        }
        // One that was not told of a forced membership yet is of the time before it.
        let copied_as = record.copy_of.as_ref().map_or(0, |copy| copy.id.forced_at());
        let forced = theirs.id.forced_at() > copied_as && record.is_copy_of_another(&theirs.id, donor, given);
        let replaced = theirs.span.is_some_and(|span| span.since > given.since);
        if forced || replaced || theirs.id.prefix() != record.id.prefix() {
            return true;
        }
        if !theirs.is_verified() {
            return !theirs.may_be_proven(&cluster.lineages);
        }
        self.on_the_way.insert(host.clone()) && self.any_will_not(theirs, given.until)
    }
}

/// Who gave this member what it has, and has not vouched for it; and why not, where that is known.
pub(crate) fn donors(world: &World<'_>, cluster: &Cluster, seen: &Seen) -> Vec<String> {
    let told = |record, (donor, given): (&String, &Span)| match why_not(world, cluster, record, donor, *given) {
        Some(why) => format!("{donor} ({why})"),
        None => donor.clone(),
    };
    let record = recorded(cluster, seen).into_iter();
    let donors = record.flat_map(|record| record.donors.iter().map(move |donor| told(record, donor)));
    donors.collect()
}

/// One of its donors does not vouch by what is known now: it takes longer than until the next question.
pub(crate) fn lacks_a_word(world: &World<'_>, cluster: &Cluster, seen: &Seen) -> bool {
    recorded(cluster, seen).is_some_and(|record| {
        let mut donors = record.donors.iter();
        donors.any(|(donor, given)| why_not(world, cluster, record, donor, *given).is_some())
    })
}

/// Why this donor has not vouched for what it gave. None: it does, and whoever has it is told at the next question.
fn why_not(world: &World<'_>, cluster: &Cluster, record: &MemberLineage, donor: &str, given: Span) -> Option<String> {
    let Some(host) = member_at(world, cluster, donor) else {
        return Some(format!("no member of {} any more", cluster.name));
    };
    let Some(seen) = world.certain(host) else {
        return Some("its agent does not answer".to_owned());
    };
    let mut stays = stays_of(cluster, host, seen).into_iter();
    if stays.any(|stay| record.accepts(&stay, donor, given)) {
        return None;
    }
    let why = match recorded(cluster, seen) {
        None => "its agent has no record of its data",
        Some(_) if is_unmeasured(cluster, seen) => "its agent has not recorded yet which group it is in",
        Some(theirs) if !theirs.is_verified() => "its own data are unproven",
        Some(theirs) if theirs.donors.values().any(|got| got.since <= given.until) => {
            let asked: Vec<&str> = theirs.donors.keys().map(String::as_str).collect();
            return Some(format!("it waits for the word of {} itself", asked.join(" and ")));
        }
        Some(theirs) => match theirs.span {
            None => "its agent cannot tell now for which of its data it vouches",
            Some(span) if span.until < given.until && live::out(world, host) == Out::Yes => {
                "it is out of the group, and vouches only for what it held before"
            }
            Some(span) if span.until < given.until => "it vouches only for what it held before",
            Some(_) => "it vouches only for other data",
        },
    };
    Some(why.to_owned())
}
