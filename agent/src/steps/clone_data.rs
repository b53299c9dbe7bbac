//! This server's data are a complete copy of a donor's, and it is out of any group.
//!
//! It starts no Group Replication: the entry is another step, planned when the copy has ended. The entrance is held meanwhile, so that the
//! agent does not start it by itself either. What is overwritten was measured to be in the group's history (`join_group::copy_from`).

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::MemberState;

use super::join_group::{Copy, copy_from};
use super::{Context, Done};
use crate::debts;
use crate::mysql::{Db, group, start};

const CONNECT: Duration = Duration::from_secs(60);

/// Looks, acts, looks again.
pub async fn ensure(copy: &Copy<'_>, cx: &Context) -> Result<Done, Failure> {
    let _entrance = cx.ledger.entrance().await;
    cx.ledger.may_enter(&cx.cluster, cx.generation)?;
    let mut db = Db::wait_local(&*cx.servers, &cx.config.mysql, CONNECT).await?;
    // An agent that was killed leaves its START behind, which goes on.
    group::wait_quiet(&mut db).await?;
    start::clear_bootstrap_flag(&mut db).await?;
    if let Some(view) = group::view(&mut db).await? {
        match view.state {
            MemberState::Online | MemberState::Recovering => return Err(inside(copy)),
            _ if view.is_out() => {}
            _ => {
                cx.progress
                    .text("stopping Group Replication, which is in ERROR or rejoins by itself");
                start::stop(&mut db).await?;
            }
        }
    }
    debts::start::settle_of_order(cx, &mut db).await?;
    let (db, copied) = copy_from(cx, db, copy).await?;
    db.close().await;
    Ok(if copied {
        Done::changed(format!("copied the data of {}", copy.donor))
    } else {
        Done::from_changes(Vec::new())
    })
}

fn inside(copy: &Copy<'_>) -> Failure {
    Failure::refused("in_group", "this server is in a group: its data are not replaced")
        .fact(format!("the data of {} were to be copied here", copy.donor))
        .hint("nothing to do: the coordinator plans anew; see: clusterctl why")
        .transient()
}

#[cfg(test)]
#[path = "clone_data_tests.rs"]
mod tests;
