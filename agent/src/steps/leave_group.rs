//! This server has left the group, with AdminAPI's clean-up of variables and channels. Its data stays, and it stays read only.

use clusterctl_proto::failure::Failure;

use super::{Context, Done};
use crate::mysql::group::{APPLIER_CHANNEL, RECOVERY_CHANNEL};
use crate::mysql::{Db, group, variables};

/// Looks, acts, looks again.
pub async fn ensure(cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::local(&cx.config.mysql).await?;
    let mut changes = Vec::new();
    if group::stop(&mut db).await? {
        changes.push("left the group".to_owned());
    }
    if group::view(&mut db).await?.is_none() {
        return Ok(Done::from_changes(changes));
    }
    group::clear_bootstrap_flag(&mut db).await?;
    for channel in [APPLIER_CHANNEL, RECOVERY_CHANNEL] {
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
