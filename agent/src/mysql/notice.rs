//! Notices: a text that the agent of one member leaves at another member's mysqld, for the agent there.
//!
//! No agent listens on a port, but each can log in to the other members (`peer.rs`: TLS, client certificate). The sender sets a
//! variable of its own session there; the receiving agent is root on its own server and reads the variables of such sessions. Nothing is
//! written: it works under super_read_only and offline_mode, leaves no transaction, and ends with the session (measured on 9.7.4:
//! docs/mysql-facts.md). Called by `keeper/notice.rs`, which knows what the text means. Only sessions of members' accounts that came
//! over TLS count: any other account may set a variable of this name, too.

use std::path::Path;
use std::time::Duration;

use super::conn::{Db, text};
use super::error::MysqlError;
use super::peer::enter;
use super::quote;
use super::server::Servers;

/// Longer notices are neither sent nor read, in bytes.
pub const LONGEST: usize = 1 << 20;
/// Setting a variable takes no time.
const PATIENCE: Duration = Duration::from_secs(2);
/// A notice of up to [`LONGEST`] bytes that was left a moment ago (`keeper/notice.rs` holds one for ten seconds; a sender that lost its power
/// never says that it is gone, and its session stays for hours), by who holds a member's account ([`super::accounts::MEMBER_PREFIX`]).
const LEFT: &str = "SELECT CONVERT(v.variable_value USING utf8mb4) \
    FROM performance_schema.user_variables_by_thread v JOIN performance_schema.threads t USING (thread_id) \
    WHERE v.variable_name = 'clusterctl_notice' AND LENGTH(v.variable_value) <= 1048576 \
    AND t.processlist_user LIKE 'mysql|_innodb|_cluster|_%' ESCAPE '|' AND t.connection_type = 'SSL/TLS' \
    AND t.processlist_time <= 15 ORDER BY t.thread_id";

/// Leaves this text at the mysqld at `host:port`. It can be read there until the connection that is returned ends.
pub async fn leave(
    servers: &dyn Servers,
    (address, user): (&str, &str),
    tls_dir: &Path,
    notice: &str,
) -> Result<Db, MysqlError> {
    let mut db = enter(servers, address, user, tls_dir).await?;
    let sql = format!("SET @clusterctl_notice = {}", quote::text(notice));
    db.run_for(&sql, PATIENCE).await?;
    Ok(db)
}

/// The notices that other members' agents have left at the local server.
pub async fn left(db: &mut Db) -> Result<Vec<String>, MysqlError> {
    Ok(db.rows(LEFT).await?.iter().map(|row| text(row, 0)).collect())
}
