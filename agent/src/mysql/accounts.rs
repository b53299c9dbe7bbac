//! Accounts: members' (by certificate), and those that a plan orders with a password's hash.
//!
//! Statements are idempotent DDL that commit by themselves, verified by looking again (safety rule 7).

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::password;
use clusterctl_proto::step::{Account, AccountKind, MemberAccount};

use super::conn::{Db, text};
use super::error::MysqlError;
use super::grants::{self, Grant};
use super::quote;

/// All that may begin the name of a recovery account which AdminAPI or we made.
pub const MEMBER_PREFIX: &str = "mysql_innodb_cluster_";

/// What `mysql.user` holds of an account.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Row {
    plugin: String,
    /// Upper-case hexadecimal.
    hash: String,
    issuer: String,
    subject: String,
    ssl: String,
    locked: bool,
    expired: bool,
}

async fn look(db: &mut Db, user: &str, from: &str) -> Result<Option<Row>, MysqlError> {
    let rows = db
        .rows_with(
            "SELECT plugin, HEX(authentication_string), CONVERT(x509_issuer USING utf8mb4), CONVERT(x509_subject USING utf8mb4), \
             ssl_type, account_locked, password_expired FROM mysql.user WHERE user = ? AND host = ?",
            (user, from),
        )
        .await?;
    Ok(rows.first().map(|row| Row {
        plugin: text(row, 0),
        hash: text(row, 1),
        issuer: text(row, 2),
        subject: text(row, 3),
        ssl: text(row, 4),
        locked: text(row, 5) == "Y",
        expired: text(row, 6) == "Y",
    }))
}

/// Hosts with which a user name exists.
pub async fn hosts_of(db: &mut Db, user: &str) -> Result<Vec<String>, MysqlError> {
    let rows = db
        .rows_with("SELECT host FROM mysql.user WHERE user = ? ORDER BY host", (user,))
        .await?;
    Ok(rows.iter().map(|row| text(row, 0)).collect())
}

fn member_fits(row: &Row, account: &MemberAccount) -> bool {
    row.ssl == "SPECIFIED"
        && row.issuer == account.issuer
        && row.subject == account.subject
        && row.hash.is_empty()
        && !row.locked
        && !row.expired
}

fn member_statement(account: &MemberAccount) -> String {
    format!(
        "CREATE USER IF NOT EXISTS {} REQUIRE ISSUER {} SUBJECT {} PASSWORD EXPIRE NEVER",
        quote::account(&account.user, &account.from),
        quote::text(&account.issuer),
        quote::text(&account.subject)
    )
}

/// A member's account exists as described; answers what changed. Whether it is binlogged is the session's matter.
///
/// With `always` the statements are sent even where all is right here: this server may hold the account from a local,
/// unlogged creation, and only a logged IF NOT EXISTS brings it to members that join without one.
pub async fn ensure_member(db: &mut Db, account: &MemberAccount, always: bool) -> Result<Vec<String>, Failure> {
    let mut changes = Vec::new();
    // a more specific host part would win over ours at login
    for host in hosts_of(db, &account.user).await? {
        if host != account.from && account.user.starts_with(MEMBER_PREFIX) {
            db.run(&format!("DROP USER IF EXISTS {}", quote::account(&account.user, &host)))
                .await?;
            changes.push(format!("dropped {}@{host}", account.user));
        }
    }
    let before = look(db, &account.user, &account.from).await?;
    let fits = before.as_ref().is_some_and(|row| member_fits(row, account));
    if before.is_some() && !fits {
        // with a password or another subject it would let in somebody else: AdminAPI drops such a one, too
        db.run(&format!(
            "DROP USER IF EXISTS {}",
            quote::account(&account.user, &account.from)
        ))
        .await?;
    }
    if !fits || always {
        db.run(&member_statement(account)).await?;
    }
    let wanted = grants::member();
    let lacking = grants::missing(&wanted, &grants::held(db, &account.user, &account.from).await?);
    for grant in if always { &wanted } else { &lacking } {
        db.run(&grants::statement(grant, &account.user, &account.from, false))
            .await?;
    }
    let name = format!("{}@{}", account.user, account.from);
    match (before, fits) {
        (None, _) => changes.push(format!("created {name}")),
        (Some(_), false) => changes.push(format!("made {name} anew with what it requires")),
        (Some(_), true) if !lacking.is_empty() => changes.push(format!("granted to {name}")),
        (Some(_), true) => {}
    }
    let after = look(db, &account.user, &account.from).await?;
    if !after.as_ref().is_some_and(|row| member_fits(row, account)) {
        return Err(
            Failure::new("account_differs", format!("account {name} is not as it was just made")).hint(format!(
                "SHOW CREATE USER {}",
                quote::account(&account.user, &account.from)
            )),
        );
    }
    Ok(changes)
}

/// Accounts with a member's name that are not wanted are gone; answers what changed. Not binlogged: for servers outside a group.
pub async fn drop_other_members(db: &mut Db, wanted: &[MemberAccount]) -> Result<Vec<String>, Failure> {
    let rows = db
        .rows(&format!(
            "SELECT user, host FROM mysql.user WHERE user LIKE '{}%' ORDER BY 1, 2",
            MEMBER_PREFIX.replace('_', "\\_")
        ))
        .await?;
    let found: Vec<(String, String)> = rows.iter().map(|row| (text(row, 0), text(row, 1))).collect();
    let mut changes = Vec::new();
    for (user, from) in not_wanted(&found, wanted) {
        db.run(&format!("DROP USER IF EXISTS {}", quote::account(user, from)))
            .await?;
        changes.push(format!("dropped {user}@{from}"));
    }
    Ok(changes)
}

/// Those whose user name nobody wants; one that is wanted from elsewhere is [`ensure_member`]'s matter.
fn not_wanted<'a>(found: &'a [(String, String)], wanted: &[MemberAccount]) -> Vec<(&'a str, &'a str)> {
    let stranger = |user: &str| user.starts_with(MEMBER_PREFIX) && wanted.iter().all(|account| account.user != user);
    let strangers = found.iter().filter(|(user, _)| stranger(user));
    strangers.map(|(user, from)| (user.as_str(), from.as_str())).collect()
}

/// Marks an account that was made through us; a password that somebody else chose is never replaced.
const OURS: &str = r#"{"clusterctl": true}"#;

async fn made_by_us(db: &mut Db, account: &Account) -> Result<bool, Failure> {
    let found = db
        .value_with(
            "SELECT 1 FROM information_schema.user_attributes WHERE user = ? AND host = ? AND attribute->>'$.clusterctl' = 'true'",
            (&account.user, &account.from),
        )
        .await?;
    Ok(found.is_some())
}

fn taken(name: &str, account: &Account) -> Failure {
    let who = quote::account(&account.user, &account.from);
    Failure::refused(
        "account_exists",
        format!("account {name} exists and was not made by clusterctl"),
    )
    .fact("its password and rights are left as they are")
    .hint(format!(
        "choose another user name, or drop it first as a DBA: DROP USER {who}"
    ))
    .exit(ExitClass::Conflict)
}

/// An account that a plan orders exists with this hash and these rights; answers what changed. The hash is checked to be one:
/// nothing else is put into the statement.
pub async fn ensure(db: &mut Db, account: &Account, hash: &str) -> Result<Vec<String>, Failure> {
    let name = format!("{}@{}", account.user, account.from);
    if !password::is_hash(hash) {
        return Err(Failure::new(
            "secret_malformed",
            format!("what came as the password hash of {name} is none"),
        ));
    }
    if account.user.starts_with(MEMBER_PREFIX) || account.user.is_empty() || account.user.starts_with("mysql.") {
        return Err(
            Failure::refused("account_reserved", format!("the name {:?} is reserved", account.user))
                .hint("choose another user name"),
        );
    }
    if let AccountKind::Application { database } = &account.kind
        && grants::is_known(database)
    {
        return Err(Failure::refused(
            "schema_reserved",
            format!("{database} is a schema of the server, not of an application"),
        )
        .hint("name a schema of the application's own: --database appdb"));
    }
    let mut changes = Vec::new();
    if let AccountKind::Application { database } = &account.kind
        && db
            .value_with(
                "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?",
                (database,),
            )
            .await?
            .is_none()
    {
        db.run(&format!("CREATE DATABASE IF NOT EXISTS {}", quote::name(database)))
            .await?;
        changes.push(format!("created schema {database}"));
    }
    let who = quote::account(&account.user, &account.from);
    let identified = format!("IDENTIFIED WITH caching_sha2_password AS {hash}");
    let fits = |row: &Row| {
        row.plugin == "caching_sha2_password"
            && row.hash.eq_ignore_ascii_case(&hash[2..])
            && !row.locked
            && !row.expired
    };
    match look(db, &account.user, &account.from).await? {
        Some(row) if fits(&row) => {}
        Some(_) => {
            if !made_by_us(db, account).await? {
                return Err(taken(&name, account));
            }
            db.run(&format!("ALTER USER {who} {identified} ACCOUNT UNLOCK")).await?;
            changes.push(format!("set the password of {name}"));
        }
        None => {
            db.run(&format!(
                "CREATE USER IF NOT EXISTS {who} {identified} ATTRIBUTE '{OURS}'"
            ))
            .await?;
            changes.push(format!("created {name}"));
        }
    }
    let granted = grant(db, &grants::of(&account.kind), &account.user, &account.from).await?;
    if granted && !changes.iter().any(|change| change.starts_with("created ")) {
        changes.push(format!("granted to {name}"));
    }
    match look(db, &account.user, &account.from).await? {
        Some(row) if fits(&row) => Ok(changes),
        _ => Err(
            Failure::new("account_differs", format!("account {name} is not as it was just made"))
                .hint(format!("SHOW CREATE USER {who}")),
        ),
    }
}

async fn grant(db: &mut Db, wanted: &[Grant], user: &str, from: &str) -> Result<bool, MysqlError> {
    let partial = db.value("SELECT @@GLOBAL.partial_revokes").await?.as_deref() == Some("1");
    let lacking = grants::missing(wanted, &grants::held(db, user, from).await?);
    for grant in &lacking {
        db.run(&grants::statement(grant, user, from, partial)).await?;
    }
    Ok(!lacking.is_empty())
}

/// The account is gone; false: it was not there.
pub async fn drop(db: &mut Db, user: &str, from: &str) -> Result<bool, MysqlError> {
    if look(db, user, from).await?.is_none() {
        return Ok(false);
    }
    db.run(&format!("DROP USER IF EXISTS {}", quote::account(user, from)))
        .await?;
    Ok(true)
}

/// User names (with hosts) of the accounts that Routers with this id made for themselves: `mysql_router<id>_…`.
pub async fn of_router(db: &mut Db, id: u32) -> Result<Vec<(String, String)>, MysqlError> {
    let pattern = format!("mysql\\_router{id}\\_%");
    let rows = db
        .rows_with(
            "SELECT user, host FROM mysql.user WHERE user LIKE ? ORDER BY 1, 2",
            (pattern,),
        )
        .await?;
    Ok(rows.iter().map(|row| (text(row, 0), text(row, 1))).collect())
}

/// Router's id in the name of an account that it made for itself.
pub fn router_id(user: &str) -> Option<u32> {
    let (id, rest) = user.strip_prefix("mysql_router")?.split_once('_')?;
    (!rest.is_empty()).then(|| id.parse().ok()).flatten()
}

/// Runs work with the binary log off for this session and, where it is ON, with super_read_only OFF meanwhile. Only for servers
/// outside a group: what is done stays on this server.
pub async fn unlogged<T>(db: &mut Db, work: impl AsyncFnOnce(&mut Db) -> Result<T, Failure>) -> Result<T, Failure> {
    let row = db.row("SELECT @@GLOBAL.super_read_only, @@GLOBAL.read_only").await?;
    let (super_read_only, read_only) = (text(&row, 0) == "1", text(&row, 1) == "1");
    db.run("SET SESSION sql_log_bin = 0").await?;
    if super_read_only {
        db.run("SET GLOBAL super_read_only = OFF").await?;
    }
    let result = work(db).await;
    // where the connection broke or the step was cancelled, the keeper sets super_read_only ON (`keeper/settings.rs`)
    if db.usable() {
        if super_read_only {
            db.run("SET GLOBAL super_read_only = ON").await?;
        } else if !read_only {
            db.run("SET GLOBAL read_only = OFF").await?;
        }
        db.run("SET SESSION sql_log_bin = 1").await?;
    }
    result
}

/// Members' accounts, ours or MySQL Shell's, that may not read the tables by which one member asks another whether it is in a group
/// (`grants::member`): made by a release before, or made again by MySQL Shell.
pub async fn members_without_rights(db: &mut Db) -> Result<Vec<String>, MysqlError> {
    let rows = db.rows(include_str!("members_without_rights.sql")).await?;
    Ok(rows.iter().map(|row| text(row, 0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_statement_is_by_certificate_only() {
        let account = MemberAccount {
            user: "mysql_innodb_cluster_7".into(),
            from: "%".into(),
            subject: "/CN=node1".into(),
            issuer: "/CN=clusterctl CA".into(),
        };
        assert_eq!(
            member_statement(&account),
            "CREATE USER IF NOT EXISTS 'mysql_innodb_cluster_7'@'%' REQUIRE ISSUER '/CN=clusterctl CA' SUBJECT '/CN=node1' \
             PASSWORD EXPIRE NEVER"
        );
    }

    #[test]
    fn members_accounts_that_nobody_wants_are_dropped_before_a_server_enters() {
        let found = [
            ("mysql_innodb_cluster_7", "%"),
            ("mysql_innodb_cluster_7", "10.0.0.1"),
            ("mysql_innodb_cluster_8", "%"),
            ("mysqlXinnodb_cluster_9", "%"),
        ]
        .map(|(user, from)| (user.to_owned(), from.to_owned()));
        let wanted = [MemberAccount {
            user: "mysql_innodb_cluster_7".into(),
            from: "%".into(),
            subject: "/CN=node1".into(),
            issuer: "/CN=clusterctl CA".into(),
        }];
        assert_eq!(not_wanted(&found, &wanted), [("mysql_innodb_cluster_8", "%")]);
        assert!(not_wanted(&found[..2], &wanted).is_empty());
    }

    #[test]
    fn a_routers_id_is_read_from_its_account() {
        assert_eq!(router_id("mysql_router12_4m9rrxw"), Some(12));
        assert_eq!(router_id("mysql_router_x"), None);
        assert_eq!(router_id("mysql_router1_"), None);
        assert_eq!(router_id("app"), None);
    }
}
