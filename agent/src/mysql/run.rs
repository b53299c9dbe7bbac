//! Tells one run of mysqld from the next: what SET GLOBAL has set and numbers of sessions are lost at a restart.
//!
//! Asked by `debts/`.

use super::conn::Db;
use super::error::MysqlError;

/// When this run began, in UTC, to the second. Every answer of one run is the same, also after the clock was set: mysqld computes its
/// uptime from NOW() and the time of its start.
pub async fn mark(db: &mut Db) -> Result<String, MysqlError> {
    let sql = "SELECT NOW() - INTERVAL CAST(variable_value AS UNSIGNED) SECOND FROM performance_schema.global_status \
               WHERE variable_name = 'Uptime'";
    told(db, sql).await
}

/// One minute from now, by mysqld's clock, in UTC with microseconds.
pub async fn soon(db: &mut Db) -> Result<String, MysqlError> {
    told(db, "SELECT NOW(6) + INTERVAL 60 SECOND").await
}

async fn told(db: &mut Db, sql: &str) -> Result<String, MysqlError> {
    let moment = db.value(sql).await?.filter(|moment| !moment.is_empty());
    moment.ok_or_else(|| MysqlError::Answer {
        what: "the time".to_owned(),
    })
}
