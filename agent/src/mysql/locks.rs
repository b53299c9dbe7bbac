//! AdminAPI's advisory locks, so that a person with MySQL Shell and we do not change one cluster at the same moment.
//!
//! They live in the session that took them: the same connection must do the writes, and closing it lets go.

use clusterctl_proto::failure::Failure;

use super::conn::{Db, cell};
use super::error::MysqlError;

/// `ER_LOCKING_SERVICE_TIMEOUT`, `ER_LOCKING_SERVICE_DEADLOCK`.
const BUSY: [u16; 2] = [3132, 3133];
/// No such function, or no database selected while looking for a stored one.
const MISSING: [u16; 3] = [1305, 1046, 1370];

/// How the lock is shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Membership and topology.
    Exclusive,
    /// Routers and accounts.
    Shared,
}

/// Takes the cluster's lock without waiting. Without the locking service it goes on without, as AdminAPI does.
pub async fn cluster(db: &mut Db, mode: Mode) -> Result<(), Failure> {
    let function = match mode {
        Mode::Exclusive => "service_get_write_locks",
        Mode::Shared => "service_get_read_locks",
    };
    match db
        .rows(&format!("SELECT {function}('AdminAPI_cluster', 'AdminAPI_lock', 0)"))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if error.code().is_some_and(|code| BUSY.contains(&code)) => {
            let failure = Failure::new("cluster_locked", "another tool holds AdminAPI's lock of this cluster")
                .hint("wait for the command of MySQL Shell that holds it, or end its session")
                .transient();
            Err(holders(db).await.into_iter().fold(failure, Failure::fact))
        }
        Err(error) if error.code().is_some_and(|code| MISSING.contains(&code)) => {
            tracing::warn!(%error, "no locking service on this server; going on without AdminAPI's lock");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Lets go of every lock of this session.
pub async fn release(db: &mut Db) -> Result<(), MysqlError> {
    match db.rows("SELECT service_release_locks('AdminAPI_cluster')").await {
        Ok(_) => Ok(()),
        Err(MysqlError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn holders(db: &mut Db) -> Vec<String> {
    let rows = db
        .rows(
            "SELECT CONCAT('held by connection ', t.processlist_id, ' of ', t.processlist_user, '@', t.processlist_host) \
             FROM performance_schema.metadata_locks AS l \
               JOIN performance_schema.threads AS t ON t.thread_id = l.owner_thread_id \
             WHERE l.object_type = 'LOCKING SERVICE' AND l.object_schema = 'AdminAPI_cluster' AND l.lock_status = 'GRANTED'",
        )
        .await
        .unwrap_or_default();
    rows.iter().filter_map(|row| cell(row, 0)).collect()
}
