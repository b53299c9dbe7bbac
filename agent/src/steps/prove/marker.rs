//! Walkthrough 15 and 18: what is written on the primary is read on a secondary, which itself takes no writes.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use tokio::time::Instant;

use super::Verdict;
use crate::mysql::grants::VERIFY;
use crate::mysql::{Db, group};
use crate::steps::{Context, Done};

/// `ER_OPTION_PREVENTS_STATEMENT`.
const PREVENTED: u16 = 1290;

/// On the primary.
pub async fn write(marker: &str, cx: &Context) -> Result<Verdict, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    group::require_primary(&mut db).await?;
    db.run(&format!("CREATE DATABASE IF NOT EXISTS {VERIFY}")).await?;
    db.run(&format!("CREATE TABLE IF NOT EXISTS {VERIFY}.marker (id INT PRIMARY KEY, value VARCHAR(200) NOT NULL, written TIMESTAMP(6) NOT NULL)"))
        .await?;
    let before = db.value("SELECT @@GLOBAL.gtid_executed").await?.unwrap_or_default();
    db.change(
        &format!("REPLACE INTO {VERIFY}.marker VALUES (1, ?, NOW(6))"),
        (marker,),
    )
    .await?;
    let new = db
        .value_with("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, ?)", (before,))
        .await?
        .unwrap_or_default();
    db.close().await;
    cx.progress.text(format!("wrote {marker} as {new}"));
    Ok(Verdict::new(
        15,
        "data written on the primary",
        true,
        format!("{} wrote {marker:?} as transaction {new}", cx.name),
    ))
}

/// On a secondary. The plan's steps run one after another: what the primary had when it wrote is in its own `gtid_executed`, which
/// the group certifies in one order, so the marker's own appearance is waited for.
pub async fn read(marker: &str, timeout_seconds: u32, cx: &Context) -> Result<Verdict, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    let title = "data read on a standby";
    let started = Instant::now();
    let longest = Duration::from_secs(u64::from(timeout_seconds));
    let sql = format!("SELECT value FROM {VERIFY}.marker WHERE id = 1");
    let found = loop {
        let found = match db.value(&sql).await {
            Ok(found) => found,
            // the schema itself may not have come yet
            Err(error) if matches!(error.code(), Some(1146 | 1049)) => None,
            Err(error) => return Err(error.into()),
        };
        if found.as_deref() == Some(marker) || started.elapsed() >= longest {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let row = db.row("SELECT @@GLOBAL.gtid_executed, @@GLOBAL.server_uuid").await?;
    db.close().await;
    let executed: String = crate::mysql::conn::text(&row, 0).split_whitespace().collect();
    let waited = started.elapsed().as_millis();
    Ok(match found {
        Some(value) if value == marker => Verdict::new(
            15,
            title,
            true,
            format!("{} read {value:?} after {waited} ms, executed {executed}", cx.name),
        ),
        other => Verdict::new(
            15,
            title,
            false,
            format!(
                "{} read {} instead of {marker:?} after {waited} ms, executed {executed}",
                cx.name,
                other.unwrap_or_else(|| "nothing".into())
            ),
        ),
    })
}

/// On a secondary.
pub async fn write_refused(cx: &Context) -> Result<Verdict, Failure> {
    let title = "a standby refuses writes";
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    if group::require_primary(&mut db).await.is_ok() {
        db.close().await;
        return Ok(Verdict::new(
            18,
            title,
            false,
            format!("{} is the primary now: nothing was tried", cx.name),
        ));
    }
    // should it be taken all the same, it must not become a transaction that the group lacks
    db.run("SET SESSION sql_log_bin = 0").await?;
    db.run("START TRANSACTION").await?;
    let tried = db
        .change(
            &format!("REPLACE INTO {VERIFY}.marker VALUES (2, 'must not be', NOW(6))"),
            (),
        )
        .await;
    let verdict = match tried {
        Err(error) if error.code() == Some(PREVENTED) => Verdict::new(18, title, true, format!("{}: {error}", cx.name)),
        Err(error) if !error.is_broken() => Verdict::new(
            18,
            title,
            false,
            format!("{} refused, but not for being read only: {error}", cx.name),
        ),
        Err(error) => return Err(error.into()),
        Ok(_) => Verdict::new(
            18,
            title,
            false,
            format!("{} took a write (rolled back): super_read_only is OFF there", cx.name),
        ),
    };
    db.run("ROLLBACK").await?;
    db.close().await;
    Ok(verdict)
}

/// On the primary: the schema is gone.
pub async fn drop(cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    group::require_primary(&mut db).await?;
    let there = db
        .value_with(
            "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?",
            (VERIFY,),
        )
        .await?
        .is_some();
    if there {
        db.run(&format!("DROP DATABASE IF EXISTS {VERIFY}")).await?;
    }
    db.close().await;
    Ok(if there {
        Done::changed(format!("dropped schema {VERIFY}"))
    } else {
        Done::Unchanged
    })
}
