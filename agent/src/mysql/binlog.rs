//! What certain transactions of this server hold, for the facts of a refusal. Reads the newest binary logs only.

use clusterctl_proto::gtid::GtidSet;

use super::conn::{Db, text};
use super::error::head;
use super::quote;

const FILES: usize = 3;
const EVENTS: u32 = 5000;
const SHOWN: usize = 8;

/// A line for each of these transactions that the newest binary logs hold: `uuid:7: CREATE TABLE …`, `uuid:8: rows of shop.t`.
/// Statements without their literals, which may be personal or secret. Empty where the logs are gone.
pub async fn describe(db: &mut Db, wanted: &GtidSet) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(files) = db.rows("SHOW BINARY LOGS").await else {
        return found;
    };
    for file in files.iter().rev().take(FILES) {
        let sql = format!("SHOW BINLOG EVENTS IN {} LIMIT {EVENTS}", quote::text(&text(file, 0)));
        let Ok(events) = db.rows(&sql).await else {
            continue;
        };
        let events: Vec<(String, String)> = events.iter().map(|row| (text(row, 2), text(row, 5))).collect();
        let mut lines = read(&events, wanted);
        lines.append(&mut found);
        found = lines;
    }
    if found.len() > SHOWN {
        let more = found.len() - SHOWN;
        found.truncate(SHOWN);
        found.push(format!("and {more} more transactions"));
    }
    found
}

/// From event types and their info texts.
fn read(events: &[(String, String)], wanted: &GtidSet) -> Vec<String> {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for (kind, info) in events {
        if kind.to_ascii_lowercase().contains("gtid") && info.contains("GTID_NEXT") {
            let gtid = info.split('\'').nth(1).unwrap_or("");
            inside = gtid.parse::<GtidSet>().is_ok_and(|one| wanted.contains(&one));
            if inside {
                lines.push((gtid.to_owned(), Vec::new()));
            }
        } else if inside && let Some((_, parts)) = lines.last_mut() {
            let part = match kind.as_str() {
                "Query" => {
                    let statement = info
                        .split_once("; ")
                        .filter(|(head, _)| head.starts_with("use "))
                        .map_or(&**info, |(_, rest)| rest);
                    (!matches!(statement, "BEGIN" | "COMMIT"))
                        .then(|| head(statement.split(" /*").next().unwrap_or("")))
                }
                "Table_map" => info
                    .split_once('(')
                    .map(|(_, table)| format!("rows of {}", table.trim_end_matches(')'))),
                _ => None,
            };
            if let Some(part) = part
                && !parts.contains(&part)
                && parts.len() < 4
            {
                parts.push(part);
            }
        }
    }
    lines
        .into_iter()
        .map(|(gtid, parts)| {
            format!(
                "{gtid}: {}",
                if parts.is_empty() {
                    "nothing".into()
                } else {
                    parts.join(", ")
                }
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_told_by_their_heads() {
        let uuid = "6ced32ca-e649-11f1-bb94-02fc00000001";
        let event = |kind: &str, info: String| (kind.to_owned(), info);
        let events = [
            event("Format_desc", "Server ver: 9.7.4".into()),
            event("Gtid", format!("SET @@SESSION.GTID_NEXT= '{uuid}:1'")),
            event(
                "Query",
                "CREATE USER 'x'@'%' IDENTIFIED WITH 'caching_sha2_password' AS 'secret'".into(),
            ),
            event("Gtid", format!("SET @@SESSION.GTID_NEXT= '{uuid}:2'")),
            event("Query", "BEGIN".into()),
            event("Table_map", "table_id: 108 (shop.t)".into()),
            event("Write_rows", "table_id: 108".into()),
            event("Xid", "COMMIT".into()),
            event("Gtid", format!("SET @@SESSION.GTID_NEXT= '{uuid}:3'")),
            event("Query", "use `shop`; CREATE TABLE u (id int) /* xid=7 */".into()),
        ];
        let wanted: GtidSet = format!("{uuid}:1-2").parse().unwrap();
        assert_eq!(
            read(&events, &wanted),
            [format!("{uuid}:1: CREATE USER"), format!("{uuid}:2: rows of shop.t")]
        );
        let last: GtidSet = format!("{uuid}:3").parse().unwrap();
        assert_eq!(read(&events, &last), [format!("{uuid}:3: CREATE TABLE u (id int)")]);
    }
}
