//! Every look at the server goes into the record of its lineage (`crate::lineage`), also while no coordinator asks.
//!
//! Called by the observer after each look, so about once a second. Only a change is written to the ledger. What a person has done is
//! told for the journal.

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::lineage::{LineageId, Lineages, Stay};
use clusterctl_proto::observe::{MysqlFacts, ServerFacts};

use super::{Observer, cluster};
use crate::deeds;
use crate::lineage::log::Log;
use crate::lineage::{Look, Noted, Record};
use crate::mysql::observe::Looked;

/// Takes what the coordinator knows into the ledger. Answers what it does not know; none: all that this agent knows.
pub(super) async fn learn(observer: &Observer, cluster: &ClusterName, json: &[u8]) -> Option<Lineages> {
    let lineages: Lineages = match serde_json::from_slice(json) {
        Ok(lineages) => lineages,
        Err(error) => {
            tracing::warn!(%error, "ignored lineages that cannot be read");
            return None;
        }
    };
    let learnt = observer.ledger.change_lineage(cluster, move |record| {
        let noted = record.told(&lineages);
        let own = record.member.as_ref().map(|member| member.id.clone());
        (record.untold(&lineages), noted, own)
    });
    match learnt.await {
        Ok((untold, noted, own)) => {
            tell(observer, noted, own.as_ref());
            Some(untold).filter(|untold| !untold.is_empty())
        }
        Err(failure) => {
            tracing::debug!(%failure, "the lineages of {cluster} were not kept");
            None
        }
    }
}

/// Takes into the ledger who vouches for what they gave to others, perhaps to this member.
pub(super) async fn vouched(observer: &Observer, cluster: &ClusterName, stays: Vec<Stay>) {
    if stays.is_empty() || !observer.ledger.lineage(cluster).is_ok_and(|record| record.has_donors()) {
        return;
    }
    let vouched = observer.ledger.change_lineage(cluster, move |record| {
        let donors = |record: &Record| record.member.as_ref().map_or(0, |member| member.donors.len());
        let before = donors(record);
        record.vouched(&stays);
        (donors(record) < before).then(|| record.member.as_ref().map(|member| member.donors.clone()))
    });
    match vouched.await {
        Ok(None) => {}
        Ok(Some(left)) => {
            tracing::info!(donors = ?left.unwrap_or_default(), "members have vouched for what they gave to this one")
        }
        Err(failure) => tracing::debug!(%failure, "who vouches for this member was not kept"),
    }
}

/// Takes one look into the ledger.
pub(super) async fn note(observer: &Observer, facts: &MysqlFacts, looked: Looked) {
    let (Some(cluster), Some(server)) = (cluster(facts), &facts.server) else {
        return;
    };
    let Some((executed, held)) = sets(server) else { return };
    let Ok(record) = observer.ledger.lineage(&cluster) else {
        return;
    };
    let view = server.group.as_ref();
    let before: GtidSet = looked.before.parse().unwrap_or_default();
    let (mut log, mut first_view_here) = (looked.log, false);
    let last_in = log.as_ref().and_then(Log::last_installed);
    let new = match view.and_then(|view| LineageId::of_view(&view.view_id)) {
        Some((id, _)) => record.is_new(view).then_some(id),
        None => last_in
            .as_ref()
            .map(|logged| logged.id.clone())
            .filter(|id| record.is_other(id)),
    };
    if new.is_some() || record.is_news(view) || record.awaits_donor(view) {
        (log, first_view_here) = match observer.mysql.log(new.as_ref()).await {
            Some((log, first)) => (Some(log), first),
            None => (log, false),
        };
    }
    let first = new.filter(|_| first_view_here).map(|id| (id, 1));
    let mut older = None;
    if let (Some(log), Some((id, counter))) = (&log, first.or_else(|| record.looked_for(server.server_uuid)))
        && log.falls_short(&id, counter)
    {
        older = observer.mysql.older(&id, counter).await;
        // What happened before these lines is not known: this look is not taken into account, the next one asks again.
        if older.is_none() {
            return;
        }
    }
    let host = observer.name.clone();
    let server = server.clone();
    let noted = observer.ledger.change_lineage(&cluster, move |record| {
        let noted = record.look(&Look {
            host: &host,
            server_uuid: server.server_uuid,
            view: server.group.as_ref(),
            executed: &executed,
            before: &before,
            held: &held,
            force_members: Some(&server.force_members),
            last_in: last_in.as_ref(),
            first_view_here,
            log: log.as_ref(),
            older: older.as_ref(),
            at: looked.at,
            cloned: looked.cloned.as_deref(),
        });
        (noted, record.member.as_ref().map(|member| member.id.clone()))
    });
    match noted.await {
        Ok((noted, id)) => tell(observer, noted, id.as_ref()),
        Err(failure) => tracing::warn!(%failure, "the lineage of this member was not kept"),
    }
}

fn sets(server: &ServerFacts) -> Option<(GtidSet, GtidSet)> {
    let executed: GtidSet = server.gtid_executed.parse().ok()?;
    let received: GtidSet = server.gtid_received.parse().ok()?;
    let held = executed.union(&received);
    Some((executed, held))
}

fn tell(observer: &Observer, noted: Noted, id: Option<&LineageId>) {
    let id = id.map_or("", LineageId::as_str);
    let (kind, text) = match noted {
        Noted::Nothing => return,
        Noted::Bootstrapped | Noted::Adopted => {
            return tracing::info!(lineage = id, ?noted, "the lineage of this member is recorded");
        }
        Noted::BootstrappedByHand => (
            deeds::BOOTSTRAPPED_BY_HAND,
            format!("a person bootstrapped the group on this host: lineage {id}"),
        ),
        Noted::Forced => (
            deeds::MEMBERSHIP_FORCED,
            format!("a person forced the membership of the group on this host: lineage {id}"),
        ),
        Noted::Replaced => (
            deeds::DATA_REPLACED,
            "the data of this member were replaced by a clone that no step made: they are not verified".to_owned(),
        ),
        Noted::Lost => (
            deeds::TRANSACTIONS_LOST,
            "this member has lost transactions that it had executed (RESET BINARY LOGS AND GTIDS, or an older copy of its files): its data \
             are not verified"
                .to_owned(),
        ),
        Noted::Unverified => (
            deeds::ENTERED_UNMEASURED,
            format!(
                "this member entered the group past its agent (a person's START, or an automatic rejoin), lineage {id}: its data are not verified"
            ),
        ),
        Noted::Proven => (
            deeds::LINEAGE_PROVEN,
            format!("the data of this member are proven to belong to lineage {id}"),
        ),
    };
    tracing::warn!(lineage = id, "{text}");
    observer.deeds.note(kind, text);
}
