//! Settles the debt of a START (`debts/start.rs`) when no step and no deed runs, first of all when the agent starts: of a rejoin of the
//! agent's own that was aborted, and of a step whose agent died or whose order is never sent again.
//!
//! It does so also in a maintenance: it takes back what the agent has changed, and nothing that a person has set since.

use clusterctl_proto::failure::Failure;
use tokio::time::Instant;

use super::act::Tools;
use super::decide::Facts;
use super::{Keeper, Memory};
use crate::debts::{Place, start};
use crate::mysql::{Db, MysqlError, group};

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
        let mut db = match Db::local(&*tools.servers, &tools.config.mysql).await {
            Ok(db) => db,
            Err(MysqlError::NotRunning { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let settled = settle(tools, place, &mut db).await;
        if db.usable() {
            db.close().await;
        }
        settled
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
