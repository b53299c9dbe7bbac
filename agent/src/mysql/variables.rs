//! System variables: read, compare, and persist only what differs.

use std::collections::BTreeMap;

use clusterctl_proto::failure::Failure;

use super::conn::{Db, cell, text};
use super::error::MysqlError;
use super::quote;

/// Variable is read only (needs a restart).
const READ_ONLY: u16 = 1238;
/// Incorrect argument type: a number was wanted where a text was given, or the other way round.
const WRONG_TYPE: u16 = 1232;
/// Unknown system variable.
pub const UNKNOWN: u16 = 1193;

/// What is known of one variable.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Variable {
    /// Value now.
    pub running: String,
    /// Where it came from: `COMPILED`, `GLOBAL`, `EXPLICIT`, `PERSISTED`, `DYNAMIC` …
    pub source: String,
    /// What mysqld-auto.cnf holds for the next start.
    pub persisted: Option<String>,
}

/// What must be done for one variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// It must be persisted.
    Persist,
}

/// Reads these variables. One that does not exist (its plugin is not there) is left out.
pub async fn read(db: &mut Db, names: &[&str]) -> Result<BTreeMap<String, Variable>, MysqlError> {
    let list: Vec<String> = names
        .iter()
        .map(|name| quote::text(&name.to_ascii_lowercase()))
        .collect();
    if list.is_empty() {
        return Ok(BTreeMap::new());
    }
    let list = list.join(", ");
    let rows = db
        .rows(&format!(
            "SELECT LOWER(g.variable_name), g.variable_value, i.variable_source, p.variable_value \
             FROM performance_schema.global_variables AS g \
             LEFT JOIN performance_schema.variables_info AS i ON i.variable_name = g.variable_name \
             LEFT JOIN performance_schema.persisted_variables AS p ON p.variable_name = g.variable_name \
             WHERE g.variable_name IN ({list})"
        ))
        .await?;
    let variable = |row| {
        let found = Variable {
            running: text(row, 1),
            source: text(row, 2),
            persisted: cell(row, 3),
        };
        (text(row, 0), found)
    };
    Ok(rows.iter().map(variable).collect())
}

/// When this variable was last set in this run of mysqld, to any value, in UTC with microseconds; none: not known.
pub async fn set_time(db: &mut Db, name: &str) -> Result<Option<String>, MysqlError> {
    let sql =
        format!("SELECT CAST(set_time AS CHAR) FROM performance_schema.variables_info WHERE variable_name = '{name}'");
    db.value(&sql).await
}

/// What one variable needs. A running value that nobody persisted is good enough only where it comes from the server's
/// defaults or from a file: one that was set at run time would be gone after the next start.
pub fn need(wanted: &str, now: &Variable) -> Need {
    let stays = match &now.persisted {
        Some(persisted) => !wanted.eq_ignore_ascii_case("DEFAULT") && same(persisted, wanted),
        None if wanted.eq_ignore_ascii_case("DEFAULT") => {
            matches!(now.source.as_str(), "COMPILED" | "") || now.running.is_empty()
        }
        None => now.source != "DYNAMIC" && same(&now.running, wanted),
    };
    let runs = wanted.eq_ignore_ascii_case("DEFAULT") || same(&now.running, wanted);
    if stays && runs { Need::Nothing } else { Need::Persist }
}

/// What Group Replication switches by itself on a running member: persisted for the next start only. Set at once it would stop
/// the writes of a live primary.
const STATE: [&str; 3] = ["super_read_only", "read_only", "offline_mode"];

/// Persists what differs, in the given order; answers a line for each change, `name: old -> new`.
pub async fn persist(db: &mut Db, wanted: &[(String, String)]) -> Result<Vec<String>, Failure> {
    for (name, _) in wanted {
        if quote::variable(name).is_none() {
            return Err(Failure::new(
                "variable_name",
                format!("{name:?} is not the name of a system variable"),
            ));
        }
    }
    let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let now = read(db, &names).await?;
    let mut changes = Vec::new();
    for (name, value) in wanted {
        let Some(found) = now.get(&name.to_ascii_lowercase()) else {
            return Err(
                Failure::new("variable_unknown", format!("this server knows no variable {name}"))
                    .hint("its plugin is not installed, or the server's version does not fit"),
            );
        };
        if STATE.contains(&name.to_ascii_lowercase().as_str()) {
            if !found.persisted.as_ref().is_some_and(|persisted| same(persisted, value)) {
                db.run(&format!("SET PERSIST_ONLY {name} = {}", quote::setting(value)))
                    .await?;
                changes.push(format!("{name}: {value} from the next start"));
            }
        } else if need(value, found) == Need::Persist {
            set_persist(db, name, value).await?;
            changes.push(format!("{name}: {} -> {value}", shown(&found.running)));
        }
    }
    Ok(changes)
}

async fn set_persist(db: &mut Db, name: &str, value: &str) -> Result<(), MysqlError> {
    if value.eq_ignore_ascii_case("DEFAULT") {
        // SET PERSIST … = DEFAULT would keep today's default in mysqld-auto.cnf for ever
        db.run(&format!("RESET PERSIST IF EXISTS {name}")).await?;
        return db.run(&format!("SET GLOBAL {name} = DEFAULT")).await;
    }
    let setting = quote::setting(value);
    match db.run(&format!("SET PERSIST {name} = {setting}")).await {
        Err(error) if error.code() == Some(READ_ONLY) => db.run(&format!("SET PERSIST_ONLY {name} = {setting}")).await,
        Err(error) if error.code() == Some(WRONG_TYPE) => {
            db.run(&format!("SET PERSIST {name} = {}", quote::text(value))).await
        }
        other => other,
    }
}

/// Sets a running value; false when only a restart can.
pub async fn set_global(db: &mut Db, name: &str, value: &str, also_persisted: bool) -> Result<bool, MysqlError> {
    let verb = if also_persisted { "PERSIST" } else { "GLOBAL" };
    match db.run(&format!("SET {verb} {name} = {}", quote::setting(value))).await {
        Ok(()) => Ok(true),
        Err(MysqlError::Refused { code: WRONG_TYPE, .. }) => {
            match db.run(&format!("SET {verb} {name} = {}", quote::text(value))).await {
                Ok(()) => Ok(true),
                Err(MysqlError::Refused { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        }
        Err(MysqlError::Refused { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// An empty value, made visible.
pub fn shown(value: &str) -> &str {
    if value.is_empty() { "''" } else { value }
}

/// Whether two spellings mean the same value: `ON` and `1`, `128M` and `134217728`, upper and lower case.
pub fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim(), b.trim());
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    match (amount(a), amount(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// A number with an optional decimal part of zeros and suffix, or a switch.
pub fn amount(value: &str) -> Option<u128> {
    let lower = value.to_ascii_lowercase();
    match lower.as_str() {
        "on" | "true" | "yes" => return Some(1),
        "off" | "false" | "no" => return Some(0),
        _ => {}
    }
    let (digits, factor) = match lower.chars().last()? {
        'k' => (&lower[..lower.len() - 1], 1 << 10),
        'm' => (&lower[..lower.len() - 1], 1 << 20),
        'g' => (&lower[..lower.len() - 1], 1 << 30),
        't' => (&lower[..lower.len() - 1], 1u128 << 40),
        _ => (lower.as_str(), 1),
    };
    let digits = match digits.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => digits,
    };
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.parse::<u128>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(running: &str, source: &str, persisted: Option<&str>) -> Variable {
        Variable {
            running: running.into(),
            source: source.into(),
            persisted: persisted.map(str::to_owned),
        }
    }

    #[test]
    fn spellings_are_the_same() {
        for (a, b) in [
            ("ON", "1"),
            ("off", "FALSE"),
            ("128M", "134217728"),
            ("1g", "1024M"),
            ("20.000000", "20"),
            ("offline_mode", "OFFLINE_MODE"),
            ("", ""),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("ON", "0"),
            ("1", "2"),
            ("node1:3306", "node2:3306"),
            ("", "0"),
            ("0.5", "0.6"),
            ("m", "0"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn only_what_differs_is_persisted() {
        assert_eq!(need("ON", &variable("ON", "PERSISTED", Some("ON"))), Need::Nothing);
        assert_eq!(need("ON", &variable("1", "COMPILED", None)), Need::Nothing);
        assert_eq!(need("ON", &variable("1", "EXPLICIT", None)), Need::Nothing);
        assert_eq!(
            need("ON", &variable("ON", "DYNAMIC", None)),
            Need::Persist,
            "gone after a restart"
        );
        assert_eq!(need("ON", &variable("ON", "DYNAMIC", Some("ON"))), Need::Nothing);
        assert_eq!(
            need("ON", &variable("OFF", "DYNAMIC", Some("ON"))),
            Need::Persist,
            "differs now"
        );
        assert_eq!(
            need("ON", &variable("ON", "DYNAMIC", Some("OFF"))),
            Need::Persist,
            "differs at the next start"
        );
        assert_eq!(need("DEFAULT", &variable("x", "COMPILED", None)), Need::Nothing);
        assert_eq!(need("DEFAULT", &variable("", "DYNAMIC", None)), Need::Nothing);
        assert_eq!(need("DEFAULT", &variable("x", "DYNAMIC", None)), Need::Persist);
        assert_eq!(need("DEFAULT", &variable("x", "PERSISTED", Some("x"))), Need::Persist);
    }
}
