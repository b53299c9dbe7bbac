//! Lineage notices: the agents of members that are in the group tell the agents of those that are out where the group's lineage branched
//! off. Who reaches a coordinator does not need them; who leaves them does not know whether the other one reaches one.
//!
//! A member that is out measures what it holds against the tree of lineages. The coordinator sends that tree; a lineage that a person began
//! while no coordinator ran is recorded by the agent of the bootstrapped member alone. That agent, and each that has learned it, leaves
//! the record at the mysqld of every member that is not in the view (`mysql/notice.rs`). It is the very record that the coordinator
//! would pass on, so nothing can contradict it later. The receiver guesses nothing: a set of transactions that was seen at another
//! member while it was out does not tell of which lineage it is, so it permits nothing. Nor does the group's view id: it stays where a
//! person has forced a membership. Without a notice nobody who holds anything comes back alone.
//! And not before the agent of every ONLINE member has left one: whose data are unproven leaves none, and could be the donor.
//! A member that entered past its agent reads from the notices, too, whether whoever gave it what it lacked vouches for that.
//!
//! Called by the keeper. A notice permits nothing either: it completes the tree, and `steps/history.rs` measures by it before any START.

use std::collections::BTreeMap;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::{ClusterName, ServerUuid};
use clusterctl_proto::lineage::{LineageId, Lineages, Shared, Stay};
use clusterctl_proto::observe::{DataDirectory, MemberState, MysqlFacts, ServerFacts};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::act::Tools;
use super::decide::Facts;
use crate::lineage::Record;
use crate::membership::Membership;
use crate::mysql::error::MysqlError;
use crate::mysql::peer::Primary;
use crate::mysql::{Db, notice};
use crate::steps::history;
use crate::steps::join_group::errant;

/// How long a notice can be read before it is left anew. Longer than a receiver waits between its looks.
const HOLD: Duration = Duration::from_secs(10);
/// Between two tries to leave one at a member that does not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a receiver waits for one that it needs: longer than the pause between two.
const WAIT: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(500);

const UNTOLD: &str = "no agent of a member in the group has told where the group's lineage branched off";

/// What is told, as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Notice {
    /// Of which cluster.
    cluster: ClusterName,
    /// The lineage that the sender is in.
    group: LineageId,
    /// This lineage and its ancestors.
    lineages: Lineages,
    /// Whose data these are. None: an agent of a release before left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<ServerUuid>,
    /// What the sender vouches for. None: it cannot tell since when it is in the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stay: Option<Stay>,
    /// And what it vouches for of the time before: in other lineages, or of data that were replaced since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<Stay>,
}

/// The notice to leave now, and `host:port` of the members to leave it at; none: nothing is to be told.
pub fn due(facts: &Facts<'_>, record: &Record) -> Option<(Notice, Vec<String>)> {
    // Also while an operator wants this host left alone: nothing is done to it.
    let (server, membership) = (facts.server.server.as_ref()?, facts.membership?);
    let notice = of_group(facts.server, membership, record)?;
    let missing = missing(server, membership, facts.new_view);
    (!missing.is_empty()).then_some((notice, missing))
}

/// What this agent knows for certain of the group that its server is in: its own data were measured and are no half of a copy, and the tree
/// reaches from there.
fn of_group(seen: &MysqlFacts, membership: &Membership, record: &Record) -> Option<Notice> {
    let server = seen.server.as_ref()?;
    let view = server.group.as_ref()?;
    let ours = matches!(&seen.data, DataDirectory::Ours { cluster: Some(cluster) } if *cluster == membership.cluster);
    let name = membership.group.group_name.to_string();
    if !ours || view.state != MemberState::Online || !server.group_name.eq_ignore_ascii_case(&name) {
        return None;
    }
    // A person may start a server whose copy was interrupted: what it lacks nobody knows, and a notice would make it a donor.
    if record.half_copied(server.server_uuid) {
        return None;
    }
    let (by_view, _) = LineageId::of_view(&view.view_id)?;
    let own = record.verified(server.server_uuid)?;
    let address = format!("{}:{}", server.report_host, server.port);
    let member = record.member.as_ref();
    let stay = member.and_then(|member| member.stay(address.clone()));
    let mut before: Vec<Stay> = member.map(|member| member.stays(&address)).unwrap_or_default();
    before.retain(|told| Some(told) != stay.as_ref());
    (own.prefix() == by_view.prefix() && record.known.contains(own)).then(|| Notice {
        cluster: membership.cluster.clone(),
        group: own.clone(),
        lineages: record.known.ancestry(own),
        sender: Some(server.server_uuid),
        stay,
        before,
    })
}

/// Members that are not in the server's view, as the last step and the metadata name them. All of them, where this view is new: one that
/// entered with it is to know that its donor vouches for what it gave, also where no coordinator tells it.
fn missing(server: &ServerFacts, membership: &Membership, new_view: bool) -> Vec<String> {
    let mut all = membership.seeds();
    if let Some(metadata) = &server.metadata {
        all.extend(metadata.instances.iter().map(|instance| instance.address.clone()));
    }
    let own = format!("{}:{}", server.report_host, server.port);
    let rows = server.group.iter().flat_map(|view| &view.members);
    // One that is not reached may have lost its mysqld, and be expelled in a moment; one that recovers may get another donor.
    let rows = rows.filter(|row| !new_view && !matches!(row.state, MemberState::Unreachable | MemberState::Recovering));
    let mut inside: Vec<String> = rows.map(|row| format!("{}:{}", row.host, row.port)).collect();
    inside.push(own);
    all.retain(|address| !inside.iter().any(|row| row.eq_ignore_ascii_case(address)));
    all.sort();
    all.dedup();
    all
}

/// Leaves the notice at these members, side by side, and holds it there for a while. One that does not answer is asked again until then.
pub async fn leave(tools: &Tools, user: &str, notice: &Notice, addresses: &[String]) {
    let text = match serde_json::to_string(notice) {
        Ok(text) if text.len() <= notice::LONGEST => text,
        Ok(text) => return tracing::warn!(bytes = text.len(), "a lineage notice is too long to be left"),
        Err(error) => return tracing::warn!(%error, "a lineage notice cannot be written as JSON"),
    };
    let (servers, tls_dir, text) = (&*tools.servers, &tools.config.mysql.tls_dir, text.as_str());
    let end = Instant::now() + HOLD;
    join_all(addresses.iter().map(|address| async move {
        loop {
            match notice::leave(servers, (address, user), tls_dir, text).await {
                Ok(db) => {
                    tracing::debug!(address, lineage = %notice.group, "left a lineage notice");
                    tokio::time::sleep_until(end).await;
                    return db.close().await;
                }
                Err(error) => tracing::debug!(address, %error, "no lineage notice was left"),
            }
            if Instant::now() + AGAIN >= end {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }))
    .await;
}

/// What notices tell of the group that lives.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Told {
    /// The lineage that it is in; none: no notice is of it.
    pub group: Option<LineageId>,
    /// Where that branched off.
    pub lineages: Lineages,
    /// Members whose agents tell that their data are that lineage's.
    pub proven: BTreeMap<ServerUuid, LineageId>,
}

/// What the notices at the local server tell of the lineage of a group that lives, whose primary has just answered. Waits a moment for
/// one by which this agent can place the group's lineage; a failure where none comes: then nothing may be started.
pub async fn told(tools: &Tools, cluster: &ClusterName, primary: &Primary, db: &mut Db) -> Result<Told, Failure> {
    let (uuid, held) = (history::server_uuid(db).await?, errant::held(db).await?);
    let end = Instant::now() + WAIT;
    loop {
        let texts = match notice::left(db).await {
            Ok(texts) => texts,
            Err(error) => {
                tracing::debug!(%error, "lineage notices cannot be read");
                Vec::new()
            }
        };
        let record = tools.ledger.lineage(cluster)?;
        let told = usable(&texts, cluster, &primary.view_id, &record, uuid);
        let placed = placed(&record, uuid, &held, &told, &primary.view_id).map_err(|why| unknown(why, primary));
        let found = placed.and_then(|()| donors(&record, (uuid, &held), &told, primary));
        match found {
            Ok(()) => return Ok(told),
            Err(failure) if Instant::now() >= end => return Err(failure),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// What the senders of the notices at the local server vouch for.
pub async fn stays(tools: &Tools, cluster: &ClusterName) -> Result<Vec<Stay>, MysqlError> {
    let mut db = Db::local(&*tools.servers, &tools.config.mysql).await?;
    let texts = notice::left(&mut db).await;
    db.close().await;
    Ok(stays_in(&texts?, cluster))
}

fn stays_in(texts: &[String], cluster: &ClusterName) -> Vec<Stay> {
    let notices = texts
        .iter()
        .filter_map(|text| serde_json::from_str::<Notice>(text).ok());
    let of_it = notices.filter(|notice| notice.cluster == *cluster);
    of_it
        .flat_map(|notice| notice.before.into_iter().chain(notice.stay))
        .collect()
}

/// What these notices tell, as far as they are of this group. Nothing is taken by a server whose own data have no certain lineage: all
/// that a release before recorded is one lineage by name only, members that were abandoned in its time included.
fn usable(texts: &[String], cluster: &ClusterName, view_id: &str, record: &Record, uuid: ServerUuid) -> Told {
    let mut all = Told::default();
    let Some((group, counter)) = LineageId::of_view(view_id).filter(|_| record.verified(uuid).is_some()) else {
        return all;
    };
    // Which data a release before abandoned, only the coordinator knows.
    let of_before = |lineages: &Lineages| {
        lineages
            .iter()
            .any(|(id, branch)| branch.parent == Some(LineageId::origin()) && !record.known.contains(id))
    };
    for text in texts {
        let notice = match serde_json::from_str::<Notice>(text) {
            Ok(notice) => notice,
            Err(error) => {
                tracing::debug!(%error, "ignored a lineage notice that cannot be read");
                continue;
            }
        };
        let told = notice.lineages.ancestry(&notice.group);
        let of_it = notice.group.prefix() == group.prefix() && notice.group.forced_at() <= counter;
        if notice.cluster == *cluster && of_it && !of_before(&told) {
            all.lineages.merge(&told);
            all.proven
                .extend(notice.sender.map(|sender| (sender, notice.group.clone())));
            // Who has not heard of a forced membership yet tells of the time before.
            let newest = all.group.take().into_iter().chain([notice.group]);
            all.group = newest.max_by_key(LineageId::forced_at);
        }
    }
    all
}

/// Whether an agent of the group tells what its lineage shares with this server's; else why that is not known. Data without a certain
/// lineage, and a view that is not told, are refused later.
fn placed(record: &Record, uuid: ServerUuid, held: &GtidSet, told: &Told, view_id: &str) -> Result<(), &'static str> {
    let own = record.verified(uuid).filter(|_| !held.is_empty());
    let (Some(own), Some(_)) = (own, LineageId::of_view(view_id)) else {
        return Ok(());
    };
    // The view id alone may hide a forced membership, also of the lineage that this server is of.
    let group = told.group.as_ref().ok_or(UNTOLD)?;
    let mut known = record.known.clone();
    known.merge(&told.lineages);
    match known.shared(own, group) {
        Shared::Same => Ok(()),
        Shared::Base(base) if !base.is_empty() => Ok(()),
        Shared::Base(_) => Err("nobody recorded what the group certainly had when its lineage branched off"),
        Shared::Unknown => Err(UNTOLD),
    }
}

/// Every member that is ONLINE has its data proven: Group Replication picks the donor among them (manual, "Distributed Recovery"), and
/// nobody can tell it to spare one. A server without a certain lineage is refused later.
fn donors(
    record: &Record,
    (uuid, held): (ServerUuid, &GtidSet),
    told: &Told,
    primary: &Primary,
) -> Result<(), Failure> {
    // Who tells of the time before a forced membership has not gone through it by its own word. The primary may still see this server.
    let by_word = |member: &ServerUuid| told.group.is_some() && told.proven.get(member) == told.group.as_ref();
    let is_proven = |member: &ServerUuid| *member == uuid || by_word(member);
    let untold = primary.online.iter().filter(|member| !is_proven(member));
    let untold: Vec<String> = untold.map(ToString::to_string).collect();
    // Data without a certain lineage are refused later; but nothing is anybody's.
    if untold.is_empty() || record.verified(uuid).is_none() && !held.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(
        "unproven_donor",
        "a member of the group could give this server what it lacks, and its agent does not tell that its data are the group's: nothing was \
         started",
    )
    .fact(format!("server_uuid: {}", untold.join(", ")))
    .fact(format!("the group's view: {}; its primary: {}", primary.view_id, primary.address))
    .hint(
        "check on the host of that member whether its agent runs and is of this release: systemctl status clusterctl-agent, \
         clusterctl-agent --version; or start a coordinator: systemctl start clusterctl-coordinator",
    ))
}

fn unknown(why: &str, primary: &Primary) -> Failure {
    let address = &primary.address;
    Failure::refused(
        "history_unknown",
        "this server holds transactions, and nothing proves that they are those of the group: nothing was started",
    )
    .fact(why)
    .fact(format!("the group's view: {}; its primary: {address}", primary.view_id))
    .hint(format!(
        "check on the host of {address}: systemctl status clusterctl-agent; or start a coordinator: systemctl start \
         clusterctl-coordinator"
    ))
}

#[cfg(test)]
#[path = "notice_tests.rs"]
mod tests;
