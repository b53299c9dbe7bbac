//! Which rights each kind of account gets, as data (docs/metadata.md, Accounts); what is missing is granted, nothing is revoked.

use std::collections::{BTreeMap, BTreeSet};

use clusterctl_proto::step::AccountKind;

use super::conn::{Db, flag, text};
use super::error::MysqlError;
use super::quote;

/// The metadata schema's name.
pub const METADATA: &str = "mysql_innodb_cluster_metadata";
/// Schema in which `verify` writes its marker.
pub const VERIFY: &str = "clusterctl_verify";

/// On what a right is given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// `*.*`.
    Global,
    /// A schema.
    Schema(String),
    /// A table or view.
    Table(String, String),
}

/// Rights on one level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// On what.
    pub level: Level,
    /// Names of the rights, upper case.
    pub rights: Vec<&'static str>,
    /// WITH GRANT OPTION.
    pub option: bool,
}

impl Grant {
    fn on(level: Level, rights: &[&'static str]) -> Self {
        Self {
            level,
            rights: rights.to_vec(),
            option: false,
        }
    }

    fn schema(name: &str, rights: &[&'static str]) -> Self {
        Self::on(Level::Schema(name.to_owned()), rights)
    }

    fn table(schema: &str, table: &str, rights: &[&'static str]) -> Self {
        Self::on(Level::Table(schema.to_owned(), table.to_owned()), rights)
    }

    fn with_option(mut self) -> Self {
        self.option = true;
        self
    }
}

const SCHEMA_ALL: [&str; 18] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "REFERENCES",
    "INDEX",
    "ALTER",
    "CREATE TEMPORARY TABLES",
    "LOCK TABLES",
    "EXECUTE",
    "CREATE VIEW",
    "SHOW VIEW",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "EVENT",
    "TRIGGER",
];

/// Rights of a member's recovery account. By the two tables an agent asks another member whether it is in a group (`peer.rs`).
pub fn member() -> Vec<Grant> {
    vec![
        Grant::on(
            Level::Global,
            &[
                "REPLICATION SLAVE",
                "BACKUP_ADMIN",
                "CONNECTION_ADMIN",
                "GROUP_REPLICATION_STREAM",
            ],
        ),
        Grant::table("performance_schema", "replication_group_members", &["SELECT"]),
        Grant::table("performance_schema", "replication_group_member_stats", &["SELECT"]),
    ]
}

/// Rights of an account of this kind.
pub fn of(kind: &AccountKind) -> Vec<Grant> {
    match kind {
        AccountKind::Application { database } => vec![Grant::schema(database, &SCHEMA_ALL)],
        AccountKind::Monitor => monitor(),
        AccountKind::Admin => admin(),
        AccountKind::RouterBootstrap => router_bootstrap(),
        AccountKind::Verify => vec![
            Grant::schema(VERIFY, &["SELECT", "INSERT", "UPDATE", "DELETE"]),
            Grant::table("performance_schema", "replication_group_members", &["SELECT"]),
        ],
    }
}

fn monitor() -> Vec<Grant> {
    vec![
        Grant::on(Level::Global, &["PROCESS", "REPLICATION CLIENT"]),
        Grant::schema("performance_schema", &["SELECT"]),
        Grant::schema("sys", &["SELECT", "EXECUTE"]),
        Grant::schema(METADATA, &["SELECT"]),
    ]
}

fn admin() -> Vec<Grant> {
    let without_select: Vec<&'static str> = SCHEMA_ALL.iter().copied().filter(|right| *right != "SELECT").collect();
    let mut grants = vec![
        Grant::on(
            Level::Global,
            &[
                "SELECT",
                "RELOAD",
                "SHUTDOWN",
                "PROCESS",
                "FILE",
                "EXECUTE",
                "REPLICATION SLAVE",
                "REPLICATION CLIENT",
                "CREATE USER",
                "CLONE_ADMIN",
                "CONNECTION_ADMIN",
                "GROUP_REPLICATION_ADMIN",
                "PERSIST_RO_VARIABLES_ADMIN",
                "REPLICATION_APPLIER",
                "REPLICATION_SLAVE_ADMIN",
                "ROLE_ADMIN",
                "SYSTEM_VARIABLES_ADMIN",
                "TRANSACTION_GTID_TAG",
            ],
        )
        .with_option(),
        Grant::schema("mysql", &["INSERT", "UPDATE", "DELETE"]).with_option(),
    ];
    for suffix in ["", "_bkp", "_previous"] {
        grants.push(Grant::schema(&format!("{METADATA}{suffix}"), &without_select).with_option());
    }
    grants
}

/// The least by which Router 9.7's bootstrap succeeds and can make Router's own account (measured, docs/mysql-facts.md).
fn router_bootstrap() -> Vec<Grant> {
    vec![
        Grant::on(Level::Global, &["CREATE USER"]),
        Grant::schema(METADATA, &["SELECT", "EXECUTE"]).with_option(),
        Grant::table(METADATA, "routers", &["INSERT", "UPDATE", "DELETE"]).with_option(),
        Grant::table(METADATA, "v2_routers", &["INSERT", "UPDATE", "DELETE"]).with_option(),
        Grant::table(METADATA, "router_stats", &["INSERT", "UPDATE"]).with_option(),
        Grant::table(METADATA, "clusters", &["UPDATE"]),
        Grant::table(METADATA, "v2_gr_clusters", &["UPDATE"]),
        Grant::table("performance_schema", "replication_group_members", &["SELECT"]).with_option(),
        Grant::table("performance_schema", "replication_group_member_stats", &["SELECT"]).with_option(),
        Grant::table("performance_schema", "global_variables", &["SELECT"]).with_option(),
    ]
}

/// What an account has: per level the rights, and whether it may hand them on.
pub type Held = BTreeMap<Level, BTreeMap<String, bool>>;

/// Reads what an account has.
pub async fn held(db: &mut Db, user: &str, from: &str) -> Result<Held, MysqlError> {
    let grantee = quote_grantee(user, from);
    let mut held = Held::new();
    for row in db
        .rows_with(include_str!("grants.sql"), (&grantee, &grantee, &grantee))
        .await?
    {
        let (schema, table) = (text(&row, 0), text(&row, 1));
        let level = match (schema.is_empty(), table.is_empty()) {
            (true, _) => Level::Global,
            // stored as it was granted: with the wildcards escaped
            (false, true) => Level::Schema(schema.replace("\\_", "_").replace("\\%", "%")),
            (false, false) => Level::Table(schema, table),
        };
        held.entry(level).or_default().insert(text(&row, 2), flag(&row, 3));
    }
    Ok(held)
}

fn quote_grantee(user: &str, from: &str) -> String {
    format!("'{user}'@'{from}'")
}

/// What is wanted and not held.
pub fn missing(wanted: &[Grant], held: &Held) -> Vec<Grant> {
    let none = BTreeMap::new();
    let lacks = |grant: &Grant| {
        let there = held.get(&grant.level).unwrap_or(&none);
        let lacking: BTreeSet<&str> = grant
            .rights
            .iter()
            .copied()
            .filter(|right| there.get(*right).is_none_or(|option| grant.option && !option))
            .collect();
        let rights: Vec<&'static str> = grant
            .rights
            .iter()
            .copied()
            .filter(|right| lacking.contains(right))
            .collect();
        (!rights.is_empty()).then(|| Grant {
            rights,
            ..grant.clone()
        })
    };
    wanted.iter().filter_map(lacks).collect()
}

/// Schemas of the server and of the tools: no application's.
pub fn is_known(schema: &str) -> bool {
    let schema = schema.to_ascii_lowercase();
    let schema = schema.as_str();
    schema == "information_schema"
        || schema.starts_with(METADATA)
        || matches!(schema, "mysql" | "sys" | "performance_schema" | VERIFY)
}

/// The statement that grants.
pub fn statement(grant: &Grant, user: &str, from: &str, partial_revokes: bool) -> String {
    let on = match &grant.level {
        Level::Global => "*.*".to_owned(),
        // a right on the escaped name does not cover a grant on the plain one, and the plain one is what Router and AdminAPI write
        Level::Schema(schema) if is_known(schema) => format!("{}.*", quote::name(schema)),
        Level::Schema(schema) => format!("{}.*", quote::granted_schema(schema, partial_revokes)),
        Level::Table(schema, table) => format!("{}.{}", quote::name(schema), quote::name(table)),
    };
    let option = if grant.option { " WITH GRANT OPTION" } else { "" };
    format!(
        "GRANT {} ON {on} TO {}{option}",
        grant.rights.join(", "),
        quote::account(user, from)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_has_all_on_its_schema_and_nothing_else() {
        let grants = of(&AccountKind::Application {
            database: "app_db".into(),
        });
        assert_eq!(grants.len(), 1);
        let text = statement(&grants[0], "app", "%", false);
        assert!(text.ends_with("ON `app\\_db`.* TO 'app'@'%'"), "{text}");
        assert!(!text.contains("GRANT OPTION"));
    }

    #[test]
    fn only_what_is_missing_is_granted() {
        let wanted = member();
        let mut held = Held::new();
        assert_eq!(missing(&wanted, &held), wanted);
        let rights = held.entry(Level::Global).or_default();
        rights.insert("REPLICATION SLAVE".into(), false);
        rights.insert("BACKUP_ADMIN".into(), false);
        let left = missing(&wanted, &held);
        assert_eq!(left[0].rights, ["CONNECTION_ADMIN", "GROUP_REPLICATION_STREAM"]);
        let rights = held.entry(Level::Global).or_default();
        rights.insert("CONNECTION_ADMIN".into(), false);
        rights.insert("GROUP_REPLICATION_STREAM".into(), false);
        let tables = missing(&wanted, &held);
        assert_eq!(
            tables,
            wanted[1..],
            "an older version's account may not read who is in the group"
        );
        for grant in tables {
            held.entry(grant.level).or_default().insert("SELECT".into(), false);
        }
        assert!(missing(&wanted, &held).is_empty());
    }

    #[test]
    fn a_right_without_its_grant_option_is_missing() {
        let wanted = [Grant::schema("s", &["SELECT"]).with_option()];
        let mut held = Held::new();
        held.entry(Level::Schema("s".into()))
            .or_default()
            .insert("SELECT".into(), false);
        assert_eq!(missing(&wanted, &held), wanted);
        held.entry(Level::Schema("s".into()))
            .or_default()
            .insert("SELECT".into(), true);
        assert!(missing(&wanted, &held).is_empty());
    }

    /// As MySQL Shell's `configureInstance` creates it (docs/metadata.md, Accounts).
    #[test]
    fn the_admin_account_is_adminapis() {
        let grants = admin();
        assert_eq!(grants.len(), 5);
        let global = &grants[0].rights;
        for right in
            "SELECT, RELOAD, SHUTDOWN, PROCESS, FILE, EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, CREATE USER"
                .split(", ")
        {
            assert!(global.contains(&right), "{right}");
        }
        for right in
            "CLONE_ADMIN,CONNECTION_ADMIN,GROUP_REPLICATION_ADMIN,PERSIST_RO_VARIABLES_ADMIN,REPLICATION_APPLIER,\
                      REPLICATION_SLAVE_ADMIN,ROLE_ADMIN,SYSTEM_VARIABLES_ADMIN,TRANSACTION_GTID_TAG"
                .split(',')
        {
            assert!(global.contains(&right), "{right}");
        }
        assert_eq!(global.len(), 18);
        assert!(grants.iter().all(|grant| grant.option));
        let text = statement(&grants[2], "icadmin", "%", true);
        assert_eq!(
            text,
            "GRANT INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, \
             CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER ON `mysql_innodb_cluster_metadata`.* TO \
             'icadmin'@'%' WITH GRANT OPTION"
        );
    }
}
