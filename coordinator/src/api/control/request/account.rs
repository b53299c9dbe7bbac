//! Accounts of MySQL as an operator names them, and the hashes of their passwords.

use std::collections::{BTreeMap, HashMap};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::{Account, AccountKind};
use clusterctl_proto::wire::control as pb;

use super::{cut, usage};

/// MySQL's limit for the user part.
const MAX_USER: usize = 32;
/// Of an identifier.
const MAX_SCHEMA: usize = 64;

pub(super) fn account(create: &pb::CreateAccount) -> Result<Account, Failure> {
    let (user, from) = (user(&create.user)?, from(&create.from)?);
    let kind = match create.kind.as_str() {
        "application" => AccountKind::Application {
            database: schema(&create.database)?,
        },
        "monitor" => AccountKind::Monitor,
        "admin" => AccountKind::Admin,
        other => {
            return Err(usage("bad_kind", format!("{:?} is no kind of account", cut(other)))
                .hint("application (with --database), monitor or admin"));
        }
    };
    if !create.database.is_empty() && !matches!(kind, AccountKind::Application { .. }) {
        return Err(usage(
            "bad_kind",
            format!("an account of kind {} has no database", create.kind),
        ));
    }
    Ok(Account { user, from, kind })
}

pub(super) fn user(text: &str) -> Result<String, Failure> {
    let ok = (1..=MAX_USER).contains(&text.chars().count())
        && !text
            .chars()
            .any(|c| c.is_control() || matches!(c, '\'' | '`' | '"' | '\\' | '@'));
    if !ok {
        return Err(
            usage("bad_user", format!("{:?} cannot be an account's name", cut(text)))
                .hint(format!("1 to {MAX_USER} characters, no quotes, no '@', no backslash")),
        );
    }
    if text.starts_with("mysql.")
        || text.starts_with("mysql_innodb_")
        || text.starts_with("mysql_router")
        || text == "root"
    {
        return Err(usage(
            "reserved_user",
            format!("the name {text} is used by MySQL and clusterctl"),
        )
        .hint("choose another name"));
    }
    Ok(text.to_owned())
}

pub(super) fn from(text: &str) -> Result<String, Failure> {
    if text.is_empty() {
        return Ok("%".to_owned());
    }
    let ok = text.len() <= 255
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'%' | b':' | b'/'));
    if ok {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(
            usage("bad_from", format!("{:?} cannot be an account's host part", cut(text)))
                .hint("for example %, 10.0.0.% or app1.example"),
        )
    }
}

fn schema(text: &str) -> Result<String, Failure> {
    let ok = (1..=MAX_SCHEMA).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$'));
    if !ok {
        return Err(usage(
            "bad_database",
            format!("{:?} cannot be the database of an application", cut(text)),
        )
        .hint(format!(
            "--database NAME: 1 to {MAX_SCHEMA} letters, digits, '_', '-' or '$'"
        )));
    }
    let system = [
        "mysql",
        "sys",
        "information_schema",
        "performance_schema",
        "mysql_innodb_cluster_metadata",
        "clusterctl_verify",
    ];
    if system.iter().any(|name| text.eq_ignore_ascii_case(name)) {
        return Err(usage("bad_database", format!("{text} belongs to MySQL or clusterctl")).hint("choose another name"));
    }
    Ok(text.to_owned())
}

/// Hashes of passwords: `account:…` to `0x…`.
pub(in super::super) fn secrets(given: HashMap<String, String>) -> Result<BTreeMap<String, String>, Failure> {
    let hash = |value: &str| {
        value
            .strip_prefix("0x")
            .is_some_and(|hex| (2..=1024).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let ok = given.len() <= 8
        && given
            .iter()
            .all(|(name, value)| name.starts_with("account:") && name.len() <= 400 && hash(value));
    if ok {
        Ok(given.into_iter().collect())
    } else {
        Err(usage("bad_secret", "a secret of the request is no hash of a password"))
    }
}
