//! Bootstraps the group on this server (safety rule 1).
//!
//! The planner orders it only after every member's promise, and the leader checks that again before it sends the order. This step
//! trusts none of it, since an order can lie in a socket buffer, in a frozen agent or in a queue, while a person bootstraps
//! elsewhere. Before START it requires, in this order:
//!
//! 1. this agent's own promise of exactly this generation, fresh by a clock that counts sleep (`../promised.rs`);
//! 2. what the plan counts on is held still (safety rule 2);
//! 3. every other host that may be in the group says itself that it is in none; one that cannot be asked passes only if the
//!    leader vouches for it now, or if a forced recovery names it (`witnesses.rs`);
//! 4. the leader confirms, over the stream that stands, that the step is still wanted;
//! 5. mysqld begins within [`START`] of the last answer to 3 and 4, and within [`BEGIN`] of the moment before them, by its own clock
//!    (`mysql/start.rs`).
//!
//! A member that answers says so within [`START`] of the START, whoever else was waited for; what a leader vouches for is older.
//! What remains: a person who bootstraps elsewhere within that time, on a member that cannot be asked within [`BEGIN`], and a mysqld that is frozen inside START after it read the flag.

mod witnesses;

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::lineage::LineageId;
use clusterctl_proto::step::{BootstrapPeer, GroupConfig};
use clusterctl_proto::test_point;
use tokio::time::Instant;

use super::entering::{self, Standing};
use super::join_group::errant;
use super::{CONFIRM, Context, Done, history, promised};
use crate::debts;
use crate::ledger::Entrance;
use crate::mysql::enter::{Entry, enter};
use crate::mysql::start::{self, Deadline};
use crate::mysql::{Db, group, log, peer, schema_rules};

const CONNECT: Duration = Duration::from_secs(60);
/// A primary first applies what it had received.
const WRITABLE: Duration = Duration::from_secs(900);

/// Longest time for the questions to the other members and to the leader, which are asked side by side.
pub const LOOK: Duration = if peer::QUESTION.as_millis() > CONFIRM.as_millis() {
    peer::QUESTION
} else {
    CONFIRM
};

/// From the first of these questions until mysqld must have begun, at the latest: what was answered is not older than that.
const BEGIN: Duration = Duration::from_secs(2 * LOOK.as_secs());

/// Where somebody was waited for longer than this, the others are asked again: what they said is not older at the START than it must be.
const SOON: Duration = Duration::from_millis(300);

/// From the last answer until mysqld must have begun: two syncs of a busy disk, and a few small questions to mysqld.
const START: Duration = Duration::from_millis(1500);

/// The leader's look at a host may be of a moment before that host promised: asked again after this time, this often.
const AGAIN: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 1000 });
const TIMES: u32 = 5;

/// Looks, acts, looks again.
pub async fn ensure(
    wanted: &GroupConfig,
    counts_on: (&GtidSet, Option<&LineageId>),
    peers: &[BootstrapPeer],
    cx: &Context,
) -> Result<Done, Failure> {
    let entrance = cx.ledger.entrance().await;
    let done = debts::start::unless_inside(cx, bootstrap(wanted, counts_on, peers, entrance, cx)).await?;
    entering::remember(cx, wanted).await;
    Ok(done)
}

async fn bootstrap(
    wanted: &GroupConfig,
    (holds, lineage): (&GtidSet, Option<&LineageId>),
    peers: &[BootstrapPeer],
    entrance: Entrance,
    cx: &Context,
) -> Result<Done, Failure> {
    cx.ledger.may_enter(&cx.cluster, cx.generation)?;
    let mut db = Db::wait_local(&*cx.servers, &cx.config.mysql, CONNECT).await?;
    // an agent that was killed leaves its START behind, which goes on
    group::wait_quiet(&mut db).await?;
    // also where an earlier run of this step was killed between the start and this
    start::clear_bootstrap_flag(&mut db).await?;
    match entering::standing(&mut db, wanted).await? {
        Standing::Online => {
            history::bootstrapped(None, &mut db, cx).await;
            // A person may have put this server into a group that another one made.
            if !history::made_here(&mut db, cx).await? {
                return Err(group_exists(
                    "this server is in that group already, and this plan did not make it",
                ));
            }
            return Ok(Done::from_changes(entering::prepare(cx, &mut db, wanted).await?));
        }
        Standing::Recovering => {
            return Err(group_exists(
                "this server is recovering in that group already: it has other members",
            ));
        }
        Standing::Stuck | Standing::Out => {}
    }
    // before anything is changed: an order that slept changes nothing
    promised::require(cx).await?;
    start::stop(&mut db).await?;
    debts::start::settle_of_order(cx, &mut db).await?;
    still_holds(&errant::held(&mut db).await?, holds)?;
    schema_rules::check(&mut db).await?;
    let changes = entering::prepare(cx, &mut db, wanted).await?;
    tracing::info!(changes = changes.join("; "), "settings persisted before the bootstrap");
    // Before the questions: after their answers there is no time for another sync.
    debts::start::note(cx, &mut db, true).await?;
    let deadline = look_again(&witnesses::all(peers, wanted), wanted, &mut db, cx).await?;
    test_point::reach("agent.bootstrap_group.confirmed").await;
    promised::require(cx).await?;
    history::before_bootstrap(lineage, &mut db, cx).await?;
    let since = log::newest(&mut db).await?;
    cx.progress.text("bootstrapping the group");
    let entry = Entry::Bootstrap(deadline);
    let mut entered = match enter(
        (&cx.servers, &cx.config.mysql),
        db,
        entry,
        entrance,
        WRITABLE,
        |_, _, _| {},
    )
    .await
    {
        Ok(entered) => entered,
        Err(failure) => {
            // a START whose connection broke may run on
            if matches!(failure.code.as_str(), "group_start" | "too_late") {
                history::not_bootstrapped(cx).await;
            }
            return Err(failure);
        }
    };
    cx.spent("start_group", entered.started + entered.recovered);
    history::bootstrapped(Some(&since), &mut entered.db, cx).await;
    entered.db.close().await;
    Ok(Done::changed(format!("bootstrapped group {}", wanted.group_name)))
}

fn group_exists(message: &str) -> Failure {
    Failure::new("group_exists", message)
        .hint("clusterctl status")
        .transient()
}

/// The other members and the leader are asked now. Answers until when mysqld may begin.
async fn look_again(
    peers: &[BootstrapPeer],
    wanted: &GroupConfig,
    db: &mut Db,
    cx: &Context,
) -> Result<Deadline, Failure> {
    cx.progress
        .text("asking the other members and the coordinator once more");
    let mut times = 1;
    loop {
        // mysqld's clock is read before the questions: a mysqld that is frozen after them finds the deadline passed.
        let latest = Deadline::after(db, BEGIN).await?;
        let asked = Instant::now();
        let user = &wanted.account.user;
        let (mut answers, confirmed) = tokio::join!(witnesses::ask(&*cx.peers, peers, user), cx.leader.confirm());
        if asked.elapsed() >= SOON {
            answers = witnesses::ask_again(&*cx.peers, peers, user, answers).await;
        }
        let deadline = latest.earlier(BEGIN.saturating_sub(asked.elapsed() + START));
        // a group that lives is what a person must hear of, whatever the leader says
        witnesses::no_group(peers, &answers)?;
        match witnesses::all_out(peers, &answers, &confirmed?.vouched) {
            Ok(()) => return Ok(deadline),
            Err(failure) if times >= TIMES => return Err(failure),
            Err(failure) => tracing::info!(facts = ?failure.facts, "asked again in a moment: {failure}"),
        }
        times += 1;
        tokio::time::sleep(AGAIN).await;
    }
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
mod tests;
