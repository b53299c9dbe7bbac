//! How willingly Group Replication makes a member the primary: `group_replication_member_weight`, 0 to 100 (manual, "Single-Primary
//! Mode", "Primary Election Algorithm"). The lowest one marks a member whose data nobody has measured.
//!
//! The keeper sets it on its own server, for the running server only. A hand-over asks the other members for theirs: reading a global
//! variable needs no privilege, so the account of a member is enough.

use std::path::Path;
use std::time::Duration;

use super::conn::Db;
use super::error::MysqlError;
use super::peer::enter;
use super::server::Servers;
use super::variables::UNKNOWN;

/// Others are elected before such a member; we never choose it.
pub const LAST: u64 = 0;
/// MySQL's default.
const USUAL: u64 = 50;
/// A member in the same network answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

const READ: &str = "SELECT @@GLOBAL.group_replication_member_weight";

/// The weight of this server; none: Group Replication is not installed.
async fn read(db: &mut Db) -> Result<Option<u64>, MysqlError> {
    match db.value(READ).await {
        Ok(value) => Ok(value.and_then(|value| value.parse().ok())),
        Err(error) if error.code() == Some(UNKNOWN) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes it the last that is elected; false: it is already, or cannot be.
pub async fn lower(db: &mut Db) -> Result<bool, MysqlError> {
    if read(db).await?.is_none_or(|weight| weight == LAST) {
        return Ok(false);
    }
    db.run(&format!("SET GLOBAL group_replication_member_weight = {LAST}"))
        .await?;
    Ok(true)
}

/// Gives it back the weight that is persisted, or MySQL's default.
pub async fn restore(db: &mut Db) -> Result<(), MysqlError> {
    if read(db).await? != Some(LAST) {
        return Ok(());
    }
    let sql = "SELECT variable_value FROM performance_schema.persisted_variables \
               WHERE variable_name = 'group_replication_member_weight'";
    let persisted = db.value(sql).await?.and_then(|value| value.parse().ok());
    let weight: u64 = persisted.unwrap_or(USUAL);
    db.run(&format!("SET GLOBAL group_replication_member_weight = {weight}"))
        .await
}

/// The weight of the member at `host:port`; none: it cannot be told in time.
pub async fn of_peer(servers: &dyn Servers, address: &str, user: &str, tls_dir: &Path) -> Option<u64> {
    let question = async {
        let mut db = enter(servers, address, user, tls_dir).await?;
        let weight = read(&mut db).await;
        if db.usable() {
            db.close().await;
        }
        weight
    };
    tokio::time::timeout(PATIENCE, question).await.ok()?.ok().flatten()
}
