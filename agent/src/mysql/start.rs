//! START and STOP of Group Replication on this server: the bootstrap flag, and the deadline by mysqld's own clock.
//!
//! Called by `enter` and by steps. Whether this server may start is decided before, by the steps' guards. It must never leave the
//! bootstrap flag ON, nor let a START begin that slept in a frozen mysqld.

use std::time::Duration;

use clusterctl_proto::failure::Failure;

use super::conn::Db;
use super::error::MysqlError;
use super::group::{STOP_LIMIT, view, with_error_log};
use super::log;
use super::variables::UNKNOWN;

/// The bootstrap flag.
pub const FLAG: &str = "group_replication_bootstrap_group";

/// START waits a minute for a view by itself; it does not wait until what was received is applied (docs/mysql-facts.md).
const START_LIMIT: Duration = Duration::from_secs(180);

/// Starts Group Replication: this server joins its group, if mysqld begins before the deadline; else a failure, and nothing is started. A
/// START that slept in a frozen mysqld would enter whatever group lives when it goes on.
pub async fn join(db: &mut Db, deadline: &Deadline) -> Result<(), Failure> {
    clear_bootstrap_flag(db).await?;
    clear_force_members(db).await?;
    let shut = leave_offline_mode(db).await?;
    let started = begin(db, &deadline.joins(), deadline).await;
    as_it_was(db, shut, started).await
}

/// Starts Group Replication with the bootstrap flag ON, if mysqld begins before the deadline; else a failure, and nothing is
/// started. The caller sets the flag OFF whatever becomes of it ([`clear_bootstrap_flag_quietly`]).
pub async fn bootstrap(db: &mut Db, deadline: &Deadline) -> Result<(), Failure> {
    clear_bootstrap_flag(db).await?;
    clear_force_members(db).await?;
    let shut = leave_offline_mode(db).await?;
    let started = begin(db, &deadline.bootstraps(), deadline).await;
    as_it_was(db, shut, started).await
}

/// A START that failed leaves clients shut out where they were: what this server holds is old. Where the connection broke, START may go
/// on, and who is in its group must not shut them out: a START of a person's may have been the one that succeeded.
async fn as_it_was(db: &mut Db, shut: bool, started: Result<(), Failure>) -> Result<(), Failure> {
    if shut
        && started.is_err()
        && db.usable()
        && let Err(error) = shut_out_again(db).await
    {
        tracing::warn!(%error, "offline_mode stays OFF after a START that failed");
    }
    started
}

/// Shuts clients out of a server that is in no group; false: it is in one. To be called where they were shut out before a START of which
/// nothing came.
pub async fn shut_out_again(db: &mut Db) -> Result<bool, MysqlError> {
    if is_in(db).await? {
        return Ok(false);
    }
    db.run("SET GLOBAL offline_mode = ON").await?;
    // A START by a person may have brought the server in since the look.
    if is_in(db).await? {
        db.run("SET GLOBAL offline_mode = OFF").await?;
        return Ok(false);
    }
    Ok(true)
}

async fn is_in(db: &mut Db) -> Result<bool, MysqlError> {
    Ok(view(db).await?.is_some_and(|view| !view.is_out()))
}

/// `ER_WRONG_VALUE_FOR_VAR`: the deadline had passed, or the flag did not come on.
const EXPIRED: u16 = 1231;

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

    /// What mysqld evaluates at the moment at which it comes to it: SYSDATE is that moment, NOW would be that at which the statement began.
    pub fn holds(&self) -> String {
        format!("UNIX_TIMESTAMP(SYSDATE(6)) < {}", self.0)
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
    /// when it goes on. EXPIRED is no value of the flag, so it is an error, and with an error the packet ends. The second statement reads the
    /// flag back. The last one sets it OFF also where the agent is gone by then; after an error of START it is not reached.
    fn bootstraps(&self) -> String {
        let (flag, in_time) = (FLAG, self.holds());
        format!(
            "SET GLOBAL {flag} = IF({in_time}, 'ON', 'EXPIRED'); \
             SET GLOBAL {flag} = IF(@@GLOBAL.{flag} = 1 AND {in_time}, 'ON', 'EXPIRED'); \
             START GROUP_REPLICATION; \
             SET GLOBAL {flag} = OFF"
        )
    }
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

/// Lets clients in again: a member that left its group by itself (`exit_state_action`) has shut them out, and nothing of MySQL's lets
/// them in when it is back. True: they were shut out.
pub async fn leave_offline_mode(db: &mut Db) -> Result<bool, MysqlError> {
    let shut = shuts_out(db).await?;
    if shut {
        db.run("SET GLOBAL offline_mode = OFF").await?;
    }
    Ok(shut)
}

/// Whether clients are shut out.
pub async fn shuts_out(db: &mut Db) -> Result<bool, MysqlError> {
    Ok(db.value("SELECT @@GLOBAL.offline_mode").await?.as_deref() == Some("1"))
}

/// Sets the bootstrap flag OFF and reads it back (safety rule 1); true: it was found ON, which is an alarm. To be called
/// before every start that is no bootstrap, and when the agent starts.
pub async fn clear_bootstrap_flag(db: &mut Db) -> Result<bool, Failure> {
    let Some(was) = flag(db).await? else {
        return Ok(false);
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

/// Whether it is ON.
pub async fn flag_is_on(db: &mut Db) -> Result<bool, MysqlError> {
    Ok(flag(db).await? == Some(true))
}

/// None: the plugin is not there.
async fn flag(db: &mut Db) -> Result<Option<bool>, MysqlError> {
    match db.value("SELECT @@GLOBAL.group_replication_bootstrap_group").await {
        Ok(value) => Ok(Some(value.as_deref() == Some("1"))),
        Err(error) if error.code() == Some(UNKNOWN) => Ok(None),
        Err(error) => Err(error),
    }
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
            let started = join(&mut db, &deadline).await;
            assert_eq!(started.is_ok(), enters);
            mysqld.with(|server| assert_eq!(server.starts.as_slice(), if enters { &[false][..] } else { &[] }));
        }
    }

    #[tokio::test]
    async fn a_start_that_fails_lets_no_client_in() {
        for bootstraps in [false, true] {
            for (late, fails, out) in [(false, false, false), (false, true, true), (true, false, true)] {
                let mysqld = FakeMysqld::start();
                mysqld.with(|server| (server.offline_mode, server.start_fails) = (true, fails.then_some(3092)));
                let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
                let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
                mysqld.with(|server| server.clock_ms += if late { 5_000 } else { 0 });
                let started = if bootstraps {
                    bootstrap(&mut db, &deadline).await
                } else {
                    join(&mut db, &deadline).await
                };
                assert_eq!(
                    (started.is_err(), mysqld.with(|server| server.offline_mode)),
                    (out, out)
                );
            }
        }
    }

    #[tokio::test]
    async fn a_server_that_enters_while_it_is_shut_is_opened_again() {
        let mysqld = FakeMysqld::start();
        mysqld.with(|server| server.enters_while_shut = true);
        let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
        assert!(!shut_out_again(&mut db).await.unwrap());
        assert!(!mysqld.with(|server| server.offline_mode));
    }

    /// A person started the server at the same time: mysqld refuses the second START (error 3093), and the first one has succeeded.
    #[tokio::test]
    async fn a_start_that_fails_beside_a_persons_shuts_no_client_out_of_the_member() {
        for bootstraps in [false, true] {
            for (state, shut) in [("ONLINE", false), ("RECOVERING", false), ("OFFLINE", true)] {
                let mysqld = FakeMysqld::start();
                mysqld.with(|server| {
                    (server.offline_mode, server.start_fails) = (true, Some(3093));
                    server.state = state.to_owned();
                });
                let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
                let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
                let started = if bootstraps {
                    bootstrap(&mut db, &deadline).await
                } else {
                    join(&mut db, &deadline).await
                };
                assert_eq!(started.unwrap_err().code, "group_start");
                assert_eq!(mysqld.with(|server| server.offline_mode), shut, "{state}");
            }
        }
    }

    #[tokio::test]
    async fn a_start_that_fails_leaves_a_server_open_that_serves_clients_outside() {
        let mysqld = FakeMysqld::start();
        mysqld.with(|server| server.start_fails = Some(3092));
        let mut db = Db::local(&Driver, mysqld.config()).await.unwrap();
        let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
        join(&mut db, &deadline).await.unwrap_err();
        assert!(!mysqld.with(|server| server.offline_mode));
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
        join(&mut db, &deadline).await.unwrap();
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
        join(&mut db, &deadline).await.unwrap();
        mysqld.with(|server| {
            assert_eq!(server.starts, [false]);
            assert!(!server.persisted_flag, "nor after the next start of mysqld");
        });
        // one that cannot be set OFF is no start at all
        mysqld.with(|server| (server.flag, server.flag_is_stuck) = (true, true));
        let deadline = Deadline::after(&mut db, IN_TIME).await.unwrap();
        assert_eq!(join(&mut db, &deadline).await.unwrap_err().code, "bootstrap_flag");
        mysqld.with(|server| assert_eq!(server.starts.len(), 1));
    }
}
