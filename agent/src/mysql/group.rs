//! Group Replication on this server: its state, its start and stop, and the wait until it serves.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{GroupMember, GroupView, MemberRole, MemberState};
use tokio::time::Instant;

use super::conn::{Db, cell, flag, number, text};
use super::error::MysqlError;
use super::log;
use super::quote;
use super::server::Row;
use super::variables::UNKNOWN;

/// Channel by which a joiner gets what it misses.
pub const RECOVERY_CHANNEL: &str = "group_replication_recovery";
/// Channel that applies what the group sends.
pub const APPLIER_CHANNEL: &str = "group_replication_applier";

/// START waits a minute for a view by itself, and may first wait for the applier.
const START_LIMIT: Duration = Duration::from_secs(180);
/// STOP waits for the applier to end what it has begun (`group_replication_components_stop_timeout` is 300 s).
const STOP_LIMIT: Duration = Duration::from_secs(320);

/// The view of the group as this server sees it, without its id; none: the plugin is not active. Answers also while START runs.
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

/// Sets the bootstrap flag OFF and reads it back (safety rule 1); true: it was found ON, which is an alarm. To be called
/// before every start that is no bootstrap, and when the agent starts.
pub async fn clear_bootstrap_flag(db: &mut Db) -> Result<bool, Failure> {
    let was = match db.value("SELECT @@GLOBAL.group_replication_bootstrap_group").await {
        Ok(value) => value.as_deref() == Some("1"),
        Err(error) if error.code() == Some(UNKNOWN) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let persisted = db
        .value(
            "SELECT COUNT(*) FROM performance_schema.persisted_variables \
             WHERE variable_name = 'group_replication_bootstrap_group'",
        )
        .await?;
    if persisted.is_some_and(|count| count != "0") {
        db.run("RESET PERSIST IF EXISTS group_replication_bootstrap_group")
            .await?;
    }
    db.run("SET GLOBAL group_replication_bootstrap_group = OFF").await?;
    flag_is_off(db).await?;
    if was {
        tracing::error!("group_replication_bootstrap_group was found ON and has been set OFF");
    }
    Ok(was)
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

/// Starts Group Replication: this server joins its group, if mysqld begins before the deadline; else a failure, and nothing is started. A
/// START that slept in a frozen mysqld would enter whatever group lives when it goes on.
pub async fn start(db: &mut Db, deadline: &Deadline) -> Result<(), Failure> {
    clear_bootstrap_flag(db).await?;
    clear_force_members(db).await?;
    leave_offline_mode(db).await?;
    begin(db, &deadline.joins(), deadline).await
}

/// A person who forced a membership and did not take the value back: with it no START succeeds (MY-011634; docs/lineages.md). That a
/// membership was forced is on record by then: every look reads the variable.
async fn clear_force_members(db: &mut Db) -> Result<(), MysqlError> {
    let set = db.value("SELECT @@GLOBAL.group_replication_force_members").await?;
    if set.is_some_and(|set| !set.is_empty()) {
        db.run("SET GLOBAL group_replication_force_members = ''").await?;
    }
    Ok(())
}

/// Until when mysqld may begin, by its own clock: seconds since 1970 as it writes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deadline(String);

impl Deadline {
    /// So much time from now.
    pub async fn after(db: &mut Db, time: Duration) -> Result<Self, Failure> {
        let sql = format!("SELECT UNIX_TIMESTAMP(SYSDATE(6)) + {}", time.as_secs());
        let at = db.value(&sql).await?.unwrap_or_default();
        let is_number = at.parse::<f64>().is_ok() && at.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if is_number {
            Ok(Self(at))
        } else {
            let failure = Failure::new("server_clock", "mysqld does not tell the time");
            Err(failure.fact(format!("it answered {at:?}")))
        }
    }

    /// So much earlier.
    pub fn earlier(&self, by: Duration) -> Self {
        let at: f64 = self.0.parse().unwrap_or(0.0);
        Self(format!("{:.6}", at - by.as_secs_f64()))
    }

    /// As [`Self::bootstraps`], with the flag OFF.
    fn joins(&self) -> String {
        format!(
            "SET GLOBAL group_replication_bootstrap_group = IF(UNIX_TIMESTAMP(SYSDATE(6)) < {}, 'OFF', 'EXPIRED'); \
             START GROUP_REPLICATION",
            self.0
        )
    }

    /// One packet, so that mysqld looks at its clock after whatever kept it from reading this: frozen, it finds the deadline passed
    /// when it goes on. SYSDATE is the moment of its evaluation, NOW would be that at which the statement began. EXPIRED is no value
    /// of the flag, so it is an error, and with an error the packet ends. The second statement reads the flag back. The last one sets
    /// it OFF also where the agent is gone by then; after an error of START it is not reached.
    fn bootstraps(&self) -> String {
        let (flag, in_time) = (
            "group_replication_bootstrap_group",
            format!("UNIX_TIMESTAMP(SYSDATE(6)) < {}", self.0),
        );
        format!(
            "SET GLOBAL {flag} = IF({in_time}, 'ON', 'EXPIRED'); \
             SET GLOBAL {flag} = IF(@@GLOBAL.{flag} = 1 AND {in_time}, 'ON', 'EXPIRED'); \
             START GROUP_REPLICATION; \
             SET GLOBAL {flag} = OFF"
        )
    }
}

/// `ER_WRONG_VALUE_FOR_VAR`: the deadline had passed, or the flag did not come on.
const EXPIRED: u16 = 1231;

/// Starts Group Replication with the bootstrap flag ON, if mysqld begins before the deadline; else a failure, and nothing is
/// started. The caller sets the flag OFF whatever becomes of it ([`clear_bootstrap_flag_quietly`]).
pub async fn bootstrap(db: &mut Db, deadline: &Deadline) -> Result<(), Failure> {
    clear_bootstrap_flag(db).await?;
    clear_force_members(db).await?;
    leave_offline_mode(db).await?;
    begin(db, &deadline.bootstraps(), deadline).await
}

async fn begin(db: &mut Db, packet: &str, deadline: &Deadline) -> Result<(), Failure> {
    let since = log::newest(db).await?;
    match db.run_for(packet, START_LIMIT).await {
        Err(MysqlError::Refused { code: EXPIRED, .. }) => Err(Failure::new(
            "too_late",
            "mysqld did not come to START GROUP_REPLICATION in time: nothing was started",
        )
        .fact(format!("the deadline was {} by its own clock", deadline.0))
        .hint("nothing to do: it is tried again")
        .transient()),
        Err(MysqlError::Refused { code, message, .. }) => {
            let what = "START GROUP_REPLICATION".to_owned();
            explained(db, &since, Err(MysqlError::Refused { what, code, message })).await
        }
        started => explained(db, &since, started).await,
    }
}

async fn explained(db: &mut Db, since: &str, started: Result<(), MysqlError>) -> Result<(), Failure> {
    match started {
        Ok(()) => Ok(()),
        Err(error) if error.is_broken() => Err(error.into()),
        Err(error) => {
            let failure = Failure::new("group_start", error.to_string()).transient();
            Err(with_error_log(db, since, failure).await)
        }
    }
}

/// Lets clients in again: a member that left its group by itself (`exit_state_action`) has shut them out, and nothing of MySQL's lets
/// them in when it is back. True: they were shut out.
pub async fn leave_offline_mode(db: &mut Db) -> Result<bool, MysqlError> {
    if db.value("SELECT @@GLOBAL.offline_mode").await?.as_deref() != Some("1") {
        return Ok(false);
    }
    db.run("SET GLOBAL offline_mode = OFF").await?;
    Ok(true)
}

/// Sets it OFF where it is known to be ON, and reads it back; does not wait for a START that runs.
pub async fn clear_bootstrap_flag_quietly(db: &mut Db) -> Result<(), Failure> {
    db.run("SET GLOBAL group_replication_bootstrap_group = OFF").await?;
    flag_is_off(db).await
}

async fn flag_is_off(db: &mut Db) -> Result<(), Failure> {
    let now = db.value("SELECT @@GLOBAL.group_replication_bootstrap_group").await?;
    if now.as_deref() == Some("0") {
        return Ok(());
    }
    Err(Failure::new(
        "bootstrap_flag",
        "group_replication_bootstrap_group stays ON although it was set OFF; this server is not started",
    )
    .hint("SET GLOBAL group_replication_bootstrap_group = OFF"))
}

/// Stops Group Replication and its auto-rejoin; false: it did not run.
pub async fn stop(db: &mut Db) -> Result<bool, Failure> {
    match view(db).await? {
        None => return Ok(false),
        Some(view) if view.is_out() => return Ok(false),
        Some(_) => {}
    }
    db.run_for("STOP GROUP_REPLICATION", STOP_LIMIT).await?;
    Ok(true)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::Driver;
    use crate::mysql::fake::FakeMysqld;

    const IN_TIME: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_bootstrap_that_mysqld_comes_to_in_time_is_one_and_leaves_the_flag_off() {
        let mysqld = FakeMysqld::start();
        let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
        let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
        mysqld.with(|server| server.clock_ms += 4_900);
        bootstrap(&mut db, &deadline).await.unwrap();
        mysqld.with(|server| assert_eq!((server.starts.as_slice(), server.flag), (&[true][..], false)));
    }

    #[tokio::test]
    async fn a_mysqld_that_was_frozen_until_after_the_deadline_starts_nothing() {
        let mysqld = FakeMysqld::start();
        let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
        let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
        mysqld.with(|server| server.clock_ms += 5_000);
        let failure = bootstrap(&mut db, &deadline).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retry), ("too_late", true));
        mysqld.with(|server| assert_eq!((server.starts.as_slice(), server.flag), (&[][..], false)));
    }

    #[tokio::test]
    async fn a_join_that_slept_in_a_frozen_mysqld_enters_nothing() {
        for (slept, enters) in [(4_900, true), (5_000, false)] {
            let mysqld = FakeMysqld::start();
            let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
            let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
            mysqld.with(|server| server.clock_ms += slept);
            let started = start(&mut db, &deadline).await;
            assert_eq!(started.is_ok(), enters);
            mysqld.with(|server| assert_eq!(server.starts.as_slice(), if enters { &[false][..] } else { &[] }));
        }
    }

    #[tokio::test]
    async fn a_flag_that_does_not_come_on_bootstraps_and_joins_nothing() {
        let mysqld = FakeMysqld::start();
        let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
        let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
        mysqld.with(|server| server.flag_is_stuck = true);
        assert_eq!(bootstrap(&mut db, &deadline).await.unwrap_err().code, "too_late");
        mysqld.with(|server| assert!(server.starts.is_empty()));
    }

    #[tokio::test]
    async fn a_membership_that_was_forced_once_keeps_nobody_out_for_ever() {
        let mysqld = FakeMysqld::start();
        mysqld.with(|server| server.force_members = "node1:3306".to_owned());
        let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
        let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
        start(&mut db, &deadline).await.unwrap();
        mysqld.with(|server| {
            server.force_members = "node1:3306".to_owned();
            server.starts.clear();
        });
        let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
        bootstrap(&mut db, &deadline).await.unwrap();
        mysqld.with(|server| assert_eq!(server.starts, [true]));
    }

    #[tokio::test]
    async fn a_start_that_joins_never_has_the_flag_on() {
        let mysqld = FakeMysqld::start();
        mysqld.with(|server| (server.flag, server.persisted_flag) = (true, true));
        let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
        let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
        start(&mut db, &deadline).await.unwrap();
        mysqld.with(|server| {
            assert_eq!(server.starts, [false]);
            assert!(!server.persisted_flag, "nor after the next start of mysqld");
        });
        // one that cannot be set OFF is no start at all
        mysqld.with(|server| (server.flag, server.flag_is_stuck) = (true, true));
        let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
        assert_eq!(start(&mut db, &deadline).await.unwrap_err().code, "bootstrap_flag");
        mysqld.with(|server| assert_eq!(server.starts.len(), 1));
    }
}
