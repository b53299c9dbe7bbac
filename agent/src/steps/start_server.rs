//! mysqld's unit, which has failed, runs again and the server answers.
//!
//! Also what the agent does by itself when no coordinator is there (`keeper/`). A server that somebody stopped in an orderly way is
//! left alone: who stops one has a reason, and says so himself when it has gone.

use std::path::Path;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::UnitState;

use super::{Context, Done};
use crate::host::systemd::{self, Unit};
use crate::host::{self, Command, server_unit};
use crate::mysql::Db;

/// InnoDB may have much to recover before the server answers.
const ANSWERS: Duration = Duration::from_secs(600);
/// Less than this is as good as nothing: mysqld does not start without room for its temporary and redo files.
const TIGHT: u64 = 64 << 20;
/// Mandatory access control of some distributions.
const APPARMOR: &str = "/etc/apparmor.d/usr.sbin.mysqld";
/// Where packages have mysqld log; the journal of its unit says little more than that it failed.
const ERROR_LOGS: [&str; 3] = [
    "/var/log/mysql/error.log",
    "/var/log/mysqld.log",
    "/var/log/mysql/mysqld.log",
];

/// Looks, starts, waits for an answer.
pub async fn ensure(cx: &Context) -> Result<Done, Failure> {
    let host = &*cx.host;
    let (name, unit) = server_unit::require(host, &cx.config.mysql).await?;
    let done = match unit.state {
        UnitState::Running => return Ok(Done::Unchanged),
        // by systemd itself, or by hand
        UnitState::Starting => Done::Unchanged,
        UnitState::Failed => {
            start(cx, name, &unit).await.map_err(Failure::transient)?;
            Done::changed(format!("started {name}, which had failed ({})", unit.result))
        }
        UnitState::Stopping => {
            return Err(Failure::new("server_stopping", format!("{name} is being stopped")).transient());
        }
        UnitState::Absent | UnitState::Stopped => {
            return Err(Failure::refused(
                "server_stopped",
                format!("{name} did not fail: somebody has stopped it, and may start it again"),
            )
            .hint(format!("on {}: systemctl start {}", cx.name, short(name))));
        }
    };
    answers(cx).await.map_err(Failure::transient)?.close().await;
    Ok(done)
}

/// Starts the unit, also one that has failed; a failure says what kept it from starting.
pub(super) async fn start(cx: &Context, name: &str, seen: &Unit) -> Result<(), Failure> {
    let host = &*cx.host;
    if seen.state == UnitState::Failed {
        systemd::reset_failed(host, name).await?;
    }
    cx.progress.text("starting mysqld");
    match cx.timed("restart", systemd::start(host, name)).await {
        Ok(()) => Ok(()),
        Err(failure) => Err(explain(cx, failure).await),
    }
}

/// Waits until the server answers; a failure says what keeps it from that.
pub(super) async fn answers(cx: &Context) -> Result<Db, Failure> {
    match Db::wait_local(&*cx.servers, &cx.config.mysql, ANSWERS).await {
        Ok(db) => Ok(db),
        Err(error) => Err(explain(cx, error.into()).await),
    }
}

fn short(unit: &str) -> &str {
    unit.strip_suffix(".service").unwrap_or(unit)
}

/// Adds what keeps it from starting, as far as it can be seen from outside.
pub(super) async fn explain(cx: &Context, mut failure: Failure) -> Failure {
    for line in last_errors(&*cx.host).await {
        failure = failure.fact(line);
    }
    let folder = &cx.config.mysql.data_dir;
    let free = cx.host.free_bytes(folder);
    if free < TIGHT {
        let folder = folder.display();
        failure = failure
            .fact(format!("{folder} has {} MiB free", free >> 20))
            .hint(format!("free some space: df -h {folder}"));
    }
    if let Ok(Some(_)) = cx.host.stat(Path::new(APPARMOR)).await {
        let tls = cx.config.mysql.tls_dir.display();
        failure = failure.fact(format!(
            "AppArmor has a profile for mysqld ({APPARMOR}): it must allow reading {tls}/** (journalctl -k | grep DENIED)"
        ));
    }
    failure
}

/// The newest errors of mysqld's own log.
async fn last_errors(host: &dyn host::Host) -> Vec<String> {
    for path in ERROR_LOGS {
        let command = Command::new("tail")
            .args(["-n", "60", "--", path])
            .timeout(Duration::from_secs(5));
        if let Ok(output) = command.run(host).await
            && output.success()
        {
            let errors: Vec<&str> = output.stdout.lines().filter(|line| line.contains("[ERROR]")).collect();
            let newest = &errors[errors.len().saturating_sub(5)..];
            return newest.iter().map(|line| format!("{path}: {line}")).collect();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::steps::testing;

    fn shows(state: &str) -> FakeHost {
        FakeHost::new().on(
            "systemctl show",
            &format!("LoadState=loaded\nActiveState={state}\nResult=oom-kill\n"),
        )
    }

    async fn run(host: FakeHost) -> (Result<Done, Failure>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(host);
        let (cx, _) = testing::context(host.clone(), dir.path());
        let result = ensure(&cx).await;
        let calls = host
            .calls()
            .into_iter()
            .filter(|call| !call.contains(" show "))
            .collect();
        (result, calls)
    }

    #[tokio::test]
    async fn what_runs_is_left_and_what_somebody_stopped_too() {
        assert_eq!(run(shows("active")).await, (Ok(Done::Unchanged), Vec::new()));
        let (result, calls) = run(shows("inactive")).await;
        let failure = result.unwrap_err();
        assert_eq!(failure.code, "server_stopped");
        assert_eq!(failure.hint.as_deref(), Some("on node1: systemctl start mysql"));
        assert!(!failure.retry && calls.is_empty(), "{calls:?}");
        assert!(run(shows("deactivating")).await.0.unwrap_err().retry);
    }

    #[tokio::test]
    async fn a_start_that_fails_says_why() {
        let host = shows("failed")
            .on("systemctl --quiet reset-failed", "")
            .on_failure("systemctl --quiet start", 1, "Job for mysql.service failed")
            .with_file(APPARMOR, "profile mysqld")
            .on(
                "journalctl -u mysql.service",
                "mysql.service: Failed with result 'oom-kill'.\n",
            )
            .on(
                "tail -n 60 -- /var/log/mysql/error.log",
                "x [Note] a\nx [ERROR] [MY-012574] Unable to lock ./ibdata1\n",
            );
        let (result, calls) = run(host).await;
        let failure = result.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retry), ("unit_start", true));
        let facts = failure.facts.join("\n");
        assert!(
            facts.contains("oom-kill") && facts.contains("MY-012574") && !facts.contains("[Note]"),
            "{facts}"
        );
        assert!(facts.contains("AppArmor"), "{facts}");
        assert_eq!(
            &calls[..2],
            [
                "systemctl --quiet reset-failed -- mysql.service",
                "systemctl --quiet start -- mysql.service"
            ]
        );
    }

    #[tokio::test]
    async fn without_a_package_there_is_nothing_to_start() {
        let host = FakeHost::new().on("systemctl show", "LoadState=not-found\nActiveState=inactive\n");
        assert_eq!(run(host).await.0.unwrap_err().code, "mysql_not_installed");
    }
}
