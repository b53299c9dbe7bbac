//! The server's error log, as `performance_schema.error_log` shows it: what it says of the membership (`crate::lineage::log`).
//!
//! Asked by the observer and by the step that bootstraps. Reads only.

use clusterctl_proto::lineage::LineageId;

use super::conn::{Db, cell, number, text};
use super::error::MysqlError;
use super::server::Row;
use crate::lineage::log::{Line, Log, Older, Said};

const MEMBERSHIP: &str = "SELECT logged, UNIX_TIMESTAMP(logged), error_code, data FROM performance_schema.error_log \
    WHERE error_code IN ('MY-011494', 'MY-011495', 'MY-011496', 'MY-011498', 'MY-011503', 'MY-011526') \
    OR error_code = 'MY-010597' AND data LIKE '%CHANNEL ''group_replication_recovery'' executed%' \
    AND data NOT LIKE '%New state source_host='''',%' AND data NOT LIKE '%New state source_host=''<NULL>'',%' ORDER BY logged DESC LIMIT 80";

/// The newest lines about the membership.
pub async fn membership(db: &mut Db) -> Result<Log, MysqlError> {
    let rows = db.rows(MEMBERSHIP).await?;
    Ok(Log(rows.iter().rev().filter_map(line).collect()))
}

/// The newest lines about the membership, and whether the first view of this lineage was installed here. A log that cannot be read tells
/// nothing, and will not.
pub async fn told(db: &mut Db, began: Option<&LineageId>) -> Result<(Log, bool), MysqlError> {
    let told = async {
        let lines = membership(db).await?;
        let first = match began {
            Some(id) => first_view_here(db, id).await?,
            None => false,
        };
        Ok((lines, first))
    };
    match told.await {
        Err(error) if is_closed(&error) => {
            tracing::debug!(%error, "the server's log cannot be read");
            Ok((Log::default(), false))
        }
        told => told,
    }
}

/// When this view of this bootstrap was installed last, and when the newest one of any other, however many lines followed: one row.
pub async fn older(db: &mut Db, lineage: &LineageId, counter: u64) -> Result<Older, MysqlError> {
    // Digits: a lineage is read as nothing else.
    let prefix = lineage.prefix();
    let sql = format!(
        "SELECT MAX(IF(data LIKE '% on view {prefix}:{counter}.%', logged, NULL)), MAX(IF(data LIKE '% on view {prefix}:%', NULL, logged)) \
         FROM performance_schema.error_log WHERE error_code = 'MY-011503'"
    );
    let row = db.row(&sql).await?;
    let (own, other) = (cell(&row, 0), cell(&row, 1));
    Ok(Older { own, other })
}

/// The moment of the newest line, as the server writes it, for comparisons with later lines only: mysqld never stamps a line earlier than the
/// one before it, so after its clock was set back the log runs ahead of the clock. Without any line, or where it cannot be read: the clock.
pub async fn newest(db: &mut Db) -> Result<String, MysqlError> {
    let sql = "SELECT COALESCE(MAX(logged), NOW(6)) FROM performance_schema.error_log";
    match db.value(sql).await {
        Err(error) if is_closed(&error) => Ok(db.value("SELECT NOW(6)").await?.unwrap_or_default()),
        told => Ok(told?.unwrap_or_default()),
    }
}

/// The same in microseconds since 1970; none: the log cannot be read.
pub async fn newest_us(db: &mut Db) -> Result<Option<u64>, MysqlError> {
    let sql = "SELECT UNIX_TIMESTAMP(COALESCE(MAX(logged), NOW(6))) FROM performance_schema.error_log";
    match db.value(sql).await {
        Err(error) if is_closed(&error) => Ok(None),
        told => Ok(Some(micros(&told?.unwrap_or_default()))),
    }
}

/// The log cannot be read, now or later: access denied, no such table (`ER_TABLEACCESS_DENIED_ERROR`, `ER_NO_SUCH_TABLE`).
pub fn is_closed(error: &MysqlError) -> bool {
    matches!(error.code(), Some(1142 | 1146))
}

fn line(row: &Row) -> Option<Line> {
    let said = match text(row, 2).as_str() {
        "MY-011494" => Said::ReachableAgain,
        "MY-011495" | "MY-011496" => Said::MajorityLost,
        "MY-011498" => Said::MajorityBack,
        "MY-011526" => Said::Refused,
        "MY-010597" => Said::Donor(donor_in(&text(row, 3))?),
        "MY-011503" => {
            let (id, counter) = LineageId::of_view(&view_in(&text(row, 3))?)?;
            Said::View { id, counter }
        }
        _ => return None,
    };
    Some(Line {
        at: text(row, 0),
        us: micros(&text(row, 1)),
        said,
    })
}

/// `1795949783.976712`, as UNIX_TIMESTAMP writes a time with microseconds.
pub fn micros(text: &str) -> u64 {
    let (seconds, rest) = text.split_once('.').unwrap_or((text, ""));
    let micros: u64 = format!("{rest:0<6}")
        .get(..6)
        .and_then(|rest| rest.parse().ok())
        .unwrap_or(0);
    seconds.parse::<u64>().unwrap_or(0) * 1_000_000 + micros
}

/// Id of the view that this server installed last after that line ([`newest`]); none: the log does not tell. Unlike `group::view_id` it does not wait for the
/// end of a START.
pub async fn installed_since(db: &mut Db, since: &str) -> Result<Option<String>, MysqlError> {
    let sql = "SELECT data FROM performance_schema.error_log WHERE error_code = 'MY-011503' AND logged > ? ORDER BY logged DESC LIMIT 1";
    let rows = db.rows_with(sql, (since,)).await?;
    let line = rows.first().and_then(|row| cell(row, 0)).unwrap_or_default();
    Ok(view_in(&line))
}

/// This server installed the view PREFIX:1 of this lineage: a bootstrap, with nobody else in it.
pub async fn first_view_here(db: &mut Db, lineage: &LineageId) -> Result<bool, MysqlError> {
    // Digits: a lineage is read as nothing else.
    let view = format!("{}:1", lineage.prefix());
    let sql = format!(
        "SELECT COUNT(*) FROM performance_schema.error_log WHERE error_code = 'MY-011503' AND data LIKE '% {view}.%'"
    );
    let rows = db.rows(&sql).await?;
    Ok(rows.first().is_some_and(|row| number(row, 0) > 0))
}

/// `… on view 17959583600486712:3.'` names a view.
fn view_in(line: &str) -> Option<String> {
    let (_, rest) = line.rsplit_once("on view ")?;
    let id: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ':').collect();
    (!id.is_empty()).then_some(id)
}

/// `… New state source_host='node1', source_port= 3306, …` names whom a channel gets its transactions from.
fn donor_in(line: &str) -> Option<String> {
    let (_, new) = line.split_once("New state source_host='")?;
    let (host, rest) = new.split_once("', source_port=")?;
    let port: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    (!host.is_empty() && host != "<NULL>" && !port.is_empty()).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_view() {
        let line = "Plugin group_replication reported: 'Group membership changed to node1:3306, node2:3306 on view 17959583600486712:3.'";
        assert_eq!(view_in(line).as_deref(), Some("17959583600486712:3"));
        assert_eq!(view_in("This member has left the group."), None);
        let change = |host: &str, port| {
            format!(
                "'CHANGE REPLICATION SOURCE TO FOR CHANNEL 'group_replication_recovery' executed'. Previous state source_host='node2', \
                 source_port= 3306, source_log_file='', source_log_pos= 4, source_bind=''. New state source_host='{host}', \
                 source_port= {port}, source_log_file='', source_log_pos= 4, source_bind=''."
            )
        };
        assert_eq!(donor_in(&change("node1", 3307)).as_deref(), Some("node1:3307"));
        for (host, port) in [("", 3306), ("<NULL>", 0)] {
            assert_eq!(
                donor_in(&change(host, port)),
                None,
                "recovery has ended, or the account is set"
            );
        }
        assert_eq!(donor_in("New state source_host='"), None);
        assert_eq!(micros("1795949783.976712"), 1_795_949_783_976_712);
        assert_eq!((micros("7.1"), micros("7"), micros("?")), (7_100_000, 7_000_000, 0));
    }
}
