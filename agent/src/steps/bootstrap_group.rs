//! The group is bootstrapped here. The planner orders it only after every member's promise (safety rule 1).

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::step::GroupConfig;

use super::entering::{self, Standing};
use super::{Context, Done};
use crate::ledger::Entrance;
use crate::mysql::enter::{Entry, enter};
use crate::mysql::{Db, group, schema_rules};

const CONNECT: Duration = Duration::from_secs(60);
/// A primary first applies what it had received.
const WRITABLE: Duration = Duration::from_secs(900);

/// Looks, acts, looks again.
pub async fn ensure(wanted: &GroupConfig, cx: &Context) -> Result<Done, Failure> {
    let entrance = cx.ledger.entrance().await;
    let done = bootstrap(wanted, entrance, cx).await?;
    entering::remember(cx, wanted).await;
    Ok(done)
}

async fn bootstrap(wanted: &GroupConfig, entrance: Entrance, cx: &Context) -> Result<Done, Failure> {
    cx.ledger.may_enter(&cx.cluster, cx.generation)?;
    let mut db = Db::wait_local(&cx.config.mysql, CONNECT).await?;
    // an agent that was killed leaves its START behind, which goes on
    group::wait_quiet(&mut db).await?;
    // also where an earlier run of this step was killed between the start and this
    group::clear_bootstrap_flag(&mut db).await?;
    match entering::standing(&mut db, wanted).await? {
        Standing::Online => {
            return Ok(Done::from_changes(entering::prepare(cx, &mut db, wanted).await?));
        }
        Standing::Recovering => {
            return Err(Failure::new(
                "group_exists",
                "this server is recovering in that group already: it has other members",
            )
            .hint("clusterctl status")
            .transient());
        }
        Standing::Stuck => {
            group::stop(&mut db).await?;
        }
        Standing::Out => {}
    }
    schema_rules::check(&mut db).await?;
    let changes = entering::prepare(cx, &mut db, wanted).await?;
    tracing::info!(changes = changes.join("; "), "settings persisted before the bootstrap");
    cx.progress.text("bootstrapping the group");
    let entered = enter(&cx.config.mysql, db, Entry::Bootstrap, entrance, WRITABLE, |_, _, _| {}).await?;
    cx.spent("start_group", entered.started + entered.recovered);
    entered.db.close().await;
    Ok(Done::changed(format!("bootstrapped group {}", wanted.group_name)))
}
