//! The group is bootstrapped here. The planner orders it only after every member's promise (safety rule 1).

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::step::GroupConfig;

use super::entering::{self, Standing};
use super::join_group::errant;
use super::{Context, Done};
use crate::ledger::Entrance;
use crate::mysql::enter::{Entry, enter};
use crate::mysql::{Db, group, schema_rules};

const CONNECT: Duration = Duration::from_secs(60);
/// A primary first applies what it had received.
const WRITABLE: Duration = Duration::from_secs(900);

/// Looks, acts, looks again.
pub async fn ensure(wanted: &GroupConfig, holds: &GtidSet, cx: &Context) -> Result<Done, Failure> {
    let entrance = cx.ledger.entrance().await;
    let done = bootstrap(wanted, holds, entrance, cx).await?;
    entering::remember(cx, wanted).await;
    Ok(done)
}

async fn bootstrap(wanted: &GroupConfig, holds: &GtidSet, entrance: Entrance, cx: &Context) -> Result<Done, Failure> {
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
    still_holds(&errant::held(&mut db).await?, holds)?;
    schema_rules::check(&mut db).await?;
    let changes = entering::prepare(cx, &mut db, wanted).await?;
    tracing::info!(changes = changes.join("; "), "settings persisted before the bootstrap");
    cx.progress.text("bootstrapping the group");
    let entered = enter(&cx.config.mysql, db, Entry::Bootstrap, entrance, WRITABLE, |_, _, _| {}).await?;
    cx.spent("start_group", entered.started + entered.recovered);
    entered.db.close().await;
    Ok(Done::changed(format!("bootstrapped group {}", wanted.group_name)))
}

/// The plan chose this server for what it held then. Received transactions are not synced to disk: a power cut since may have taken some,
/// and another member may be the one that has everything now (safety rule 2).
fn still_holds(here: &GtidSet, planned: &GtidSet) -> Result<(), Failure> {
    let lost = planned.subtract(here);
    if lost.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        "holds_less",
        "this server holds less than when it was chosen to bootstrap: nothing was started",
    )
    .fact(format!("gone since: {lost}"))
    .hint("nothing to do: who bootstraps is chosen anew")
    .transient())
}

#[cfg(test)]
mod tests {
    use super::still_holds;

    #[test]
    fn a_server_that_lost_what_it_had_received_does_not_bootstrap() {
        let set = |to: u32| format!("6266fad8-e63f-11f1-a438-8e247ed30bec:1-{to}").parse().unwrap();
        assert_eq!(still_holds(&set(100), &set(100)), Ok(()));
        assert_eq!(still_holds(&set(101), &set(100)), Ok(()));
        let failure = still_holds(&set(98), &set(100)).unwrap_err();
        assert!(failure.retry && failure.facts[0].ends_with(":99-100"), "{failure:?}");
    }
}
