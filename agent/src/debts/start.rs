//! The debt of a START of Group Replication. START sets `offline_mode` OFF, which an exit from the group had set ON, and a bootstrap sets
//! its flag ON for a moment. If the server does not enter, `offline_mode` is set ON again, since the server's data are old. The flag is
//! set OFF whether the server enters or not.
//!
//! Written by the steps `join_group` and `bootstrap_group` and by the keeper's own rejoin. Settled at their end, by the next step that
//! looks, by a cancel, and by the keeper (`keeper/debts.rs`), whichever comes first: a note tells by itself whether it still applies. It
//! must never shut clients out of a member, nor after a person has let them in.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::Generation;
use clusterctl_proto::observe::MemberState;
use serde::{Deserialize, Serialize};

use super::{Note, Place, place};
use crate::mysql::{Db, MysqlError, group, run, start, variables};
use crate::steps::Context;

#[derive(Serialize, Deserialize)]
struct Begun {
    /// The run of mysqld.
    run: String,
    /// By mysqld's clock. A variable that was set later was set by a person: the deadline of START is much earlier.
    until: String,
    /// `offline_mode` was ON before START.
    shut_out: bool,
    /// START bootstraps.
    bootstraps: bool,
}

impl Note for Begun {
    const FILE: &'static str = "start.json";
}

/// The note of the release before. It names an order, also where the keeper acted without one.
#[derive(Serialize, Deserialize)]
struct ShutOut {
    generation: Generation,
}

impl Note for ShutOut {
    const FILE: &'static str = "shut_out.json";
}

/// Notes what the coming START changes. The caller has settled earlier debts.
pub async fn note(cx: &Context, db: &mut Db, bootstraps: bool) -> Result<(), Failure> {
    let shut_out = start::shuts_out(db).await?;
    if !shut_out && !bootstraps {
        return Ok(());
    }
    let begun = Begun {
        run: run::mark(db).await?,
        until: run::soon(db).await?,
        shut_out,
        bootstraps,
    };
    super::write(place(cx), &begun).await?;
    Ok(super::remove::<ShutOut>(place(cx)).await?)
}

/// Whether there is a debt.
pub async fn is_owed(place: Place<'_>) -> Result<bool, Failure> {
    Ok(super::read::<Begun>(place).await?.is_some())
}

/// Takes back what a START has changed, unless a person has set it since. Returns whether anything was changed. The caller holds the
/// entrance and has seen that no START or STOP runs. The note stays while it is not known whether the server stays out.
pub async fn settle(place: Place<'_>, db: &mut Db) -> Result<bool, Failure> {
    let Some(begun) = super::read::<Begun>(place).await? else {
        return Ok(false);
    };
    // In ERROR, or where it rejoins by itself, nobody knows yet whether the server stays out.
    let view = group::view(db).await?;
    let is_known =
        view.is_none_or(|view| view.is_out() || matches!(view.state, MemberState::Online | MemberState::Recovering));
    let taken_back = begun.settle(db).await?;
    if is_known {
        super::remove::<Begun>(place).await?;
    }
    Ok(taken_back)
}

impl Begun {
    async fn settle(&self, db: &mut Db) -> Result<bool, Failure> {
        if run::mark(db).await? != self.run {
            return Ok(false);
        }
        let mut taken_back = false;
        if self.bootstraps && start::flag_is_on(db).await? && self.has_set(db, start::FLAG).await? {
            start::clear_bootstrap_flag_quietly(db).await?;
            tracing::warn!("group_replication_bootstrap_group was still ON after a bootstrap that failed: set OFF");
            taken_back = true;
        }
        if self.shut_out && !start::shuts_out(db).await? && self.has_set(db, "offline_mode").await? {
            let shut = start::shut_out_again(db).await?;
            if shut {
                tracing::warn!(
                    "offline_mode is ON again: the START that had set it OFF did not bring this server into its group"
                );
            }
            taken_back |= shut;
        }
        Ok(taken_back)
    }

    async fn has_set(&self, db: &mut Db, name: &str) -> Result<bool, MysqlError> {
        let at = variables::set_time(db, name).await?;
        Ok(at.is_some_and(|at| at <= self.until))
    }
}

/// As [`settle`], and also settles this order's note of the release before. If the order had brought the server in already, the keeper
/// wrote that note later, at an unknown time: it is removed and nothing else is done.
pub async fn settle_of_order(cx: &Context, db: &mut Db) -> Result<(), Failure> {
    settle(place(cx), db).await?;
    let Some(old) = super::read::<ShutOut>(place(cx)).await? else {
        return Ok(());
    };
    if old.generation == cx.generation {
        if cx.ledger.entered_by(&cx.cluster) < Some(old.generation) {
            start::shut_out_again(db).await?;
        }
        super::remove::<ShutOut>(place(cx)).await?;
    }
    Ok(())
}

/// Removes a note of the release before if its order has brought the server in. Any other stays for its order.
pub async fn forget_old(place: Place<'_>, entered: Option<Generation>) -> Result<(), Failure> {
    let old = super::read::<ShutOut>(place).await?;
    if old.is_some_and(|old| Some(old.generation) <= entered) {
        super::remove::<ShutOut>(place).await?;
    }
    Ok(())
}

/// Runs a step that enters a group. If it fails, also before its START, debts of earlier processes are settled, too.
pub async fn unless_inside<T>(cx: &Context, enters: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let entered = enters.await;
    let ended = match &entered {
        Ok(_) => forget(cx).await,
        Err(_) => failed(cx).await,
    };
    if let Err(failure) = ended {
        tracing::warn!(%failure, "what a START has changed on this server is not taken back yet: the keeper tries again");
    }
    entered
}

async fn forget(cx: &Context) -> Result<(), Failure> {
    super::remove::<Begun>(place(cx)).await?;
    Ok(super::remove::<ShutOut>(place(cx)).await?)
}

/// Holds the entrance, so that no other START begins meanwhile. It does not wait for it: a step or deed that holds it settles at its own
/// start, and the keeper tries again.
async fn failed(cx: &Context) -> Result<(), Failure> {
    if !is_owed(place(cx)).await? && super::read::<ShutOut>(place(cx)).await?.is_none() {
        return Ok(());
    }
    let Some(_entrance) = cx.ledger.entrance_if_free() else {
        return Ok(());
    };
    let mut db = Db::local(&*cx.servers, &cx.config.mysql).await?;
    // A START whose connection broke goes on.
    group::wait_quiet(&mut db).await?;
    settle_of_order(cx, &mut db).await?;
    db.close().await;
    Ok(())
}
