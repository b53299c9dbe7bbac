//! What must hold of a member's mysqld while no step works on it, whether or not a coordinator leads: out of its group it takes no writes.
//!
//! A step opens a server for a moment (`mysql/clone.rs` `prepare`, `mysql/accounts.rs` `unlogged`), and may be cancelled or die before it
//! closes it again. What is then written there is on no other member, and a member whose account may not read who is in the group takes a
//! server that takes writes for a primary (`mysql/peer.rs` `without_rights`). A person who needs it open says so first: then the host is
//! left alone.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{DataDirectory, GroupView};
use tokio::time::Instant;

use super::act::Tools;
use super::decide::Facts;
use super::{Keeper, Memory};
use crate::deeds;
use crate::mysql::{Db, clone, group};

/// What is remembered of these settings.
#[derive(Default)]
pub struct Watched {
    /// Code of the last failure to close the server: the same one is not logged again.
    close_failed: Option<String>,
}

impl Keeper {
    /// Looks, acts if it must.
    pub(super) async fn settings(&self, facts: &Facts<'_>, memory: &mut Memory) {
        if takes_writes_outside(facts) {
            self.close(facts, memory).await;
        }
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

/// A START of a person's that begins after this look closes the server itself, and takes a second to open a primary.
async fn close_outside(tools: &Tools, db: &mut Db) -> Result<bool, Failure> {
    let is_out = group::view(db).await?.is_none_or(|view| view.is_out());
    // A clone drops data only while it is OFF.
    if !is_out || clone::is_running(db).await? || !tools.runner.running().is_empty() {
        return Ok(false);
    }
    // A transaction that is open keeps it waiting.
    db.run("SET SESSION lock_wait_timeout = 2").await?;
    db.run("SET GLOBAL super_read_only = ON").await?;
    Ok(true)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
