//! Replacing this server's data by a copy of a donor's (`CLONE INSTANCE`), logged in by certificate.
//!
//! Only a step that the planner ordered calls it, after the guard against transactions that would be lost.

use std::path::Path;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;

use super::conn::{Db, number, text};
use super::error::MysqlError;
use super::server::Servers;
use super::start::Deadline;
use super::{log, peer, quote};
use crate::config::MysqlConfig;
use crate::steps::ProgressSink;

/// A clone is as long as the data is large; it ends by itself when the donor or the network dies.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// `ER_CLONE_TOO_MANY_CONCURRENT_CLONES`: one that an earlier agent began still runs.
const ALREADY: u16 = 3634;
/// `ER_CLONE_DONOR`: what the donor said stands in the message.
const DONOR: u16 = 3862;
/// `ER_NO_SUCH_THREAD`.
const NO_SUCH_THREAD: u16 = 1094;
/// `ER_NO_SUCH_TABLE`: the plugin is not there.
const NO_SUCH_TABLE: u16 = 1146;
/// `ER_RESTART_SERVER_FAILED`: cloned, but nobody is there to start mysqld again; it has shut down.
const NO_SUPERVISOR: u16 = 3707;

/// What `performance_schema.clone_status` says of the last clone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// `Not Started`, `In Progress`, `Completed`, `Failed`; ours: `Interrupted`, in progress but by nobody.
    pub state: String,
    /// `node1:3306`.
    pub source: String,
    /// Error number, 0 if none.
    pub error: u64,
    /// Its words.
    pub message: String,
    /// What the copy holds.
    pub gtid: String,
    /// When it began, in UTC.
    pub began: String,
}

/// Looks at the last clone; none: never cloned.
pub async fn status(db: &mut Db) -> Result<Option<Status>, MysqlError> {
    let rows = db
        .rows(
            "SELECT state, source, error_no, error_message, gtid_executed, CAST(begin_time AS CHAR), \
             EXISTS (SELECT 1 FROM performance_schema.threads AS t WHERE t.processlist_id = c.pid) \
             FROM performance_schema.clone_status AS c ORDER BY id DESC LIMIT 1",
        )
        .await;
    let rows = match rows {
        // Without the plugin nothing was cloned.
        Err(error) if error.code() == Some(NO_SUCH_TABLE) => return Ok(None),
        rows => rows?,
    };
    Ok(rows.first().map(|row| Status {
        // a power loss leaves "In Progress" behind for ever
        state: match text(row, 0) {
            state if state == "In Progress" && text(row, 6) == "0" => "Interrupted".to_owned(),
            state => state,
        },
        source: text(row, 1),
        error: number(row, 2),
        message: text(row, 3),
        gtid: text(row, 4),
        began: text(row, 5),
    }))
}

/// Whether one replaces this server's data now, whoever began it.
pub async fn is_running(db: &mut Db) -> Result<bool, MysqlError> {
    Ok(status(db).await?.is_some_and(|status| status.state == "In Progress"))
}

/// Number of this session, by which [`end`] knows the clone that it runs.
pub async fn session(db: &mut Db) -> Result<u64, MysqlError> {
    let what = "SELECT CONNECTION_ID()";
    let number = db.value(what).await?.and_then(|number| number.parse().ok());
    number.ok_or_else(|| MysqlError::Answer { what: what.to_owned() })
}

/// Ends the clone that replaces this server's data now, if one of these sessions runs it: another one is a person's. The end of its session
/// does not end it (docs/mysql-facts.md); KILL QUERY does (manual, "Stopping a Cloning Operation"). What it has dropped is gone.
pub async fn end(db: &mut Db, sessions: &[u64]) -> Result<(), MysqlError> {
    let sql = "SELECT c.pid FROM performance_schema.clone_status AS c JOIN performance_schema.threads AS t \
               ON t.processlist_id = c.pid WHERE c.state = 'In Progress' AND c.destination = 'LOCAL INSTANCE'";
    let session = match db.value(sql).await {
        Err(error) if error.code() == Some(NO_SUCH_TABLE) => None,
        session => session?.and_then(|session| session.parse::<u64>().ok()),
    };
    let Some(session) = session.filter(|session| sessions.contains(session)) else {
        return Ok(());
    };
    match db.run(&format!("KILL QUERY {session}")).await {
        // it ended meanwhile
        Err(error) if error.code() == Some(NO_SUCH_THREAD) => Ok(()),
        ended => ended,
    }
}

/// When the last clone onto this server began, unless it has dropped nothing, so far or before it failed; empty: none is told, or the plugin is not there.
pub async fn last(db: &mut Db) -> Result<String, MysqlError> {
    let sql = "SELECT CAST(begin_time AS CHAR) FROM performance_schema.clone_status WHERE destination = 'LOCAL INSTANCE' \
               AND (state = 'Completed' OR EXISTS (SELECT 1 FROM performance_schema.clone_progress AS p \
               WHERE p.stage = 'DROP DATA' AND p.state <> 'Not Started')) ORDER BY id DESC LIMIT 1";
    match db.value(sql).await {
        // What passes is no answer: it would be taken for other data later.
        Err(error) if log::is_closed(&error) => Ok(String::new()),
        began => Ok(began?.unwrap_or_default()),
    }
}

/// Names the donor and our key for the coming clone.
pub async fn prepare(db: &mut Db, donor: &str, port: u16, tls_dir: &Path) -> Result<(), MysqlError> {
    let file = |name: &str| quote::text(&tls_dir.join(name).display().to_string());
    db.run(&format!(
        "SET GLOBAL clone_valid_donor_list = {}",
        quote::text(&format!("{donor}:{port}"))
    ))
    .await?;
    db.run(&format!("SET GLOBAL clone_ssl_ca = {}", file("ca.pem"))).await?;
    db.run(&format!("SET GLOBAL clone_ssl_cert = {}", file("server.pem")))
        .await?;
    db.run(&format!("SET GLOBAL clone_ssl_key = {}", file("server.key")))
        .await
}

/// What mysqld itself looks at when it comes to a clone: an agent or a mysqld may stand still between a look and the deed.
pub struct Permit {
    /// What the server held when it was measured to be in the group's history.
    pub held: GtidSet,
    /// Until when it may begin.
    pub deadline: Deadline,
}

/// `ER_WRONG_VALUE_FOR_VAR`: the permit does not hold any more.
const VOID: u16 = 1231;

impl Permit {
    /// The clone drops what is here, and fails wherever there is a schema of a user's while super_read_only is ON (error 1290). So the server is
    /// opened in the same packet, and only if nothing was executed since it was measured: else the value is none, and with an error the packet
    /// ends. The restart at the clone's end brings the persisted ON back; where no clone comes of it, the step closes the server again, or its
    /// cancel does ([`super::close`]).
    fn packet(&self, donor: &str, port: u16, user: &str) -> String {
        format!(
            "SET GLOBAL super_read_only = IF({} AND GTID_SUBSET(@@GLOBAL.gtid_executed, {}), 'OFF', 'EXPIRED'); \
             CLONE INSTANCE FROM {}@{}:{port} IDENTIFIED BY '' REQUIRE SSL",
            self.deadline.holds(),
            quote::text(&self.held.to_string()),
            quote::text(user),
            quote::text(donor)
        )
    }
}

/// Clones in this session and returns when this server is going down to come up with the copy.
pub async fn run(
    (servers, config): (&dyn Servers, &MysqlConfig),
    mut worker: Db,
    (donor, port, user): (&str, u16, &str),
    permit: &Permit,
    progress: &ProgressSink,
) -> Result<(), Failure> {
    let mut watcher = Db::local(servers, config).await?;
    let packet = permit.packet(donor, port, user);
    let cloning = worker.run_for(&packet, LONGEST);
    tokio::pin!(cloning);
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut cloning => break ended,
            () = tokio::time::sleep(Duration::from_millis(300)) => tell(&mut watcher, progress).await,
        }
    };
    match ended {
        Ok(()) => Ok(()),
        Err(error) if error.code() == Some(NO_SUPERVISOR) || error.is_broken() => Ok(()),
        Err(error) if error.code() == Some(VOID) => Err(Failure::new(
            "too_late",
            "something was executed on this server since it was measured, or mysqld came to CLONE too late: nothing was dropped",
        )
        .fact(format!("measured: {}", permit.held))
        .hint("nothing to do: it is looked at again")
        .transient()),
        Err(error) if error.code() == Some(ALREADY) => {
            progress.text("a clone that was begun earlier still runs");
            watch_other(&mut watcher, progress).await
        }
        Err(error) => {
            let mut failure = Failure::new("clone_failed", format!("cloning from {donor}:{port} failed"))
                .fact(error.to_string())
                .hint("the donor must be ONLINE with the clone plugin, and reachable by name and port from here")
                .transient();
            if is_busy(&error) {
                let left = peer::end_own_clones(servers, &format!("{donor}:{port}"), user, &config.tls_dir).await;
                failure = failure.fact(match left {
                    Ok(0) => "the donor gives its data to somebody else now".to_owned(),
                    Ok(sessions) => {
                        format!("ended {sessions} sessions that an earlier clone of this host had left there")
                    }
                    Err(error) => format!("what an earlier clone of this host left there could not be ended: {error}"),
                });
            }
            Err(failure)
        }
    }
}

/// The donor refuses since it gives its data already: its error 3634 comes wrapped in `ER_CLONE_DONOR`.
fn is_busy(error: &MysqlError) -> bool {
    matches!(error, MysqlError::Refused { code: DONOR, message, .. } if message.contains(&format!("{ALREADY}")))
}

async fn watch_other(watcher: &mut Db, progress: &ProgressSink) -> Result<(), Failure> {
    loop {
        match status(watcher).await {
            Ok(Some(status)) if status.state == "In Progress" => tell(watcher, progress).await,
            Ok(_) => return Ok(()),
            Err(error) if error.is_broken() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// One line: `file copy 62 %`, and the bytes of all stages.
async fn tell(watcher: &mut Db, progress: &ProgressSink) {
    if !watcher.usable() {
        return;
    }
    let Ok(rows) = watcher
        .rows("SELECT stage, state, COALESCE(estimate, 0), COALESCE(data, 0) FROM performance_schema.clone_progress ORDER BY id, FIELD(stage, 'DROP DATA', 'FILE COPY', 'PAGE COPY', 'REDO COPY', 'FILE SYNC', 'RESTART', 'RECOVERY')")
        .await
    else {
        return;
    };
    let stages: Vec<(String, String, u64, u64)> = rows
        .iter()
        .map(|row| (text(row, 0), text(row, 1), number(row, 2), number(row, 3)))
        .collect();
    if let Some((line, done, total)) = line(&stages) {
        progress.count(line, done, total);
    }
}

fn line(stages: &[(String, String, u64, u64)]) -> Option<(String, u64, u64)> {
    let total: u64 = stages.iter().map(|stage| stage.2.max(stage.3)).sum();
    let done: u64 = stages.iter().map(|stage| stage.3).sum();
    let now = stages.iter().find(|stage| stage.1 == "In Progress")?;
    let mut line = format!("clone: {}", now.0.to_lowercase());
    if let Some(percent) = (now.3.min(now.2) * 100).checked_div(now.2) {
        line = format!("{line} {percent} %");
    }
    Some((line, done, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_donor_that_gives_already_is_told_from_one_that_cannot() {
        let refused = |code, message: &str| MysqlError::Refused {
            what: "CLONE INSTANCE FROM".into(),
            code,
            message: message.into(),
        };
        let busy = "Clone Donor Error: 3634 : Too many concurrent clone operations. Maximum allowed - 1..";
        assert!(is_busy(&refused(3862, busy)));
        assert!(!is_busy(&refused(3862, "Clone Donor Error: 1045 : Access denied")));
        assert!(!is_busy(&refused(3634, "here")));
    }

    #[test]
    fn progress_is_one_line_and_bytes() {
        let stage = |name: &str, state: &str, estimate, data| (name.to_owned(), state.to_owned(), estimate, data);
        let stages = [
            stage("DROP DATA", "Completed", 0, 0),
            stage("FILE COPY", "In Progress", 200, 124),
            stage("PAGE COPY", "Not Started", 0, 0),
        ];
        assert_eq!(line(&stages), Some(("clone: file copy 62 %".to_owned(), 124, 200)));
        assert_eq!(line(&stages[..1]), None);
        assert_eq!(
            line(&[stage("FILE SYNC", "In Progress", 0, 0)]),
            Some(("clone: file sync".to_owned(), 0, 0))
        );
    }
}
