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
/// A member in the same network answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

const READ: &str = "SELECT @@GLOBAL.group_replication_member_weight";

/// The weight of this server; none: Group Replication is not installed.
pub async fn read(db: &mut Db) -> Result<Option<u64>, MysqlError> {
    match db.value(READ).await {
        Ok(value) => Ok(value.and_then(|value| value.parse().ok())),
        Err(error) if error.code() == Some(UNKNOWN) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets it, for the running server only.
pub async fn set(db: &mut Db, weight: u64) -> Result<(), MysqlError> {
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
