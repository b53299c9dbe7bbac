//! The agent promises not to enter a group below this plan's generation, and its server is in none (safety rule 1).

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{GroupView, MemberState, UnitState};

use super::{Context, Done};
use crate::host::server_unit;
use crate::mysql::{Db, MysqlError, group};

/// The promise is on disk before the server is looked at: whatever the server does next, this agent does not start it into
/// a group.
pub async fn ensure(cx: &Context) -> Result<Done, Failure> {
    let mut changes = Vec::new();
    if cx.ledger.promise(&cx.cluster, cx.generation).await? {
        changes.push(format!("promised to enter no group below generation {}", cx.generation));
    }
    // whoever was allowed to start before the promise has ended his START when this opens; nobody is allowed any more
    let _entrance = cx.ledger.entrance().await;
    let mut db = match Db::local(&cx.config.mysql).await {
        Ok(db) => db,
        // a socket may be left over from a mysqld that was killed
        Err(error @ (MysqlError::NotRunning { .. } | MysqlError::Connect { .. })) => {
            return match server_unit(cx).await? {
                // no server, no group
                UnitState::Absent | UnitState::Stopped | UnitState::Failed => Ok(Done::from_changes(changes)),
                // it may be about to enter one
                _ => Err(Failure::from(error).transient()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    // a START that a killed agent left behind is no start below the promise that comes after it
    group::wait_quiet(&mut db).await?;
    if group::clear_bootstrap_flag(&mut db).await? {
        changes.push("group_replication_bootstrap_group was ON, set it OFF".to_owned());
    }
    if let Some(view) = group::view(&mut db).await?
        && !view.is_out()
    {
        leave_what_is_left(&view, &mut db, cx).await?;
        changes.push("stopped what was left of Group Replication".to_owned());
    }
    db.close().await;
    Ok(Done::from_changes(changes))
}

async fn server_unit(cx: &Context) -> Result<UnitState, Failure> {
    let known = server_unit::find(&*cx.host, &cx.config.mysql).await?;
    Ok(known.map_or(UnitState::Absent, |(_, unit)| unit.state))
}

/// Stops a plugin that only tries to come back or has given up; a server that is in a group stays there and is told.
async fn leave_what_is_left(view: &GroupView, db: &mut Db, cx: &Context) -> Result<(), Failure> {
    if !matches!(view.state, MemberState::Offline | MemberState::Error) {
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
    group::stop(db).await?;
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
}
