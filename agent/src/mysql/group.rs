//! Group Replication on this server: its state, and the waits until it is quiet, ONLINE or writable.
//!
//! Called by steps, `start` and the observation. It must never start or stop anything (that is `start`).

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{GroupMember, GroupView, MemberRole, MemberState};
use tokio::time::Instant;

use super::conn::{Db, cell, flag, number, text};
use super::error::MysqlError;
use super::quote;
use super::server::Row;
use super::variables::UNKNOWN;

/// Channel by which a joiner gets what it misses.
pub const RECOVERY_CHANNEL: &str = "group_replication_recovery";
/// Channel that applies what the group sends.
pub const APPLIER_CHANNEL: &str = "group_replication_applier";

/// STOP waits for the applier to end what it has begun (`group_replication_components_stop_timeout` is 300 s).
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(320);

/// The view of the group as this server sees it, without its id and without how long it has agreed on nothing; none: the plugin is not
/// active. Answers also while START runs.
pub async fn view(db: &mut Db) -> Result<Option<GroupView>, MysqlError> {
    let rows = db.rows(include_str!("view.sql")).await?;
    let Some(own) = rows.iter().find(|row| flag(row, 6)) else {
        return Ok(None);
    };
    let state = member_state(&text(own, 3));
    let members = rows.iter().filter_map(member).collect();
    // looked for only where it can be: the list of threads is long
    let auto_rejoin = state != MemberState::Online && auto_rejoin(db).await?;
    Ok(Some(GroupView {
        state,
        role: member_role(&text(own, 4)),
        view_id: String::new(),
        members,
        auto_rejoin,
        channel_error: channel_error(db).await?,
        standstill_ms: None,
    }))
}

/// Id of the view. Waits for the end of a START that runs, as everything does that reads the statistics.
pub async fn view_id(db: &mut Db) -> Result<String, MysqlError> {
    let sql =
        "SELECT view_id FROM performance_schema.replication_group_member_stats WHERE member_id = @@GLOBAL.server_uuid";
    Ok(db.value(sql).await?.unwrap_or_default())
}

fn member(row: &Row) -> Option<GroupMember> {
    Some(GroupMember {
        server_uuid: text(row, 0).parse().ok()?,
        host: text(row, 1),
        port: u16::try_from(number(row, 2)).unwrap_or(0),
        state: member_state(&text(row, 3)),
        role: member_role(&text(row, 4)),
        version: text(row, 5),
    })
}

/// A state's name; one that is not known is taken for the worst.
pub(super) fn member_state(name: &str) -> MemberState {
    match name {
        "ONLINE" => MemberState::Online,
        "RECOVERING" => MemberState::Recovering,
        "OFFLINE" | "" => MemberState::Offline,
        "UNREACHABLE" => MemberState::Unreachable,
        _ => MemberState::Error,
    }
}

pub(super) fn member_role(name: &str) -> MemberRole {
    match name {
        "PRIMARY" => MemberRole::Primary,
        "SECONDARY" => MemberRole::Secondary,
        _ => MemberRole::None,
    }
}

/// Whether Group Replication's own auto-rejoin is trying, its delayed start at boot, or a START or STOP of any session: until
/// that has ended, OFFLINE does not mean "out" (safety rule 1).
async fn auto_rejoin(db: &mut Db) -> Result<bool, MysqlError> {
    let count = db
        .value(&format!(
            "SELECT COUNT(*) FROM performance_schema.threads WHERE name IN \
             ('thread/group_rpl/THD_autorejoin', 'thread/group_rpl/THD_delayed_initialization') OR {UNDER_WAY}"
        ))
        .await?;
    Ok(count.is_some_and(|count| count != "0"))
}

/// A statement outlives the client that sent it: the agent may have been killed in the middle. It may stand in a packet of several.
const UNDER_WAY: &str = "processlist_info REGEXP '(^|;) *(START|STOP) +GROUP_REPLICATION'";

/// The START or STOP that some session runs now.
pub async fn under_way(db: &mut Db) -> Result<Option<String>, MysqlError> {
    let sql = format!("SELECT processlist_info FROM performance_schema.threads WHERE {UNDER_WAY} LIMIT 1");
    db.value(&sql).await
}

/// Waits until no session starts or stops Group Replication here: before that the state means nothing, and no setting of it may
/// be changed. To be called before a step looks.
pub async fn wait_quiet(db: &mut Db) -> Result<(), Failure> {
    let end = Instant::now() + STOP_LIMIT;
    while let Some(statement) = under_way(db).await? {
        if Instant::now() >= end {
            return Err(Failure::new(
                "group_busy",
                "another session starts or stops Group Replication on this server",
            )
            .fact(format!("it runs {statement} for more than {} s", STOP_LIMIT.as_secs()))
            .transient());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}

/// Last error of the applier's or the recovery's channel.
pub async fn channel_error(db: &mut Db) -> Result<Option<String>, MysqlError> {
    let rows = db.rows(include_str!("channel_error.sql")).await?;
    Ok(rows
        .first()
        .map(|row| format!("{}: {} (error {})", text(row, 0), text(row, 2), text(row, 1))))
}

/// Name of the group that this server is set up for, empty if none or without the plugin.
pub async fn name(db: &mut Db) -> Result<String, MysqlError> {
    match db.value("SELECT @@GLOBAL.group_replication_group_name").await {
        Ok(name) => Ok(name.unwrap_or_default()),
        Err(error) if error.code() == Some(UNKNOWN) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// The recovery channel logs in as this account, by certificate: without a password.
pub async fn set_recovery_user(db: &mut Db, user: &str) -> Result<Option<String>, MysqlError> {
    let old = recovery_user(db).await?;
    if old.as_deref() == Some(user) {
        return Ok(None);
    }
    db.run(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_USER = {}, SOURCE_PASSWORD = '' FOR CHANNEL '{RECOVERY_CHANNEL}'",
        quote::text(user)
    ))
    .await?;
    Ok(Some(format!(
        "recovery channel: {} -> {user}",
        old.as_deref().unwrap_or("none")
    )))
}

/// Account of the recovery channel.
pub async fn recovery_user(db: &mut Db) -> Result<Option<String>, MysqlError> {
    db.value(&format!(
        "SELECT user FROM performance_schema.replication_connection_configuration WHERE channel_name = '{RECOVERY_CHANNEL}'"
    ))
    .await
}

/// Who this server is and that it may write for the group: ONLINE, PRIMARY, and sees a majority (safety rule 7).
pub async fn require_primary(db: &mut Db) -> Result<(), Failure> {
    let Some(view) = view(db).await? else {
        return Err(not_primary("Group Replication is not active on this server"));
    };
    if view.state != MemberState::Online || view.role != MemberRole::Primary {
        return Err(not_primary(&format!(
            "this server is {:?}, {:?}",
            view.state, view.role
        )));
    }
    if !view.has_quorum() {
        let lost = view
            .members
            .iter()
            .filter(|m| m.state == MemberState::Unreachable)
            .map(|m| m.host.as_str());
        return Err(not_primary("this server sees no majority of its group")
            .fact(format!("unreachable: {}", lost.collect::<Vec<_>>().join(", "))));
    }
    let read_only = db
        .value("SELECT @@GLOBAL.super_read_only OR @@GLOBAL.offline_mode")
        .await?;
    if read_only.as_deref() != Some("0") {
        return Err(not_primary(
            "this server is the primary, but super_read_only or offline_mode is ON",
        ));
    }
    Ok(())
}

fn not_primary(why: &str) -> Failure {
    // the primary may have moved since the plan was made: the next plan asks the right server
    Failure::new("not_primary", format!("this step belongs on the primary, but {why}")).transient()
}

/// The server's clock.
pub async fn now(db: &mut Db) -> Result<String, MysqlError> {
    Ok(db.value("SELECT NOW(6)").await?.unwrap_or_default())
}

/// Adds what the server's error log said since then.
pub async fn with_error_log(db: &mut Db, since: &str, failure: Failure) -> Failure {
    let lines = db
        .rows_with(
            "SELECT CONCAT(error_code, ' ', data) FROM (SELECT MAX(logged) AS at, error_code, data \
             FROM performance_schema.error_log WHERE logged > ? AND prio IN ('Error', 'Warning') AND subsystem = 'Repl' \
             AND error_code NOT IN ('MY-010604', 'MY-013360') GROUP BY error_code, data ORDER BY at DESC LIMIT 8) AS newest ORDER BY at",
            (since,),
        )
        .await
        .unwrap_or_default();
    lines
        .iter()
        .filter_map(|row| cell(row, 0))
        .fold(failure, |failure, line| failure.fact(format!("error log: {line}")))
}

/// Waits until this member is ONLINE; `tell` hears of each look. A member that leaves or fails is a failure with the lines
/// of the error log; so is none at all for `patience` while RECOVERING makes no progress.
pub async fn wait_online(
    db: &mut Db,
    since: &str,
    patience: Duration,
    mut tell: impl FnMut(&GroupView, u64, &str),
) -> Result<GroupView, Failure> {
    let begun = Instant::now();
    let mut last = (String::new(), begun);
    loop {
        let view = view(db)
            .await?
            .ok_or_else(|| Failure::new("group_plugin", "the group_replication plugin is not active"))?;
        match view.state {
            MemberState::Online => return Ok(view),
            MemberState::Recovering => {}
            MemberState::Offline | MemberState::Error | MemberState::Unreachable => {
                let mut failure = Failure::new(
                    "group_left",
                    format!("the member went to {:?} instead of ONLINE", view.state),
                )
                .transient();
                if let Some(error) = &view.channel_error {
                    failure = failure.fact(error.clone());
                }
                return Err(with_error_log(db, since, failure).await);
            }
        }
        let row = db.row(include_str!("progress.sql")).await?;
        let (executed, queue) = (text(&row, 0), number(&row, 1));
        tell(&view, queue, &executed);
        let mark = format!("{executed} {queue}");
        if mark != last.0 {
            last = (mark, Instant::now());
        } else if last.1.elapsed() > patience {
            let mut failure = Failure::new(
                "recovery_stuck",
                format!(
                    "the member is RECOVERING and has applied nothing for {} s",
                    patience.as_secs()
                ),
            )
            .transient();
            if let Some(error) = &view.channel_error {
                failure = failure.fact(error.clone());
            }
            return Err(with_error_log(db, since, failure).await);
        }
        // most members need less than a second; who needs long need not be asked often
        let pause = if begun.elapsed() < Duration::from_secs(10) {
            25
        } else {
            150
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Waits until the primary takes writes.
pub async fn wait_writable(db: &mut Db, longest: Duration) -> Result<(), Failure> {
    let end = Instant::now() + longest;
    loop {
        if db.value("SELECT @@GLOBAL.super_read_only").await?.as_deref() == Some("0") {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Failure::new(
                "primary_read_only",
                format!("the primary is still super_read_only after {} s", longest.as_secs()),
            )
            .hint("it may be applying what it had received: SELECT * FROM performance_schema.replication_group_member_stats")
            .transient());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
