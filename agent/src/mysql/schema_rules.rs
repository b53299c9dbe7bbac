//! What Group Replication asks of tables, and what user data there is. Heavy on a server with many tables: never on the
//! path that runs once a second.

use std::time::Duration;

use clusterctl_proto::failure::Failure;

use super::conn::{Db, cell};
use super::error::MysqlError;

const LONG: Duration = Duration::from_secs(120);

const SYSTEM: &str = "'mysql', 'sys', 'performance_schema', 'information_schema', 'mysql_innodb_cluster_metadata', \
    'mysql_innodb_cluster_metadata_bkp', 'mysql_innodb_cluster_metadata_previous', 'clusterctl_verify'";

/// Tables without a primary key or a unique key of NOT NULL columns, at most ten.
pub async fn tables_without_key(db: &mut Db) -> Result<Vec<String>, MysqlError> {
    list(
        db,
        &format!(
            "SELECT CONCAT(t.table_schema, '.', t.table_name) FROM information_schema.tables AS t \
             WHERE t.table_type = 'BASE TABLE' AND t.table_schema NOT IN ({SYSTEM}) AND NOT EXISTS ( \
               SELECT 1 FROM information_schema.statistics AS s \
               WHERE s.table_schema = t.table_schema AND s.table_name = t.table_name AND s.non_unique = 0 \
               GROUP BY s.index_name HAVING SUM(s.nullable = 'YES' OR s.column_name IS NULL) = 0) \
             ORDER BY 1 LIMIT 10"
        ),
    )
    .await
}

/// Tables whose engine is neither InnoDB nor MEMORY, at most ten.
pub async fn tables_not_innodb(db: &mut Db) -> Result<Vec<String>, MysqlError> {
    list(
        db,
        &format!(
            "SELECT CONCAT(t.table_schema, '.', t.table_name, ' (', t.engine, ')') FROM information_schema.tables AS t \
             WHERE t.table_type = 'BASE TABLE' AND t.table_schema NOT IN ({SYSTEM}) \
               AND t.engine IS NOT NULL AND t.engine NOT IN ('InnoDB', 'MEMORY') ORDER BY 1 LIMIT 10"
        ),
    )
    .await
}

/// Schemas that people made, at most ten.
pub async fn user_schemas(db: &mut Db) -> Result<Vec<String>, MysqlError> {
    list(
        db,
        &format!(
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN ({SYSTEM}) ORDER BY 1 LIMIT 10"
        ),
    )
    .await
}

/// Refuses a server whose tables a group could not keep alike.
pub async fn check(db: &mut Db) -> Result<(), Failure> {
    let keyless = tables_without_key(db).await?;
    if let Some(first) = keyless.first() {
        let hint = format!(
            "give each a primary key: ALTER TABLE {first} ADD COLUMN id BIGINT UNSIGNED INVISIBLE AUTO_INCREMENT PRIMARY KEY"
        );
        let failure = Failure::refused(
            "tables_without_primary_key",
            "tables have no primary key; Group Replication needs one",
        )
        .hint(hint);
        return Err(keyless.into_iter().fold(failure, Failure::fact));
    }
    let other = tables_not_innodb(db).await?;
    if !other.is_empty() {
        let failure = Failure::refused(
            "tables_not_innodb",
            "tables have an engine that Group Replication does not replicate",
        )
        .hint("convert each: ALTER TABLE … ENGINE = InnoDB");
        return Err(other.into_iter().fold(failure, Failure::fact));
    }
    Ok(())
}

async fn list(db: &mut Db, sql: &str) -> Result<Vec<String>, MysqlError> {
    Ok(db
        .rows_for(sql, LONG)
        .await?
        .iter()
        .filter_map(|row| cell(row, 0))
        .collect())
}
