//! This member becomes the primary.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::{MemberRole, MemberState};
use tokio::time::Instant;

use super::{Context, Done, history};
use crate::mysql::{Db, group, primary};

/// Beyond the wait for running transactions: the election, and applying what is queued.
const ELECTION: Duration = Duration::from_secs(120);

/// Looks, acts, looks again.
pub async fn ensure(timeout_seconds: u32, cx: &Context) -> Result<Done, Failure> {
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    let view = group::view(&mut db).await?;
    let Some(view) = view.filter(|view| view.state == MemberState::Online) else {
        return Err(Failure::new(
            "not_a_member",
            "this server is no ONLINE member, so it cannot become the primary",
        )
        .hint("clusterctl status")
        .transient());
    };
    if !view.has_quorum() {
        return Err(Failure::new("no_quorum", "this server sees no majority of its group")
            .hint("clusterctl status")
            .transient());
    }
    let old = view
        .members
        .iter()
        .find(|m| m.role == MemberRole::Primary)
        .map_or("nobody", |m| m.host.as_str())
        .to_owned();
    if view.role != MemberRole::Primary {
        history::proven(&mut db, cx).await?;
        let uuid = db.value("SELECT @@GLOBAL.server_uuid").await?.unwrap_or_default();
        let wait = timeout_seconds.min(3600);
        let wait = Duration::from_secs(u64::from(wait));
        cx.timed("switchover", primary::set(&mut db, &uuid, wait, wait + ELECTION))
            .await
            .map_err(explain)?;
    }
    let end = Instant::now() + ELECTION;
    loop {
        let view = group::view(&mut db).await?;
        if view.is_some_and(|view| view.state == MemberState::Online && view.role == MemberRole::Primary) {
            break;
        }
        if Instant::now() >= end {
            return Err(
                Failure::new("switchover_failed", "this member was not made the primary")
                    .hint("clusterctl status")
                    .transient(),
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    group::wait_writable(&mut db, ELECTION).await?;
    db.close().await;
    Ok(if view.role == MemberRole::Primary {
        Done::Unchanged
    } else {
        Done::changed(format!("primary {old} -> {}", cx.name))
    })
}

fn explain(error: crate::mysql::MysqlError) -> Failure {
    if error.is_broken() {
        return error.into();
    }
    Failure::new("switchover_failed", "the group did not make this member its primary")
        .fact(error.to_string())
        .hint("a long transaction on the primary may stand in the way: SELECT * FROM information_schema.innodb_trx")
        .transient()
}
