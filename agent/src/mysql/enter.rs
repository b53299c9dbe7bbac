//! A server enters its group: START GROUP_REPLICATION, watched from a second connection.
//!
//! START keeps its client waiting a whole second after everything is done, longer than that where recovery ends just after. What counts is
//! that the member is ONLINE, so this is what is waited for; the statement ends in a task of its own.

use std::time::{Duration, Instant};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{GroupView, MemberState};
use tokio::task::{AbortHandle, JoinHandle};

use super::conn::Db;
use super::group;
use crate::config::MysqlConfig;

/// Looks while START runs.
const LOOK: Duration = Duration::from_millis(20);
/// For the words of a START whose member is seen to have failed.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// How a server enters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// It makes the group, and takes writes.
    Bootstrap,
    /// It joins.
    Join,
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

/// Starts and waits until ONLINE; where it bootstraps, until it takes writes with the flag OFF again.
pub async fn enter(
    config: &MysqlConfig,
    db: Db,
    entry: Entry,
    patience: Duration,
    tell: impl FnMut(&GroupView, u64, &str),
) -> Result<Entered, Failure> {
    let mut watcher = Db::local(config).await?;
    let since = group::now(&mut watcher).await?;
    let begun = Instant::now();
    let mut start = tokio::spawn(run(db, entry));
    let unfinished = Unfinished(Some(start.abort_handle()));
    loop {
        tokio::select! {
            biased;
            ended = &mut start => {
                ended.map_err(|_| lost())??;
                break;
            }
            () = tokio::time::sleep(LOOK) => {
                // what it says before that is of the time before
                if group::view(&mut watcher).await?.is_some_and(|view| is_in(&view)) {
                    break;
                }
            }
        }
    }
    let started = begun.elapsed();
    let in_service = async {
        group::wait_online(&mut watcher, &since, patience, tell).await?;
        if entry == Entry::Bootstrap {
            group::clear_bootstrap_flag_quietly(&mut watcher).await?;
            group::wait_writable(&mut watcher, patience).await?;
        }
        Ok(())
    };
    if let Err(failure) = in_service.await {
        return Err(why(start, failure).await);
    }
    unfinished.let_end();
    Ok(Entered {
        db: watcher,
        started,
        recovered: begun.elapsed().saturating_sub(started),
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

fn is_in(view: &GroupView) -> bool {
    matches!(view.state, MemberState::Online | MemberState::Recovering)
}

async fn run(mut db: Db, entry: Entry) -> Result<(), Failure> {
    let result = group::start(&mut db, entry == Entry::Bootstrap).await;
    db.close().await;
    if let Err(failure) = &result {
        tracing::warn!(facts = ?failure.facts, "START GROUP_REPLICATION: {failure}");
    }
    result
}

/// What START says of it where it has an opinion, else what was seen.
async fn why(start: JoinHandle<Result<(), Failure>>, seen: Failure) -> Failure {
    if start.is_finished() {
        // its result may have been taken already
        return seen;
    }
    match tokio::time::timeout(LAST_WORDS, start).await {
        Ok(Ok(Err(failure))) => failure,
        _ => seen,
    }
}

fn lost() -> Failure {
    Failure::new("group_start", "the agent lost sight of START GROUP_REPLICATION").transient()
}

#[cfg(test)]
mod tests {
    use clusterctl_proto::observe::MemberRole;

    use super::*;

    #[test]
    fn only_a_member_in_the_view_ends_the_wait_for_start() {
        let view = |state| GroupView {
            state,
            role: MemberRole::None,
            view_id: String::new(),
            members: Vec::new(),
            auto_rejoin: false,
            channel_error: None,
        };
        assert!(is_in(&view(MemberState::Recovering)) && is_in(&view(MemberState::Online)));
        // OFFLINE and ERROR are what was before START, until START itself says otherwise
        assert!(!is_in(&view(MemberState::Offline)) && !is_in(&view(MemberState::Error)));
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

    #[tokio::test]
    async fn a_start_that_failed_is_believed_before_what_was_seen() {
        let seen = || Failure::new("group_left", "went to ERROR");
        let says = tokio::spawn(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(Failure::new("group_start", "timed out"))
        });
        assert_eq!(why(says, seen()).await.code, "group_start");
        let content = tokio::spawn(async { Ok(()) });
        assert_eq!(why(content, seen()).await.code, "group_left");
    }
}
