//! This server has left the group, with AdminAPI's clean-up of variables and channels. Its data stays, and it stays read only.
//!
//! A server whose data are not the cluster's, or which is set up for another group, is somebody else's: nothing is done to it.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{DataDirectory, UnitState};
use uuid::Uuid;

use super::{Context, Done};
use crate::host::server_unit;
use crate::membership::Membership;
use crate::mysql::group::{APPLIER_CHANNEL, RECOVERY_CHANNEL};
use crate::mysql::{Db, MysqlError, data, group, start, variables};

/// Looks, acts, looks again.
pub async fn ensure(group_name: Option<Uuid>, cx: &Context) -> Result<Done, Failure> {
    // Who acts alone here holds it.
    let _entrance = cx.ledger.entrance().await;
    let mut db = match Db::local(&*cx.servers, &cx.config.mysql).await {
        Ok(mut db) => {
            its_data(cx).await?;
            its_group(group_name, &mut db, cx).await?;
            db
        }
        Err(error) => {
            forget(cx).await?;
            return without_server(error, cx).await;
        }
    };
    forget(cx).await?;
    group::wait_quiet(&mut db).await?;
    let mut changes = Vec::new();
    if start::stop(&mut db).await? {
        changes.push("left the group".to_owned());
    }
    if group::view(&mut db).await?.is_none() {
        return Ok(Done::from_changes(changes));
    }
    start::clear_bootstrap_flag(&mut db).await?;
    let unapplied = unapplied(&mut db).await?;
    for channel in [APPLIER_CHANNEL, RECOVERY_CHANNEL] {
        if channel == APPLIER_CHANNEL && !unapplied.is_empty() {
            // nobody has compared them with what the others have (safety rule 2): they stay, and the next join applies them
            cx.progress.text(format!(
                "channel {channel} stays: it received {unapplied} and has not applied it"
            ));
            tracing::warn!(
                unapplied,
                "received transactions are not applied: their channel is kept"
            );
            continue;
        }
        let sql = "SELECT 1 FROM performance_schema.replication_connection_configuration WHERE channel_name = ?";
        if db.value_with(sql, (channel,)).await?.is_some() {
            db.run(&format!("RESET REPLICA ALL FOR CHANNEL '{channel}'")).await?;
            changes.push(format!("removed channel {channel}"));
        }
    }
    let set = |name: &str, value: &str| (format!("group_replication_{name}"), value.to_owned());
    let wanted = [
        // a mysqld that restarts must not look for the group that it left
        set("start_on_boot", "OFF"),
        set("enforce_update_everywhere_checks", "OFF"),
        set("group_seeds", "DEFAULT"),
        set("local_address", "DEFAULT"),
        ("super_read_only".to_owned(), "ON".to_owned()),
    ];
    changes.extend(variables::persist(&mut db, &wanted).await?);
    db.close().await;
    Ok(Done::from_changes(changes))
}

/// An agent that acts alone must not bring it back.
async fn forget(cx: &Context) -> Result<(), Failure> {
    Membership::forget(&*cx.host, &cx.config.state_dir).await?;
    Ok(())
}

/// A server that cannot be started any more, or never was, must not keep its host in the cluster for ever. It comes back out of any group:
/// start_on_boot is OFF, and its row and account are gone.
async fn without_server(error: MysqlError, cx: &Context) -> Result<Done, Failure> {
    if matches!(error, MysqlError::NotRunning { .. } | MysqlError::Connect { .. }) && is_down(cx).await? {
        cx.progress
            .text("mysqld does not run: it is in no group, its settings stay");
        return Ok(Done::Unchanged);
    }
    Err(error.into())
}

/// Refuses a server whose data directory is not plainly the cluster's.
async fn its_data(cx: &Context) -> Result<(), Failure> {
    let dir = cx.config.mysql.data_dir.display();
    let what = match data::inspect(&*cx.host, &cx.config.mysql.data_dir, Some(&cx.group)).await? {
        DataDirectory::Foreign { what } => what,
        DataDirectory::Ours { cluster: Some(cluster) } if cluster != cx.cluster => format!("data of cluster {cluster}"),
        DataDirectory::Ours { .. } | DataDirectory::Pristine | DataDirectory::Absent => return Ok(()),
    };
    Err(Failure::refused(
        "foreign_data",
        format!(
            "{dir} holds data that is not of cluster {}; mysqld is not touched",
            cx.cluster
        ),
    )
    .fact(what)
    .hint(by_hand(cx, "look whose data it is")))
}

/// Refuses a server that is set up for another group, whether it is in that group now or not.
async fn its_group(wanted: Option<Uuid>, db: &mut Db, cx: &Context) -> Result<(), Failure> {
    let name = group::name(db).await?;
    if wanted.is_none_or(|wanted| name.is_empty() || name.eq_ignore_ascii_case(&wanted.to_string())) {
        return Ok(());
    }
    let failure = Failure::refused(
        "other_group",
        format!("this server is set up for another group, {name}; mysqld is not touched"),
    )
    .hint(by_hand(cx, "look who set it up"));
    let view = group::view(db).await?;
    let members = view.iter().flat_map(|view| &view.members);
    let members = members.map(|m| format!("{}:{} is {:?}", m.host, m.port, m.state));
    Err(members.fold(failure, Failure::fact))
}

fn by_hand(cx: &Context, look: &str) -> String {
    format!(
        "{look}; to take {host} out of {} and leave its mysqld as it is: on {host}: systemctl stop clusterctl-agent; then: clusterctl remove {host} --force",
        cx.cluster,
        host = cx.name
    )
}

/// What the group sent and this server has not applied yet.
async fn unapplied(db: &mut Db) -> Result<String, Failure> {
    let sql = "SELECT GTID_SUBTRACT(received_transaction_set, @@GLOBAL.gtid_executed) \
               FROM performance_schema.replication_connection_status WHERE channel_name = ?";
    Ok(db.value_with(sql, (APPLIER_CHANNEL,)).await?.unwrap_or_default())
}

/// Whether systemd certainly says that mysqld does not run.
async fn is_down(cx: &Context) -> Result<bool, Failure> {
    let known = server_unit::find(&*cx.host, &cx.config.mysql).await?;
    Ok(known.is_none_or(|(_, unit)| matches!(unit.state, UnitState::Stopped | UnitState::Failed)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::mysql::fake::FakeMysqld;
    use crate::steps::testing;

    async fn leave(systemctl: &str) -> Result<Done, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let membership = dir.path().join("membership.json").display().to_string();
        let host = FakeHost::new()
            .on("systemctl show", systemctl)
            .with_file(&membership, "{}");
        let host = Arc::new(host);
        let (mut cx, _) = testing::context(host.clone(), dir.path());
        let mut config = (*cx.config).clone();
        config.mysql.sockets = vec![dir.path().join("mysqld.sock")];
        cx.config = Arc::new(config);
        let done = ensure(None, &cx).await;
        assert_eq!(host.text(&membership), None, "it does not come back by itself");
        done
    }

    #[tokio::test]
    async fn a_server_that_does_not_run_has_left() {
        for down in [
            "LoadState=loaded\nActiveState=failed\n",
            "LoadState=loaded\nActiveState=inactive\n",
            "LoadState=not-found\nActiveState=inactive\n",
        ] {
            assert_eq!(leave(down).await.unwrap(), Done::Unchanged, "{down}");
        }
        // no answer is not "down"
        for unknown in ["ActiveState=active\n", "ActiveState=activating\n"] {
            let failure = leave(&format!("LoadState=loaded\n{unknown}")).await.unwrap_err();
            assert!(failure.retry, "{failure}");
        }
    }

    /// Why a server that is ONLINE in this group, with this marker in its data directory, is left as it is.
    async fn refused(group_name: &str, marker: &str) -> String {
        const GROUP: Uuid = Uuid::from_u128(7);
        let dir = tempfile::tempdir().unwrap();
        let mysqld = FakeMysqld::start();
        mysqld.with(|server| {
            (server.state, server.super_read_only) = ("ONLINE".to_owned(), false);
            server.group_name = group_name.replace("ours", &GROUP.to_string());
        });
        let host = FakeHost::new().with_file("/var/lib/mysql/clusterctl.json", marker);
        let (mut cx, _) = testing::context(Arc::new(host), dir.path());
        let mut config = (*cx.config).clone();
        config.mysql.sockets = mysqld.config().sockets.clone();
        config.mysql.data_dir = "/var/lib/mysql".into();
        cx.config = Arc::new(config);
        let failure = ensure(Some(GROUP), &cx).await.unwrap_err();
        assert!(!failure.retry && failure.hint.is_some(), "{failure}");
        mysqld.with(|server| assert_eq!((server.state.as_str(), server.super_read_only), ("ONLINE", false)));
        failure.code
    }

    #[tokio::test]
    async fn a_server_with_data_that_are_not_the_clusters_is_not_touched() {
        for marker in [
            r#"{"format":1,"cluster":"other","group":"group-1"}"#,
            r#"{"format":1,"cluster":"prod","group":"group-2"}"#,
            "{",
        ] {
            assert_eq!(refused("ours", marker).await, "foreign_data", "{marker}");
        }
    }

    #[tokio::test]
    async fn a_server_in_another_group_is_not_touched() {
        let ours = r#"{"format":1,"cluster":"prod","group":"group-1"}"#;
        let another = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        assert_eq!(refused(another, ours).await, "other_group");
    }
}
