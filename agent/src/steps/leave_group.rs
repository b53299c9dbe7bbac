//! This server has left the group, with AdminAPI's clean-up of variables and channels. Its data stays, and it stays read only.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::UnitState;

use super::{Context, Done};
use crate::host::server_unit;
use crate::membership::Membership;
use crate::mysql::group::{APPLIER_CHANNEL, RECOVERY_CHANNEL};
use crate::mysql::{Db, MysqlError, group, start, variables};

/// Looks, acts, looks again.
pub async fn ensure(cx: &Context) -> Result<Done, Failure> {
    // first: an agent that acts alone must not bring it back
    Membership::forget(&*cx.host, &cx.config.state_dir).await?;
    let _entrance = cx.ledger.entrance().await;
    let mut db = match Db::local(&*cx.servers, &cx.config.mysql).await {
        Ok(db) => db,
        // a server that cannot be started any more, or never was, must not keep its host in the cluster for ever. It comes back
        // out of any group: start_on_boot is OFF, and its row and account are gone
        Err(MysqlError::NotRunning { .. } | MysqlError::Connect { .. }) if is_down(cx).await? => {
            cx.progress
                .text("mysqld does not run: it is in no group, its settings stay");
            return Ok(Done::Unchanged);
        }
        Err(error) => return Err(error.into()),
    };
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
        let done = ensure(&cx).await;
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
}
