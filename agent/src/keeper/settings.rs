//! What must hold of a member's mysqld while no step works on it, whether or not a coordinator leads: out of its group it takes no writes,
//! and it enters none when it starts.
//!
//! MySQL Shell persists `group_replication_start_on_boot` when it rejoins a member. From then on each start of mysqld enters the group past
//! the agent, also below a promise (safety rule 1), and as what nobody measured (safety rule 7).
//!
//! A step opens a server for a moment (`mysql/clone.rs` `prepare`, `mysql/accounts.rs` `unlogged`), and may be cancelled or die before it
//! closes it again. What is then written there is on no other member, and a member whose account may not read who is in the group takes a
//! server that takes writes for a primary (`mysql/peer.rs` `without_rights`). A person who needs it open says so first: then the host is
//! left alone.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{DataDirectory, GroupView, MemberState};
use tokio::time::Instant;

use super::act::Tools;
use super::decide::Facts;
use super::{Keeper, Memory};
use crate::deeds;
use crate::mysql::{Db, close, group, variables};

const START_ON_BOOT: &str = "group_replication_start_on_boot";
/// The observation does not tell it, and it matters at the next start only.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What is remembered of these settings.
#[derive(Default)]
pub struct Watched {
    /// Code of the last failure to close the server: the same one is not logged again.
    close_failed: Option<String>,
    /// The last look at `group_replication_start_on_boot`.
    boot_looked_at: Option<Instant>,
}

impl Keeper {
    /// Looks, acts if it must.
    pub(super) async fn settings(&self, facts: &Facts<'_>, memory: &mut Memory) {
        if takes_writes_outside(facts) {
            self.close(facts, memory).await;
        }
        let now = Instant::now();
        let is_due = memory.watched.boot_looked_at.is_none_or(|at| now - at >= LOOK_AGAIN);
        if is_due && is_settled(facts) {
            self.stay_out_at_boot(memory, now).await;
        }
    }

    async fn stay_out_at_boot(&self, memory: &mut Memory, now: Instant) {
        match stays_out_at_boot(&self.tools).await {
            Ok(None) => return,
            Ok(Some(false)) => {}
            Ok(Some(true)) => self.deeds.note(
                deeds::START_ON_BOOT,
                "group_replication_start_on_boot was ON: set OFF, since mysqld would have entered a group at its next start by itself",
            ),
            Err(failure) => tracing::warn!(%failure, "group_replication_start_on_boot could not be looked at"),
        }
        memory.watched.boot_looked_at = Some(now);
    }

    async fn close(&self, facts: &Facts<'_>, memory: &mut Memory) {
        let failed = match close(&self.tools).await {
            Ok(false) => return,
            Ok(true) => {
                let host = facts
                    .server
                    .server
                    .as_ref()
                    .map_or("HOST", |server| &server.report_host);
                let text = format!(
                    "super_read_only was OFF while this server is out of its group: set ON. To write here by hand first: \
                     clusterctl maintenance on {host}"
                );
                self.deeds.note(deeds::CLOSED, text);
                self.observer.acted();
                memory.ended = Some(Instant::now());
                None
            }
            Err(failure) => {
                if memory.watched.close_failed.as_ref() != Some(&failure.code) {
                    tracing::warn!(%failure, "super_read_only is OFF while this server is out of its group, and cannot be set ON");
                }
                Some(failure.code)
            }
        };
        memory.watched.close_failed = failed;
    }
}

/// The server is certainly in no group, is a member, and takes writes of administrators at least.
fn takes_writes_outside(facts: &Facts<'_>) -> bool {
    let is_open = facts.server.server.as_ref().is_some_and(|server| {
        let is_out = server.group.as_ref().is_none_or(GroupView::is_out);
        is_out && !server.super_read_only
    });
    is_open && is_ours(facts) && is_left_to_us(facts)
}

/// A member that is ONLINE or out, and nothing works on it.
fn is_settled(facts: &Facts<'_>) -> bool {
    let view = facts.server.server.as_ref().and_then(|server| server.group.as_ref());
    let is_still = view.is_some_and(|view| view.state == MemberState::Online || view.is_out());
    is_still && is_ours(facts) && is_left_to_us(facts)
}

/// A member of the cluster whose data it has: what left its cluster is a person's again.
fn is_ours(facts: &Facts<'_>) -> bool {
    matches!((&facts.server.data, facts.membership),
        (DataDirectory::Ours { cluster: Some(cluster) }, Some(membership)) if *cluster == membership.cluster)
}

/// Nothing works on it.
fn is_left_to_us(facts: &Facts<'_>) -> bool {
    !facts.step_runs && !facts.deed_runs && !facts.hands_off
}

/// Sets super_read_only ON; false: not now. It waits for nobody: the keeper looks again soon.
async fn close(tools: &Tools) -> Result<bool, Failure> {
    // Who starts Group Replication here, or copies data, holds it.
    let Some(_entrance) = tools.ledger.entrance_if_free() else {
        return Ok(false);
    };
    let mut db = Db::local(&*tools.servers, &tools.config.mysql).await?;
    let closed = close_outside(tools, &mut db).await;
    if db.usable() {
        db.close().await;
    }
    closed
}

async fn close_outside(tools: &Tools, db: &mut Db) -> Result<bool, Failure> {
    if !tools.runner.running().is_empty() {
        return Ok(false);
    }
    Ok(close::outside(db).await?)
}

/// `group_replication_start_on_boot` is OFF, now and persisted; true: it was not. None: not now, somebody starts or stops Group Replication.
async fn stays_out_at_boot(tools: &Tools) -> Result<Option<bool>, Failure> {
    let Some(_entrance) = tools.ledger.entrance_if_free() else {
        return Ok(None);
    };
    let mut db = Db::local(&*tools.servers, &tools.config.mysql).await?;
    let was_on = set_off(tools, &mut db).await;
    if db.usable() {
        db.close().await;
    }
    was_on
}

async fn set_off(tools: &Tools, db: &mut Db) -> Result<Option<bool>, Failure> {
    if group::under_way(db).await?.is_some() || !tools.runner.running().is_empty() {
        return Ok(None);
    }
    let now = variables::read(db, &[START_ON_BOOT]).await?;
    let is_on = |value: &str| !variables::same(value, "OFF");
    let was_on = now
        .get(START_ON_BOOT)
        .is_some_and(|now| is_on(&now.running) || now.persisted.as_deref().is_some_and(is_on));
    if was_on {
        variables::persist(db, &[(START_ON_BOOT.to_owned(), "OFF".to_owned())]).await?;
    }
    Ok(Some(was_on))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
