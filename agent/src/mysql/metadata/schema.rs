//! Making the schema. Every statement may be run again; the version comes last, so that a schema whose version can be read is whole.

use clusterctl_proto::failure::Failure;

use super::{ABSENT, SCHEMA, VERSION};
use crate::mysql::conn::{Db, text};
use crate::mysql::error::MysqlError;
use crate::mysql::quote;

/// The schema's parts, in order.
pub(super) const PARTS: [&str; 4] = [
    include_str!("tables.sql"),
    include_str!("procedures.sql"),
    include_str!("views.sql"),
    include_str!("version.sql"),
];

/// The statements of a part: separated by lines that hold `$$` alone, comments and the DELIMITER line left out.
pub(super) fn statements(part: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current = String::new();
    for line in part.lines() {
        if line == "$$" {
            if !current.trim().is_empty() {
                found.push(std::mem::take(&mut current).trim_end().to_owned());
            }
            current.clear();
        } else if !line.starts_with("DELIMITER")
            && !(current.is_empty() && (line.starts_with("--") || line.trim().is_empty()))
        {
            current.push_str(line);
            current.push('\n');
        }
    }
    found
}

/// The version that is there; none: no schema, or one whose making was interrupted.
pub async fn version(db: &mut Db) -> Result<Option<String>, MysqlError> {
    match db
        .rows(&format!("SELECT major, minor, patch FROM {SCHEMA}.schema_version"))
        .await
    {
        Ok(rows) => Ok(rows
            .first()
            .map(|row| format!("{}.{}.{}", text(row, 0), text(row, 1), text(row, 2)))),
        Err(error) if error.code().is_some_and(|code| ABSENT.contains(&code)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The schema is there and whole; true: it was made (or made whole). Uses up the connection's default database.
pub async fn ensure_schema(db: &mut Db) -> Result<bool, Failure> {
    match version(db).await? {
        Some(found) if found == VERSION => return Ok(false),
        Some(found) if found == "0.0.0" => {
            return Err(Failure::new(
                "metadata_upgrade",
                "the metadata schema is being upgraded by another tool",
            )
            .hint("wait for it, or run dba.upgradeMetadata() in MySQL Shell again")
            .transient());
        }
        Some(found) => {
            return Err(Failure::refused(
                "metadata_version",
                format!("the metadata schema has version {found}, not {VERSION}"),
            )
            .fact(format!("schema {SCHEMA} was made by another tool"))
            .hint("upgrade it with dba.upgradeMetadata() in MySQL Shell, or start from an empty server"));
        }
        None => {}
    }
    db.run(&format!(
        "CREATE DATABASE IF NOT EXISTS {SCHEMA} CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci"
    ))
    .await?;
    db.run(&format!("USE {}", quote::name(SCHEMA))).await?;
    for part in PARTS {
        for statement in statements(part) {
            db.run(&statement).await?;
        }
    }
    match version(db).await? {
        Some(found) if found == VERSION => Ok(true),
        other => Err(Failure::new(
            "metadata_version",
            format!("the metadata schema was made, but its version reads {other:?}"),
        )),
    }
}
