//! Members that entered past their agent have what they lacked from others: who vouches for what he gave, and who is asked yet.
//!
//! Asked by `heal::unproven` and everything that lets a member in, by `check`, and by `leader::lineages`, which passes on who vouches. Pure; by
//! what agents answered just now alone.

use std::collections::BTreeSet;

use clusterctl_proto::ids::HostName;
use clusterctl_proto::lineage::{LineageId, MemberLineage, Span, Stay};

use super::lineage::{half_copied, is_unmeasured, recorded};
use super::live;
use super::world::{Seen, World};
use crate::model::Cluster;

/// Members that vouch for what they gave to others, whatever has become of them since.
pub(crate) fn stays(world: &World<'_>, cluster: &Cluster) -> Vec<Stay> {
    let stay = |host: &HostName| {
        let seen = world.certain(host)?;
        let record = vouches(cluster, host, seen)?;
        record.stay(address(cluster, host, seen))
    };
    cluster.members.keys().filter_map(stay).collect()
}

/// The record of a member whose word counts.
fn vouches<'a>(cluster: &Cluster, host: &HostName, seen: &'a Seen) -> Option<&'a MemberLineage> {
    let record = recorded(cluster, seen)?;
    let abandoned = record.id == LineageId::origin() && cluster.left_out.contains_key(host);
    (!abandoned && !half_copied(cluster, seen) && !is_unmeasured(cluster, seen)).then_some(record)
}

/// As the others' logs name it. A server that does not answer is named by intent.
fn address(cluster: &Cluster, host: &HostName, seen: &Seen) -> String {
    match &seen.observation.mysql.server {
        Some(server) => format!("{}:{}", server.report_host, server.port),
        None => live::address(cluster, host),
    }
}

/// This member's data are proven but for what its donors gave it, and these are about to vouch for it: each of them answers, its data were the
/// same then, and it is proven or waits for the word of such a one itself.
pub(crate) fn is_pending(world: &World<'_>, cluster: &Cluster, seen: &Seen) -> bool {
    let record = recorded(cluster, seen).filter(|record| record.is_pending());
    record.is_some() && !half_copied(cluster, seen) && donors_are_asked(world, cluster, seen, &mut BTreeSet::new())
}

fn donors_are_asked(world: &World<'_>, cluster: &Cluster, seen: &Seen, on_the_way: &mut BTreeSet<HostName>) -> bool {
    let Some(record) = recorded(cluster, seen) else {
        return false;
    };
    let mut is_asked = |(donor, given): (&String, &Span)| {
        let hosts = cluster
            .members
            .keys()
            .filter_map(|host| Some((host, world.certain(host)?)));
        let named = |(host, seen): &(&HostName, &Seen)| address(cluster, host, seen).eq_ignore_ascii_case(donor);
        let Some((host, seen)) = hosts.into_iter().find(named) else {
            return false;
        };
        let Some(theirs) = vouches(cluster, host, seen).filter(|theirs| theirs.is_verified()) else {
            return false;
        };
        let same = theirs.id.prefix() == record.id.prefix() && theirs.span.is_none_or(|span| span.since <= given.since);
        same && (theirs.donors.is_empty()
            || !on_the_way.insert(host.clone())
            || donors_are_asked(world, cluster, seen, on_the_way))
    };
    record.donors.iter().all(&mut is_asked)
}

/// Who gave this member what it lacked when it entered past its agent, and has not vouched for it.
pub(crate) fn donors(cluster: &Cluster, seen: &Seen) -> Vec<String> {
    let record = recorded(cluster, seen).into_iter();
    record.flat_map(|record| record.donors.keys().cloned()).collect()
}
