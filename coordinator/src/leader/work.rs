//! The loop: each second, and at once after every change, outcome or answer.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::test_point;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Leader, Leadership};
use crate::machine::{Change, limits, plans};
use crate::model::FEATURE_LEVEL;

const TICK: Duration = Duration::from_secs(1);

/// Works until told to stop. `alive` is called on every pass: the watchdog's proof that the loop turns.
pub async fn run(leadership: Arc<Leadership>, stop: CancellationToken, alive: impl Fn()) {
    let mut changes = leadership.node.state().changes();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ticked = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = tick.tick() => true,
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
            () = leadership.wake.notified() => false,
        };
        alive();
        match leadership.enter().await {
            Ok(leader) => tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = leader.pass(ticked) => {}
            },
            Err(failure) if failure.code == "not_leader" => {}
            Err(failure) => tracing::warn!(code = failure.code, "the term does not begin: {failure}"),
        }
    }
}

impl Leader {
    async fn pass(&self, ticked: bool) {
        if self.still_leads().is_err() {
            return;
        }
        let now = Instant::now();
        let mut changes = Vec::new();
        if ticked {
            self.tidy();
            changes.extend(self.raise_features());
            changes.extend(self.moved());
            changes.extend(self.lineages());
            changes.extend(self.heal(now));
        }
        self.ask_due(now).await;
        changes.extend(self.dispatch(now).await);
        changes.extend(self.decide(now));
        for change in changes {
            self.propose(change, now).await;
        }
    }

    pub(super) async fn propose(&self, mut change: Change, now: Instant) {
        // A plan that would be rejected for its size does not go into the log.
        if let Change::Adopt { draft } = &change
            && let Err(failure) = limits::plan(draft)
        {
            change = Change::EndOperation {
                operation: draft.operation,
                result: Err(failure),
            };
        }
        let (adopts, of) = match &change {
            Change::Adopt { draft } => (true, Some(draft.operation)),
            Change::EndOperation { operation, .. } => (false, Some(*operation)),
            Change::Waiting { operation, .. } => {
                self.hold(*operation, now);
                (false, None)
            }
            _ => (false, None),
        };
        let ended = match &change {
            Change::Outcome { plan, .. } | Change::GiveUp { plan, .. } => Some(*plan),
            _ => None,
        };
        // What was seen in this term says nothing in the next one.
        let proposed = match self.still_leads() {
            Ok(()) => self.proposer.own(change).await,
            Err(failure) => Err(failure),
        };
        match proposed {
            Ok(_) if adopts => test_point::reach("coordinator.plan.adopted").await,
            Ok(_) => ended.into_iter().for_each(|plan| self.ask_after(plan)),
            Err(failure) => {
                tracing::info!(code = failure.code, "a change was not taken: {failure}");
                let Some(operation) = of else { return };
                self.hold(operation, now);
                if adopts && !failure.retry {
                    let end = Change::EndOperation {
                        operation,
                        result: Err(failure),
                    };
                    if let Err(failure) = self.proposer.own(end).await {
                        tracing::warn!(%operation, code = failure.code, "an operation was not ended: {failure}");
                    }
                }
            }
        }
    }

    /// Raises the feature level to what this program knows. With other voters it needs to be known what theirs know.
    fn raise_features(&self) -> Option<Change> {
        let behind = self.node.state().read(|model| model.feature_level < FEATURE_LEVEL);
        (behind && self.node.is_alone()).then_some(Change::RaiseFeatureLevel { to: FEATURE_LEVEL })
    }

    /// Ends streams that may not go on, forgets what has ended.
    pub(super) fn tidy(&self) {
        let now = super::proposer::now();
        self.node.state().read(|model| {
            self.sessions().end_unless(|host, peer| {
                let known = model
                    .hosts
                    .get(host)
                    .is_some_and(|known| known.key_sha256 == peer.key_sha256);
                known && !model.revoked.contains(&peer.serial) && peer.not_after.saturating_mul(1000) > now
            });
            self.seen().retain(|host| model.hosts.contains_key(host));
            let open = |plan| model.plans.get(&plan).is_some_and(|plan| !plans::is_over(model, plan));
            self.sessions().forget_steps(open);
            self.progress.retain(|plan, _| open(plan));
            let mut secrets = self.secrets();
            for request in secrets.requests() {
                let known = model.operations.values().find(|op| op.request_id == request);
                // One that is not stored yet is kept: its request is on the way. A cancelled one may have steps that run still, and
                // are sent again on the next stream.
                if known.is_some_and(|op| op.state.is_final() && !op.plans.iter().any(|plan| open(*plan))) {
                    secrets.forget(&request);
                }
            }
        });
    }
}
