//! A server enters its group: START GROUP_REPLICATION, watched from a second connection.
//!
//! START keeps its client waiting a whole second after everything is done, longer than that where recovery ends just after. What counts is
//! that the member is ONLINE, so this is what is waited for; the statement ends in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::machine;
use clusterctl_proto::observe::GroupView;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::conn::{Db, flag, text};
use super::group;
use super::log;
use super::server::Servers;
use super::start::{self, Deadline};
use crate::config::MysqlConfig;
use crate::ledger::Entrance;

/// Looks while START runs.
const LOOK: Duration = Duration::from_millis(20);

/// How a server enters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// It makes the group, and takes writes; if mysqld comes to it before this moment.
    Bootstrap(Deadline),
    /// It joins; if mysqld comes to it before this moment.
    Join(Deadline),
}

impl Entry {
    fn bootstraps(&self) -> bool {
        matches!(self, Self::Bootstrap(_))
    }
}

/// A server that is in, and what took how long.
pub struct Entered {
    /// To go on with.
    pub db: Db,
    /// Until this member was in the view.
    pub started: Duration,
    /// From then until it was ONLINE (and took writes).
    pub recovered: Duration,
}

/// Starts and waits until ONLINE; where it bootstraps, until it takes writes with the flag OFF again. The entrance is held until
/// START has ended, not while the member recovers: that may take hours, and a promise waits for it.
pub async fn enter(
    (servers, config): (&Arc<dyn Servers>, &MysqlConfig),
    db: Db,
    entry: Entry,
    entrance: Entrance,
    patience: Duration,
    tell: impl FnMut(&GroupView, u64, &str),
) -> Result<Entered, Failure> {
    let mut watcher = Db::local(&**servers, config).await?;
    let since = log::newest(&mut watcher).await?;
    let begun = Instant::now();
    let bootstraps = entry.bootstraps();
    let mut start = machine::spawn(run(Arc::clone(servers), config.clone(), db, entry));
    let unfinished = Unfinished(Some(start.abort_handle()));
    let mut seen = None;
    loop {
        tokio::select! {
            biased;
            ended = &mut start => {
                ended.map_err(|_| lost())??;
                break;
            }
            () = tokio::time::sleep(LOOK) => match look(&mut watcher, bootstraps).await? {
                Seen::Outside => {}
                Seen::Inside => {
                    seen.get_or_insert_with(Instant::now);
                }
                Seen::Serves => {
                    let inside = seen.unwrap_or_else(Instant::now);
                    let entered = entered(watcher, bootstraps, (begun, inside)).await?;
                    unfinished.let_end();
                    return Ok(entered);
                }
            },
        }
    }
    drop(entrance);
    let inside = seen.unwrap_or_else(Instant::now);
    group::wait_online(&mut watcher, &since, patience, tell).await?;
    if bootstraps {
        group::wait_writable(&mut watcher, patience).await?;
    }
    entered(watcher, bootstraps, (begun, inside)).await
}

async fn entered(mut db: Db, bootstraps: bool, (begun, inside): (Instant, Instant)) -> Result<Entered, Failure> {
    if bootstraps {
        // does not wait for START to end
        start::clear_bootstrap_flag_quietly(&mut db).await?;
    }
    Ok(Entered {
        db,
        started: inside.duration_since(begun),
        recovered: inside.elapsed(),
    })
}

/// A step that is cancelled, or fails, sends no START any more: after its end the agent may promise not to enter (safety rule 1).
/// One that was sent is seen by [`group::wait_quiet`].
struct Unfinished(Option<AbortHandle>);

impl Unfinished {
    /// The member is in: the statement ends by itself.
    fn let_end(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// What is seen beside a START that runs. Anything that reads the statistics would wait for its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// As before START: it alone says whether that is an error.
    Outside,
    /// In the view.
    Inside,
    /// ONLINE; where it bootstraps, it takes writes.
    Serves,
}

async fn look(db: &mut Db, bootstraps: bool) -> Result<Seen, Failure> {
    let row = db
        .row(
            "SELECT (SELECT member_state FROM performance_schema.replication_group_members WHERE member_id = @@GLOBAL.server_uuid), \
             @@GLOBAL.super_read_only",
        )
        .await?;
    Ok(judge(&text(&row, 0), flag(&row, 1), bootstraps))
}

fn judge(state: &str, read_only: bool, bootstraps: bool) -> Seen {
    match (state, bootstraps) {
        ("ONLINE", false) => Seen::Serves,
        ("ONLINE", true) if !read_only => Seen::Serves,
        ("ONLINE" | "RECOVERING", _) => Seen::Inside,
        _ => Seen::Outside,
    }
}

async fn run(servers: Arc<dyn Servers>, config: MysqlConfig, mut db: Db, entry: Entry) -> Result<(), Failure> {
    let result = match &entry {
        Entry::Join(deadline) => start::join(&mut db, deadline).await,
        Entry::Bootstrap(deadline) => {
            let result = start::bootstrap(&mut db, deadline).await;
            flag_off((&*servers, &config), &mut db, result).await
        }
    };
    db.close().await;
    if let Err(failure) = &result {
        tracing::warn!(facts = ?failure.facts, "START GROUP_REPLICATION: {failure}");
    }
    result
}

/// The flag is OFF whatever became of the bootstrap, over another connection where this one broke. If that fails, or the
/// task of START was aborted before it, the step's debt is settled when START has ended (`debts/start.rs`). mysqld forgets the flag when it ends.
async fn flag_off(
    (servers, config): (&dyn Servers, &MysqlConfig),
    db: &mut Db,
    result: Result<(), Failure>,
) -> Result<(), Failure> {
    let reset = if db.usable() {
        start::clear_bootstrap_flag_quietly(db).await
    } else {
        match Db::local(servers, config).await {
            Ok(mut other) => start::clear_bootstrap_flag_quietly(&mut other).await,
            Err(error) => Err(error.into()),
        }
    };
    match (result, reset) {
        (result, Ok(())) => result,
        (Ok(()), Err(failure)) => Err(failure),
        (Err(failure), Err(reset)) => {
            tracing::error!(%reset, "group_replication_bootstrap_group may still be ON");
            Err(failure.fact(format!("group_replication_bootstrap_group may still be ON: {reset}")))
        }
    }
}

fn lost() -> Failure {
    Failure::new("group_start", "the agent lost sight of START GROUP_REPLICATION").transient()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::Driver;
    use crate::mysql::fake::FakeMysqld;

    #[test]
    fn a_member_serves_when_it_is_online_and_a_bootstrapped_one_when_it_takes_writes() {
        assert_eq!(judge("ONLINE", true, false), Seen::Serves);
        assert_eq!(judge("ONLINE", true, true), Seen::Inside);
        assert_eq!(judge("ONLINE", false, true), Seen::Serves);
        assert_eq!(judge("RECOVERING", true, false), Seen::Inside);
        // of the time before START, until START itself says otherwise
        for state in ["", "OFFLINE", "ERROR"] {
            assert_eq!(judge(state, false, true), Seen::Outside);
        }
    }

    #[tokio::test]
    async fn a_dropped_step_sends_no_start() {
        let start = tokio::spawn(std::future::pending::<()>());
        drop(Unfinished(Some(start.abort_handle())));
        assert!(start.await.unwrap_err().is_cancelled());

        let start = tokio::spawn(tokio::time::sleep(Duration::from_millis(5)));
        Unfinished(Some(start.abort_handle())).let_end();
        assert!(start.await.is_ok(), "who is in lets it end");
    }

    /// No step takes the flag back here, and no keeper.
    #[tokio::test]
    async fn the_flag_is_off_after_a_bootstrap_whose_start_fails() {
        let mysqld = FakeMysqld::start();
        mysqld.with(|server| server.start_fails = Some(3092));
        let servers: Arc<dyn Servers> = Arc::new(Driver);
        let mut db = Db::local(&*servers, mysqld.config()).await.unwrap();
        let deadline = Deadline::after(&mut db, Duration::from_secs(5)).await.unwrap();
        let entrance = Arc::new(tokio::sync::Mutex::new(())).lock_owned().await;
        let entry = Entry::Bootstrap(deadline);
        let ended = enter((&servers, mysqld.config()), db, entry, entrance, LOOK, |_, _, _| {}).await;
        assert_eq!(ended.err().unwrap().code, "group_start");
        assert!(!mysqld.with(|server| server.flag));
    }
}
