//! The agent promises not to enter a group below this plan's generation, and its server is in none (safety rule 1).
//!
//! Ordered twice it looks twice: the promise is kept, what was seen is not. When it was seen last stands in `promised.rs`.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{GroupView, MemberState, UnitState};
use clusterctl_proto::step::StepData;

use super::join_group::errant;
use super::{Context, Done, promised};
use crate::host::server_unit;
use crate::mysql::{Db, MysqlError, group, start};

/// What is told of a server whose group would never have agreed on anything again.
const HALTED: &str = "stopped Group Replication, whose group agreed on nothing any more";

/// The promise is on disk before the server is looked at: whatever the server does next, this agent does not start it into
/// a group. What the server holds is read after its view: what it had received when it left is in it.
pub async fn ensure(cx: &Context) -> Result<Done, Failure> {
    let mut changes = Vec::new();
    if cx.ledger.promise(&cx.cluster, cx.generation).await? {
        changes.push(format!("promised to enter no group below generation {}", cx.generation));
    }
    // whoever was allowed to start before the promise has ended his START when this opens; nobody is allowed any more
    let _entrance = cx.ledger.entrance().await;
    let at = cx.host.uptime();
    let mut db = match Db::local(&*cx.servers, &cx.config.mysql).await {
        Ok(db) => db,
        // a socket may be left over from a mysqld that was killed
        Err(error @ (MysqlError::NotRunning { .. } | MysqlError::Connect { .. })) => {
            return match server_unit(cx).await? {
                // no server, no group
                UnitState::Absent | UnitState::Stopped | UnitState::Failed => {
                    promised::note(cx, at).await?;
                    Ok(Done::from_changes(changes))
                }
                // it may be about to enter one
                _ => Err(Failure::from(error).transient()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    // a START that a killed agent left behind is no start below the promise that comes after it
    group::wait_quiet(&mut db).await?;
    if start::clear_bootstrap_flag(&mut db).await? {
        changes.push("group_replication_bootstrap_group was ON, set it OFF".to_owned());
    }
    let mut at = cx.host.uptime();
    if let Some(view) = group::view(&mut db).await?
        && !view.is_out()
    {
        changes.push(stop_what_is_left(&view, &mut db, cx).await?.to_owned());
        at = cx.host.uptime();
        is_out_now(&mut db).await?;
    }
    let (executed, received) = errant::executed_and_received(&mut db).await?;
    cx.data(StepData::Promised { executed, received });
    promised::note(cx, at).await?;
    db.close().await;
    Ok(Done::from_changes(changes))
}

async fn server_unit(cx: &Context) -> Result<UnitState, Failure> {
    let known = server_unit::find(&*cx.host, &cx.config.mysql).await?;
    Ok(known.map_or(UnitState::Absent, |(_, unit)| unit.state))
}

/// Stops a plugin that only tries to come back or has given up, and one whose group has agreed on nothing for so long that it never will
/// again; any other server that is in a group stays there and is told.
async fn stop_what_is_left(view: &GroupView, db: &mut Db, cx: &Context) -> Result<&'static str, Failure> {
    let mut view = view.clone();
    if view.state == MemberState::Online {
        // Now, and in all looks since then.
        view.standstill_ms = cx.standstill.look(db).await?;
    }
    if !matches!(view.state, MemberState::Offline | MemberState::Error) && !view.has_halted() {
        let others = view.members.iter().filter(|member| member.host != cx.name.as_str());
        let others: Vec<&str> = others.map(|member| member.host.as_str()).collect();
        return Err(
            Failure::refused("in_group", format!("the server on {} is in a group", cx.name))
                .fact(format!(
                    "its state is {:?}, the others in its view are {others:?}",
                    view.state
                ))
                .hint("clusterctl status"),
        );
    }
    start::stop(db).await?;
    Ok(if view.has_halted() {
        HALTED
    } else {
        "stopped what was left of Group Replication"
    })
}

async fn is_out_now(db: &mut Db) -> Result<(), Failure> {
    match group::view(db).await? {
        Some(view) if !view.is_out() => Err(Failure::new(
            "group_stop",
            "Group Replication was stopped, but the server is not out of its group",
        )
        .fact(format!("its state is {:?}", view.state))
        .transient()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::ledger::Ledger;
    use crate::mysql::fake::FakeMysqld;
    use crate::steps::testing;

    fn stopped(dir: &Path) -> Context {
        let host = FakeHost::new().on("systemctl show", "LoadState=loaded\nActiveState=inactive\n");
        let (mut cx, _) = testing::context(Arc::new(host), dir);
        let mut config = (*cx.config).clone();
        config.mysql.sockets = vec![dir.join("mysqld.sock")];
        cx.config = Arc::new(config);
        cx
    }

    #[tokio::test]
    async fn without_a_server_it_is_promised_once() {
        let dir = tempfile::tempdir().unwrap();
        let cx = stopped(dir.path());
        assert!(matches!(ensure(&cx).await.unwrap(), Done::Changed(_)));
        assert_eq!(ensure(&cx).await.unwrap(), Done::Unchanged);
        assert_eq!(cx.ledger.facts().promises[&cx.cluster], cx.generation);
    }

    #[tokio::test]
    async fn it_is_on_disk_before_it_waits_for_a_start_and_answered_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let cx = stopped(dir.path());
        let starting = cx.ledger.entrance().await;
        let mut promise = std::pin::pin!(ensure(&cx));
        let on_disk = async {
            // whoever asks the ledger from then on is refused
            while Ledger::open(dir.path()).facts().promises.get(&cx.cluster) != Some(&cx.generation) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            done = &mut promise => panic!("somebody starts Group Replication: {done:?}"),
            written = tokio::time::timeout(Duration::from_secs(10), on_disk) => written.unwrap(),
        }
        let waits = tokio::time::timeout(Duration::from_millis(50), &mut promise);
        assert!(waits.await.is_err(), "somebody starts Group Replication");
        drop(starting);
        assert!(matches!(promise.await.unwrap(), Done::Changed(_)));
    }

    /// A running server behind this step, and the machine's clock.
    fn running(dir: &Path) -> (Context, FakeMysqld, Arc<FakeHost>) {
        let (mysqld, host) = (FakeMysqld::start(), Arc::new(FakeHost::new()));
        let (mut cx, _) = testing::context(host.clone(), dir);
        let mut config = (*cx.config).clone();
        config.mysql.sockets = mysqld.config().sockets.clone();
        cx.config = Arc::new(config);
        (cx, mysqld, host)
    }

    fn data(cx: &Context) -> Option<StepData> {
        cx.found.lock().unwrap().data.take()
    }

    #[tokio::test]
    async fn it_tells_what_is_held_read_after_the_view() {
        let dir = tempfile::tempdir().unwrap();
        let (cx, mysqld, _) = running(dir.path());
        let set = |to: u32| format!("6266fad8-e63f-11f1-a438-8e247ed30bec:1-{to}");
        mysqld.with(|server| (server.executed, server.received) = (set(5), set(9)));
        ensure(&cx).await.unwrap();
        let held = StepData::Promised {
            executed: set(5).parse().unwrap(),
            received: set(9).parse().unwrap(),
        };
        assert_eq!(data(&cx), Some(held));
        mysqld.with(|server| {
            let at = |part: &str| server.log.iter().rposition(|sql| sql.contains(part)).unwrap();
            let view = at("FROM performance_schema.replication_group_members");
            assert!(view < at("@@GLOBAL.gtid_executed") && view < at("received_transaction_set"));
        });
    }

    #[tokio::test]
    async fn given_twice_it_looks_twice_and_is_fresh_again() {
        let dir = tempfile::tempdir().unwrap();
        let (cx, mysqld, host) = running(dir.path());
        ensure(&cx).await.unwrap();
        host.pass(promised::FRESH);
        assert!(promised::require(&cx).await.is_err());
        assert_eq!(ensure(&cx).await.unwrap(), Done::Unchanged);
        promised::require(&cx).await.unwrap();
        // somebody started it meanwhile: the promise stands, but the server is in a group
        data(&cx);
        mysqld.with(|server| server.state = "ONLINE".to_owned());
        for _ in 0..2 {
            assert_eq!(ensure(&cx).await.unwrap_err().code, "in_group");
            assert_eq!(data(&cx), None);
        }
        mysqld.with(|server| server.state = "OFFLINE".to_owned());
        ensure(&cx).await.unwrap();
        assert!(data(&cx).is_some());
    }

    #[tokio::test]
    async fn what_is_left_of_group_replication_is_stopped_and_the_flag_set_off() {
        let dir = tempfile::tempdir().unwrap();
        let (cx, mysqld, _) = running(dir.path());
        mysqld.with(|server| {
            server.state = "ERROR".to_owned();
            (server.flag, server.persisted_flag) = (true, true);
        });
        ensure(&cx).await.unwrap();
        mysqld.with(|server| {
            assert_eq!(server.state, "OFFLINE");
            assert!(!server.flag && !server.persisted_flag);
        });
        // a server in a group that agrees is never stopped by a promise, and no fresh look is noted
        for state in ["ONLINE", "RECOVERING", "UNREACHABLE"] {
            mysqld.with(|server| server.state = state.to_owned());
            assert_eq!(ensure(&cx).await.unwrap_err().code, "in_group");
            mysqld.with(|server| assert_eq!(server.state, state));
        }
    }
    /// The group of one whose joiner died at the door: by its own word ONLINE, PRIMARY, with a majority.
    #[tokio::test]
    async fn a_group_that_agrees_on_nothing_any_more_is_stopped_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (cx, mysqld, _) = running(dir.path());
        mysqld.with(|server| (server.state, server.role) = ("ONLINE".to_owned(), "PRIMARY".to_owned()));
        tokio::time::pause();
        let observe = async |seconds: u64| {
            let mut db = Db::local(&*cx.servers, &cx.config.mysql).await.unwrap();
            for _ in 0..seconds {
                tokio::time::advance(Duration::from_secs(1)).await;
                cx.standstill.look(&mut db).await.unwrap();
            }
        };
        // It may be mended until then.
        observe(38).await;
        assert_eq!(ensure(&cx).await.unwrap_err().code, "in_group");
        // It agrees again while the promise is under way.
        observe(10).await;
        mysqld.with(|server| server.agreed = "2026-01-01 00:00:48.000000".to_owned());
        assert_eq!(ensure(&cx).await.unwrap_err().code, "in_group");
        observe(42).await;
        let done = ensure(&cx).await.unwrap();
        assert!(matches!(done, Done::Changed(what) if what.contains(HALTED)));
        mysqld.with(|server| assert_eq!(server.state, "OFFLINE"));
        assert!(matches!(data(&cx), Some(StepData::Promised { .. })));
    }
}
