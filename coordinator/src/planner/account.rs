//! Accounts that operators make: for applications, for monitoring, for MySQL Shell.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::step::{Account, AccountKind, Step};

use super::builder::Builder;
use super::context::Context;
use super::world::{Planning, Stop, World};
use super::{join, live};
use crate::model::Operation;

/// Users that belong to MySQL, to AdminAPI, to Router or to us.
const RESERVED: [&str; 5] = [
    "mysql.",
    "mysql_innodb_cluster_",
    "mysql_innodb_cs_",
    "mysql_router",
    "clusterctl_",
];
/// Schemas that no application owns.
const SYSTEM_SCHEMAS: [&str; 7] = [
    "mysql",
    "sys",
    "information_schema",
    "performance_schema",
    "mysql_innodb_cluster_metadata",
    "mysql_innodb_cluster_metadata_bkp",
    "clusterctl_verify",
];

/// Longest user name that MySQL keeps, in characters.
const LONGEST_USER: usize = 32;
/// Longest host part.
const LONGEST_FROM: usize = 255;
/// Longest schema name.
const LONGEST_SCHEMA: usize = 64;

/// What can be said before intent is written.
pub(crate) fn before_intent(world: &World<'_>, op: &Operation, account: &Account) -> Planning<()> {
    sound(account)?;
    let key = format!("{}@{}", account.user, account.from);
    let known = world
        .model
        .clusters
        .get(&op.cluster)
        .and_then(|cluster| cluster.accounts.get(&key));
    match known {
        Some(known) if known.account != *account => Err(Failure::new(
            "account_exists",
            format!("account {key} exists already, for something else"),
        )
        .fact(format!("it is for: {}", purpose(&known.account.kind)))
        .hint(format!(
            "choose another name, or drop it first: clusterctl account drop {} --from '{}'",
            account.user, account.from
        ))
        .exit(ExitClass::Conflict)
        .into()),
        Some(known) if known.made => Err(Stop::Already(format!(
            "account {key} exists already; its password stays"
        ))),
        _ => Ok(()),
    }
}

fn purpose(kind: &AccountKind) -> String {
    match kind {
        AccountKind::Application { database } => format!("an application on schema {database}"),
        AccountKind::Monitor => "monitoring".to_owned(),
        AccountKind::Admin => "administration by MySQL Shell".to_owned(),
        AccountKind::RouterBootstrap | AccountKind::Verify => "clusterctl itself".to_owned(),
    }
}

fn sound(account: &Account) -> Result<(), Failure> {
    let bad = |what: String, hint: &str| Err(Failure::new("bad_account", what).hint(hint).exit(ExitClass::Usage));
    let user = account.user.as_str();
    let length = user.chars().count();
    if length == 0 || length > LONGEST_USER || odd(user) {
        return bad(
            format!("{user:?} is not a user name"),
            "1 to 32 characters, no quotes, backslashes or control characters",
        );
    }
    let low = user.to_ascii_lowercase();
    if low == "root" || RESERVED.iter().any(|prefix| low.starts_with(prefix)) {
        return bad(
            format!("user name {user} is reserved"),
            "names of MySQL, AdminAPI, Router and clusterctl itself are not for applications: choose another",
        );
    }
    if account.from.is_empty() || account.from.len() > LONGEST_FROM || odd(&account.from) {
        return bad(
            format!("{:?} is not the host part of an account", account.from),
            "an address, a pattern such as 10.0.0.%, or %",
        );
    }
    match &account.kind {
        AccountKind::Application { database } => {
            if database.is_empty()
                || database.chars().count() > LONGEST_SCHEMA
                || odd(database)
                || database.ends_with(' ')
            {
                return bad(
                    format!("{database:?} is not a schema name"),
                    "1 to 64 characters, no quotes, backslashes or control characters",
                );
            }
            if SYSTEM_SCHEMAS.contains(&database.to_ascii_lowercase().as_str()) {
                return bad(
                    format!("schema {database} belongs to the system"),
                    "give the application a schema of its own",
                );
            }
            Ok(())
        }
        AccountKind::Monitor | AccountKind::Admin => Ok(()),
        AccountKind::RouterBootstrap | AccountKind::Verify => bad(
            "accounts of this kind are made by plans only".to_owned(),
            "choose application, monitor or admin",
        ),
    }
}

fn odd(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() || matches!(c, '\'' | '"' | '`' | '\\'))
}

/// The account is made.
pub(crate) fn create(context: &Context<'_>, account: &Account) -> Planning {
    let cluster = context.cluster()?;
    if !cluster.formed {
        return Err(join::not_formed(cluster).into());
    }
    let primary = live::need_primary(context, cluster)?;
    let key = format!("{}@{}", account.user, account.from);
    let mut builder = Builder::default();
    if account.from != "%" && !account.from.contains(|c: char| c.is_ascii_digit() || c == ':') {
        builder.note(format!(
            "servers look no names up (skip_name_resolve): {key} can log in only if its host part matches an address"
        ));
    }
    let step = Step::Account {
        account: account.clone(),
        secret: format!("account:{key}"),
    };
    builder.write(
        primary.host,
        step,
        format!("make account {key} for {}", purpose(&account.kind)),
        &[],
    );
    Ok(builder.finish(
        context,
        format!("account {key} is made, for {}", purpose(&account.kind)),
    ))
}

/// The account is dropped.
pub(crate) fn drop(context: &Context<'_>, user: &str, from: &str) -> Planning {
    let cluster = context.cluster()?;
    let key = format!("{user}@{from}");
    if !cluster.accounts.contains_key(&key) {
        return Err(Stop::Already(format!(
            "{} has no account {key} that was made through clusterctl",
            cluster.name
        )));
    }
    let primary = live::need_primary(context, cluster)?;
    let mut builder = Builder::default();
    let step = Step::DropAccount {
        user: user.to_owned(),
        from: from.to_owned(),
    };
    builder.write(primary.host, step, format!("drop account {key}"), &[]);
    Ok(builder.finish(context, format!("account {key} is dropped")))
}
