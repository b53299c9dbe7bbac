//! Cancelling a step, and telling the leader the truth about one that this process does not know.
//!
//! A cancel is answered with an outcome when the step was begun, or may have been, and nothing of it runs any more; with "never begun"
//! when no process of this agent has begun it and none will. Both are said only after the ledger remembers the cancel: an order of the
//! step that is still on its way is refused, also after a restart.
//!
//! What a killed predecessor may have begun is told by the ledger: if it had not accepted the step's generation, it began nothing of it.
//! Else the answer waits until nothing that outlives an agent runs on this host: a START or STOP of Group Replication, or a clone,
//! inside mysqld. Until then the leader gets no answer and keeps the host busy. Programs that a killed agent leaves running (a package
//! manager, the bootstrap of a router) are not waited for: none of them starts Group Replication, and the next step looks itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::Generation;
use clusterctl_proto::machine;
use clusterctl_proto::observe::UnitState;
use clusterctl_proto::step::{Recovery, Step};
use clusterctl_proto::wire::agent::{CancelStep, NeverBegun, from_agent};

use super::order::{Cancel, Key, Place};
use super::runner::{Answer, Runner, cancelled, failed, lock};
use crate::debts;
use crate::host::server_unit;
use crate::ledger::Began;
use crate::mysql::{Db, MysqlError, clone, close, group};
use crate::steps::Context;

/// What could not be written or seen is tried again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// What this process knows of the order that is cancelled.
// It lives for a moment only.
#[allow(clippy::large_enum_variant)]
enum Here {
    /// It was withdrawn, or runs: its outcome is on the way.
    OutcomeComes,
    /// It has finished, or was refused, with this.
    Finished(Key, Answer),
    /// Not this order; true: another one at its place was begun.
    Unknown(bool),
}

impl Runner {
    /// The leader does not want a step any more.
    pub async fn cancel(self: &Arc<Self>, message: CancelStep) {
        let cancel = Cancel::read(&message);
        tracing::info!(plan = message.plan, step = message.step, "cancel received");
        let (withdrawn, here) = {
            let mut book = lock(&self.book);
            if let Some(place) = cancel.place() {
                book.close(place);
            }
            let withdrawn = book.withdraw(&cancel);
            let running = book.running_at(&cancel).cloned();
            if let Some(token) = running.as_ref().and_then(|key| lock(&self.cancels).get(key).cloned()) {
                token.cancel();
            }
            let here = if withdrawn.iter().chain(&running).any(|key| cancel.is_of(key)) {
                Here::OutcomeComes
            } else if let Some((key, answer)) = book.finished_of(&cancel) {
                Here::Finished(key, answer)
            } else {
                Here::Unknown(running.is_some() || book.has_finished_at(&cancel))
            };
            (withdrawn, here)
        };
        for key in withdrawn {
            lock(&self.cancels).remove(&key);
            self.refuse(key, cancelled()).await;
        }
        // An older coordinator does not say enough to be told more.
        if let Some(place) = cancel.place().cloned() {
            let runner = Arc::clone(self);
            machine::spawn(async move { runner.answer_cancel(cancel, place, here, message).await });
        }
    }

    async fn answer_cancel(self: Arc<Self>, cancel: Cancel, place: Place, here: Here, message: CancelStep) {
        let stream = self.current_stream();
        // The leader cancels again on the next stream.
        let current = || self.current_stream() == stream;
        let Some(began) = self.remember(&place, current).await else {
            return;
        };
        let begun = match here {
            Here::OutcomeComes => return,
            Here::Finished(key, answer) => return self.send(&key, answer).await,
            Here::Unknown(begun) => begun || began == Began::Perhaps,
        };
        self.wait_ended(&cancel).await;
        if !begun {
            tracing::info!(
                plan = message.plan,
                step = message.step,
                "the cancelled step was never begun"
            );
            let never = NeverBegun {
                plan: message.plan,
                step: message.step,
                epoch: message.epoch,
                cluster: message.cluster,
                digest: message.digest,
            };
            self.transmit(from_agent::Message::NeverBegun(never)).await;
            return;
        }
        let generation = Generation {
            epoch: place.epoch,
            index: place.plan.0,
        };
        let cx = self.context(place.cluster.clone(), generation);
        // An earlier process may have begun a copy for this order. A copy that this process makes is another step's, which goes on.
        let copied = !lock(&self.book).runs_plan(&place);
        wait_nothing_runs(&cx, copied, current).await;
        if !current() {
            return;
        }
        let key = Key {
            place,
            digest: message.digest.as_slice().try_into().unwrap_or_default(),
            secrets: [0; 32],
        };
        let answer = (failed(interrupted()), BTreeMap::new());
        lock(&self.book).record(key.clone(), answer.clone());
        self.send(&key, answer).await;
    }

    /// Until the ledger remembers the cancel; none: nobody waits for the answer any more.
    async fn remember(&self, place: &Place, current: impl Fn() -> bool) -> Option<Began> {
        loop {
            let ledger = &self.tools.ledger;
            match ledger.cancel(&place.cluster, place.epoch, place.plan, place.step).await {
                Ok(began) => return Some(began),
                Err(failure) if current() => tracing::warn!(%failure, "a cancel is not remembered yet"),
                Err(_) => return None,
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Until no step runs at the place that is cancelled.
    async fn wait_ended(&self, cancel: &Cancel) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if lock(&self.book).running_at(cancel).is_none() {
                return;
            }
            ended.await;
        }
    }
}

/// Until nothing runs in mysqld that the cancelled step may have begun, or nobody waits for the answer any more. However long that takes:
/// an agent that says nothing keeps its host busy. `copied`: the step may make a copy, which is ended, where it has begun.
pub(super) async fn wait_nothing_runs(cx: &Context, copied: bool, wanted: impl Fn() -> bool) {
    while let Err(failure) = nothing_runs(cx, copied).await {
        if !wanted() {
            return;
        }
        tracing::info!(%failure, facts = ?failure.facts, "a cancelled step cannot be called ended yet");
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether this step replaces the data here by a copy.
pub(super) fn copies(step: &Step) -> bool {
    matches!(
        step,
        Step::CloneData { .. }
            | Step::JoinGroup {
                recovery: Recovery::Clone { .. },
                ..
            }
    )
}

/// Fails while something runs in mysqld that a step has begun. What the step had opened is then as it was before: `offline_mode` of a
/// server that START did not bring in, the bootstrap flag, `super_read_only` of one that is no copy.
async fn nothing_runs(cx: &Context, copied: bool) -> Result<(), Failure> {
    let mut db = match Db::local(&*cx.servers, &cx.config.mysql).await {
        Ok(db) => db,
        Err(error @ (MysqlError::NotRunning { .. } | MysqlError::Connect { .. })) => {
            let unit = server_unit::find(&*cx.host, &cx.config.mysql).await?;
            return match unit.map_or(UnitState::Absent, |(_, unit)| unit.state) {
                UnitState::Absent | UnitState::Stopped | UnitState::Failed => Ok(()),
                UnitState::Starting | UnitState::Running | UnitState::Stopping => Err(Failure::from(error).transient()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    group::wait_quiet(&mut db).await?;
    // A step or deed that holds it settles at its own start.
    if let Some(_entrance) = cx.ledger.entrance_if_free() {
        debts::start::settle_of_order(cx, &mut db).await?;
    }
    let opened = copied && debts::copy::end(cx, &mut db).await?;
    if clone::is_running(&mut db).await? {
        db.close().await;
        return Err(Failure::new("clone_runs", "the data of this server is being replaced by a clone").transient());
    }
    if opened && let Err(error) = close::outside(&mut db).await {
        if error.is_broken() {
            return Err(error.into());
        }
        // A lock of a person's does not keep the host busy.
        tracing::warn!(%error, "super_read_only stays OFF after a copy that was cancelled");
    }
    db.close().await;
    Ok(())
}

fn interrupted() -> Failure {
    Failure::new(
        "step_interrupted",
        "the step was cancelled; an agent that has ended may have begun it, and nothing of it runs any more",
    )
    .exit(ExitClass::Conflict)
}
