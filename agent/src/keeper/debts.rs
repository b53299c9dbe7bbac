//! Settles the debt of a START (`debts/start.rs`) when no step and no deed runs, first of all when the agent starts: of a rejoin of the
//! agent's own that was aborted, and of a step whose agent died or whose order is never sent again. And ends what a copy that ended before
//! its time has left at its donor (`debts/copy.rs`).
//!
//! It does so also in a maintenance: it takes back what the agent has changed, and nothing that a person has set since.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::UnitState;
use tokio::time::Instant;

use super::act::Tools;
use super::decide::Facts;
use super::{Keeper, Memory};
use crate::debts::{Place, copy, start};
use crate::mysql::{Db, MysqlError, group};

/// Between two tries to end what is left at a donor, which may be off.
const DONOR_AGAIN: Duration = Duration::from_secs(30);

impl Keeper {
    /// Looks, acts if it must.
    pub(super) async fn debts(&self, facts: &Facts<'_>, memory: &mut Memory) {
        if facts.step_runs || facts.deed_runs {
            return;
        }
        memory.debt_failed = match self.settle(facts).await {
            Ok(false) => None,
            Ok(true) => {
                self.observer.acted();
                memory.ended = Some(Instant::now());
                None
            }
            Err(failure) => {
                if memory.debt_failed.as_ref() != Some(&failure.code) {
                    tracing::warn!(%failure, "what a START has changed on this server cannot be taken back yet");
                }
                Some(failure.code)
            }
        };
    }

    async fn settle(&self, facts: &Facts<'_>) -> Result<bool, Failure> {
        let tools = &self.tools;
        let place: Place<'_> = (&*tools.host, &tools.config.state_dir);
        let cluster = facts.membership.map(|membership| &membership.cluster);
        start::forget_old(place, cluster.and_then(|cluster| tools.ledger.entered_by(cluster))).await?;
        if !start::is_owed(place).await? {
            return Ok(false);
        }
        // A step that starts Group Replication or copies data holds it. The keeper does not wait: it looks again soon.
        let Some(_entrance) = tools.ledger.entrance_if_free() else {
            return Ok(false);
        };
        let Some(mut db) = local(tools).await? else {
            return Ok(false);
        };
        let settled = settle(tools, place, &mut db).await;
        if db.usable() {
            db.close().await;
        }
        settled
    }

    /// Ends this host's sessions at the donor of its last copy, if that ended before its time: they keep every other copy from there waiting.
    pub(super) async fn left_at_donor(&self, facts: &Facts<'_>, memory: &mut Memory) {
        let waits = memory.donor_tried.is_some_and(|at| at.elapsed() < DONOR_AGAIN);
        if facts.step_runs || facts.deed_runs || waits {
            return;
        }
        match self.end_at_donors(facts).await {
            Ok(()) => memory.donor_tried = None,
            Err(failure) => {
                tracing::debug!(%failure, "what a copy may have left at its donor is not ended yet");
                memory.donor_tried = Some(Instant::now());
            }
        }
    }

    async fn end_at_donors(&self, facts: &Facts<'_>) -> Result<(), Failure> {
        let tools = &self.tools;
        let place: Place<'_> = (&*tools.host, &tools.config.state_dir);
        if !copy::may_be_left(place).await? {
            return Ok(());
        }
        let Some(_entrance) = tools.ledger.entrance_if_free() else {
            return Ok(());
        };
        let mut db = local(tools).await?;
        // Without a socket it may still run.
        let is_down = matches!(
            facts.server.unit,
            UnitState::Stopped | UnitState::Failed | UnitState::Absent
        );
        if db.is_none() && !is_down {
            return Ok(());
        }
        let left = copy::left(place, db.as_mut()).await;
        if let Some(db) = db.filter(Db::usable) {
            db.close().await;
        }
        let way = (&*tools.servers, tools.config.mysql.tls_dir.as_path());
        let mut ended = Ok(());
        for left in left? {
            ended = ended.and(copy::end_left(place, way, &left).await);
        }
        ended
    }
}

/// This host's mysqld; none: it does not run.
async fn local(tools: &Tools) -> Result<Option<Db>, Failure> {
    match Db::local(&*tools.servers, &tools.config.mysql).await {
        Ok(db) => Ok(Some(db)),
        Err(MysqlError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn settle(tools: &Tools, place: Place<'_>, db: &mut Db) -> Result<bool, Failure> {
    // A START goes on when its step or its agent ends, and may still bring the server in.
    if group::under_way(db).await?.is_some() || !tools.runner.running().is_empty() {
        return Ok(false);
    }
    start::settle(place, db).await
}

#[cfg(test)]
#[path = "debts_tests.rs"]
mod tests;
