//! This server is an ONLINE member: nothing of its own is lost, its data comes as ordered, and it has caught up.

mod donor;
pub mod errant;
mod live;

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::observe::{GroupView, UnitState};
use clusterctl_proto::step::{GroupConfig, History, MemberAccount, Recovery};
use tokio::time::Instant;
use uuid::Uuid;

use super::entering::{self, Standing};
use super::{Context, Done, history};
use crate::debts::{self, copy::Begun};
use crate::host::systemd;
use crate::ledger::Entrance;
use crate::mysql::data::{self, Marker};
use crate::mysql::enter::{Entry, enter};
use crate::mysql::start::{self, Deadline};
use crate::mysql::{Db, clone, close, group, log, schema_rules};

const CONNECT: Duration = Duration::from_secs(60);
/// A cloned server recovers its redo log before it answers.
const AFTER_CLONE: Duration = Duration::from_secs(900);
/// Recovery may wait for one large transaction.
const PATIENCE: Duration = Duration::from_secs(1800);

/// After the look at the group that is entered, mysqld begins within this time.
const BEGIN: Duration = Duration::from_secs(20);

const OPENED: &str = "offline_mode OFF, which an exit from the group had left ON";

/// What is to be joined, and how.
pub struct Order<'a> {
    /// Settings of the group and of this member.
    pub group: &'a GroupConfig,
    /// How its data come.
    pub recovery: &'a Recovery,
    /// Its own account.
    pub account: &'a MemberAccount,
    /// What the group had when it was asked.
    pub group_gtid: &'a str,
    /// The group's lineage, and those that this server's may be.
    pub history: Option<&'a History>,
}

/// Looks, acts, looks again.
pub async fn ensure(order: &Order<'_>, cx: &Context) -> Result<Done, Failure> {
    let entrance = cx.ledger.entrance().await;
    let enters = async {
        cx.ledger.may_enter(&cx.cluster, cx.generation)?;
        come_in(order, entrance, cx).await
    };
    let done = debts::start::unless_inside(cx, enters).await?;
    entering::remember(cx, order.group).await;
    Ok(done)
}

/// Brings the server in for the agent that acts alone (`keeper/`), and asked the ledger while it held the entrance.
pub async fn join(order: &Order<'_>, entrance: Entrance, cx: &Context) -> Result<Done, Failure> {
    debts::start::unless_inside(cx, come_in(order, entrance, cx)).await
}

async fn come_in(order: &Order<'_>, entrance: Entrance, cx: &Context) -> Result<Done, Failure> {
    let Order {
        group: wanted,
        recovery,
        group_gtid,
        history: into,
        ..
    } = *order;
    let mut db = Db::wait_local(&*cx.servers, &cx.config.mysql, CONNECT).await?;
    // an agent that was killed leaves its START behind, which goes on
    group::wait_quiet(&mut db).await?;
    start::clear_bootstrap_flag(&mut db).await?;
    match entering::standing(&mut db, wanted).await? {
        Standing::Online => {
            let mut changes = entering::prepare(cx, &mut db, wanted).await?;
            if start::leave_offline_mode(&mut db).await? {
                changes.push(OPENED.to_owned());
            }
            return Ok(Done::from_changes(changes));
        }
        Standing::Recovering => {
            let since = log::newest(&mut db).await?;
            drop(entrance);
            catch_up(cx, &mut db, &since, group_gtid).await?;
            start::leave_offline_mode(&mut db).await?;
            return Ok(Done::changed("recovered"));
        }
        Standing::Stuck => {
            cx.progress
                .text("stopping Group Replication, which is in ERROR or rejoins by itself");
            start::stop(&mut db).await?;
        }
        Standing::Out => {}
    }
    debts::start::settle_of_order(cx, &mut db).await?;
    let how = match recovery {
        Recovery::Incremental => {
            history::not_half_copied(&mut db, cx).await?;
            errant::guard(&mut db, group_gtid, wanted.group_name).await?;
            schema_rules::check(&mut db).await?;
            history::before_entering(into, group_gtid, &mut db, cx).await?;
            "by incremental recovery".to_owned()
        }
        Recovery::Clone { donor, port } => {
            let copy = Copy {
                donor: donor.as_str(),
                port: *port,
                account: order.account,
                group_gtid,
                group_name: wanted.group_name,
                history: into,
            };
            db = copy_from(cx, db, &copy).await?.0;
            history::vouched(&mut db, cx).await?;
            format!("with a copy of {donor}'s data")
        }
    };
    let changes = entering::prepare(cx, &mut db, wanted).await?;
    tracing::info!(changes = changes.join("; "), "settings persisted before the start");
    debts::start::note(cx, &mut db, false).await?;
    // mysqld's clock is read before the others are asked: a mysqld that is frozen after that finds the deadline passed.
    let deadline = Deadline::after(&mut db, BEGIN).await?;
    live::check(&*cx.peers, wanted, into).await?;
    history::starts(&mut db, cx).await?;
    cx.progress.text("starting Group Replication");
    let tell = progress(cx, group_gtid);
    let entered = enter(
        (&cx.servers, &cx.config.mysql),
        db,
        Entry::Join(deadline),
        entrance,
        PATIENCE,
        tell,
    )
    .await;
    let mut entered = match entered.map_err(errant::explain_start) {
        Ok(entered) => entered,
        Err(failure) => {
            history::start_failed(cx).await;
            return Err(history::distrust(failure, cx).await);
        }
    };
    // an exit of the old membership may have been on its way meanwhile
    start::leave_offline_mode(&mut entered.db).await?;
    cx.spent("start_group", entered.started);
    cx.spent("recovery", entered.recovered);
    entered.db.close().await;
    Ok(Done::changed(format!("joined the group {how}")))
}

/// Waits until ONLINE.
async fn catch_up(cx: &Context, db: &mut Db, since: &str, group_gtid: &str) -> Result<(), Failure> {
    let wait = group::wait_online(db, since, PATIENCE, progress(cx, group_gtid));
    cx.timed("recovery", wait).await?;
    Ok(())
}

/// Tells how many transactions are left.
fn progress(cx: &Context, group_gtid: &str) -> impl FnMut(&GroupView, u64, &str) {
    let target: GtidSet = group_gtid.parse().unwrap_or_default();
    let sink = cx.progress.clone();
    let mut most = 0;
    move |_, queue, executed| {
        let executed: GtidSet = executed.parse().unwrap_or_default();
        let missing = u64::try_from(target.subtract(&executed).count()).unwrap_or(u64::MAX);
        let left = missing.max(queue);
        most = left.max(most);
        sink.text(format!("recovering: {left} of {most} transactions left"));
    }
}

/// Whose data replace this server's, and by what they are measured before.
pub struct Copy<'a> {
    /// The donor's name.
    pub donor: &'a str,
    /// Its port.
    pub port: u16,
    /// This member's account, by which it logs in there.
    pub account: &'a MemberAccount,
    /// What the group had when the plan was made.
    pub group_gtid: &'a str,
    /// The group's name.
    pub group_name: Uuid,
    /// The group's lineage, and those that this server's may be.
    pub history: Option<&'a History>,
}

/// Replaces the data by the donor's, unless an earlier run of this very order has done it. Answers whether it did. The ledger says from
/// before the first byte is dropped until the copy is known to be complete, and of a donor that is still in the group, that what is here
/// lacks anything.
pub async fn copy_from(cx: &Context, mut db: Db, copy: &Copy<'_>) -> Result<(Db, bool), Failure> {
    let Copy {
        donor,
        port,
        account,
        group_gtid,
        group_name,
        history: into,
    } = *copy;
    let config = &cx.config.mysql;
    let source = format!("{donor}:{port}");
    let begun = Begun::of_order(cx).await?.filter(|begun| begun.source == source);
    if let Some(begun) = &begun
        && let Some(status) = clone::status(&mut db).await?
        && begun.ended(&status)
    {
        cx.progress.text(format!("the data of {source} is here already"));
        // One that is on record is not asked for anew: its donor may have gone on to another lineage since.
        if !history::copy_is_recorded(&mut db, cx).await? {
            let given = begun.given(donor::is_in(&*cx.peers, copy).await?);
            history::copied(into, (source, given), &mut db, cx).await?;
        }
        return Ok((db, false));
    }
    // Before it is measured: what is executed here later, or a long sleep, makes the copy void.
    let permit = clone::Permit {
        held: errant::held(&mut db).await?,
        deadline: Deadline::after(&mut db, BEGIN).await?,
    };
    // again even after an interrupted clone: somebody may have written here meanwhile
    errant::guard(&mut db, group_gtid, group_name).await?;
    history::before_entering(into, group_gtid, &mut db, cx).await?;
    let view = donor::is_in(&*cx.peers, copy).await?;
    // The keeper does nothing for as long as this copies.
    for left in debts::copy::left(debts::place(cx), Some(&mut db)).await? {
        if left.source != source
            && let Err(failure) = debts::copy::end_left(debts::place(cx), (&*cx.servers, &config.tls_dir), &left).await
        {
            tracing::info!(%failure, donor = left.source, "what an earlier copy may have left there is not ended yet");
        }
    }
    let mut worker = Db::local(&*cx.servers, config).await?;
    let begun = Begun::note(begun, (&source, &account.user, view), (&mut db, &mut worker), cx).await?;
    history::copies(&mut db, cx).await?;
    let cloned = cx.timed("clone", async {
        clone::prepare(&mut db, donor, port, &config.tls_dir).await?;
        db.close().await;
        cx.progress.text(format!("cloning from {source}"));
        let here = (&*cx.servers, config);
        clone::run(here, worker, (donor, port, &account.user), &permit, &cx.progress).await?;
        cx.progress.text("mysqld restarts on the copy");
        come_back(cx, &begun).await
    });
    let mut db = match cloned.await {
        Ok(db) => db,
        Err(failure) => {
            close_again(cx).await;
            return Err(failure);
        }
    };
    // What was copied is what the donor held at the end, hours after the order: until it is known to be the group's, it is half of a copy.
    let given = begun.given(donor::is_in(&*cx.peers, copy).await?);
    history::copied(into, (source, given), &mut db, cx).await?;
    Ok((db, true))
}

/// This server was opened to writes for a clone that did not come about: nothing is to be written here meanwhile.
async fn close_again(cx: &Context) {
    let closed = async {
        let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
        close::outside(&mut db).await
    };
    if let Err(error) = closed.await {
        tracing::warn!(%error, "super_read_only may stay OFF after a clone that failed, until the keeper sets it ON");
    }
}

/// mysqld restarts itself after a clone; where nobody was there to start it again, it is started here.
async fn come_back(cx: &Context, begun: &Begun) -> Result<Db, Failure> {
    let config = &cx.config.mysql;
    let names: Vec<&str> = config.units.iter().map(String::as_str).collect();
    let end = Instant::now() + AFTER_CLONE;
    let (mut db, status) = loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        match Db::local(&*cx.servers, config).await {
            // the old process may still answer while it goes down
            Ok(mut db) => match clone::status(&mut db).await {
                Ok(Some(status)) if status.state == "In Progress" => {}
                Ok(status) => break (db, status.unwrap_or_default()),
                Err(_) => {}
            },
            Err(error) if Instant::now() >= end => return Err(error.into()),
            Err(_) => {}
        }
        if let Some((unit, seen)) = systemd::first_known(&*cx.host, &names).await?
            && matches!(seen.state, UnitState::Stopped | UnitState::Failed)
        {
            systemd::reset_failed(&*cx.host, unit).await?;
            systemd::start(&*cx.host, unit).await?;
        }
    };
    if !begun.ended(&status) {
        return Err(Failure::new(
            "clone_failed",
            format!("the copy of {}'s data is not complete", begun.source),
        )
        .fact(format!(
            "clone is {}: error {} {}",
            status.state, status.error, status.message
        ))
        .hint("the donor must be ONLINE and reachable; the clone is begun again")
        .transient());
    }
    // the server that came back may be going down still: one more answer proves the new one
    if db.value("SELECT 1").await.is_err() {
        db = Db::wait_local(&*cx.servers, config, AFTER_CLONE).await?;
    }
    let marker = Marker {
        format: 1,
        cluster: cx.cluster.clone(),
        group: cx.group.clone(),
    };
    data::mark(&*cx.host, &config.data_dir, &config.os_user, &marker).await?;
    Ok(db)
}

#[cfg(test)]
mod guards;
