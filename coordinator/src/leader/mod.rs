//! The leading coordinator at work: streams of agents, what they saw, the loop that decides and sends.
//!
//! Everything here can be lost at any moment and is derived again from raft and from the agents' answers. No decision is
//! made here: what to do is `planner`'s, what may be done is `check`'s.

pub mod dispatch;
pub mod orders;
pub mod outcome;
pub mod progress;
pub mod proposer;
pub mod secrets;
pub mod seen;
pub mod sessions;
pub mod status;
pub mod twins;
pub mod work;

mod confirm;
mod decide;
mod fresh;
mod heal;
mod lineages;
mod moved;
mod questions;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use clusterctl_proto::identity::CA_ISSUER;
use clusterctl_proto::ids::{ClusterName, HostName, OperationId, PlanId, StepNumber};
use tokio::sync::{Notify, watch};

use crate::model::Model;
use crate::planner::{Sight, World};
use crate::raft::Node;
use progress::Progress;
use proposer::Proposer;
use secrets::Secrets;
use seen::SeenTable;
use sessions::Sessions;

/// The leader's memory and what it works with.
///
/// Locks are held for a moment only, never across an await, and taken in this order: the model, `sessions`, `seen`, the
/// others. So nobody looks at the model who holds one of them.
pub struct Leader {
    /// Raft.
    pub node: Node,
    /// Proposes changes.
    pub proposer: Proposer,
    /// Progress lines.
    pub progress: Progress,
    sessions: Mutex<Sessions>,
    seen: Mutex<SeenTable>,
    secrets: Mutex<Secrets>,
    /// Since when a step that could be sent waits for its host.
    stuck: Mutex<HashMap<(PlanId, StepNumber), Instant>>,
    /// Something happened that raft does not tell of.
    wake: Notify,
    /// Counts answers.
    answers: watch::Sender<u64>,
    /// When the last plan of a cluster ended, and who is to be seen since; forgotten when all were.
    settled: Mutex<HashMap<ClusterName, (Instant, BTreeSet<HostName>)>>,
    /// Counts steps that were sent.
    sent: watch::Sender<u64>,
    /// Operations that are left alone until then.
    held: Mutex<HashMap<OperationId, Instant>>,
    /// What was told of troubles and deeds.
    story: Mutex<heal::Story>,
    /// Signs orders; none: they are sent without a signature.
    signer: OnceLock<orders::Signer>,
    /// Log index at which this process began to lead: of plans adopted later it knows every step that was sent.
    led_from: u64,
}

impl Leader {
    /// Of a node that has applied everything.
    pub fn new(node: Node) -> Self {
        let led_from = *node.state().changes().borrow();
        Self {
            proposer: Proposer::new(node.clone()),
            node,
            progress: Progress::default(),
            sessions: Mutex::default(),
            seen: Mutex::default(),
            secrets: Mutex::default(),
            stuck: Mutex::default(),
            wake: Notify::new(),
            answers: watch::Sender::new(0),
            settled: Mutex::default(),
            sent: watch::Sender::new(0),
            held: Mutex::default(),
            story: Mutex::default(),
            signer: OnceLock::new(),
            led_from,
        }
    }

    /// Streams.
    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers.
    pub fn seen(&self) -> MutexGuard<'_, SeenTable> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hashes of passwords.
    pub fn secrets(&self) -> MutexGuard<'_, Secrets> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stuck(&self) -> MutexGuard<'_, HashMap<(PlanId, StepNumber), Instant>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self) -> MutexGuard<'_, HashMap<ClusterName, (Instant, BTreeSet<HostName>)>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<OperationId, Instant>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn story(&self) -> MutexGuard<'_, heal::Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Word of every step that is sent: raft tells of it only when it has ended.
    pub fn sendings(&self) -> watch::Receiver<u64> {
        self.sent.subscribe()
    }

    /// The loop looks at once.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// What is seen now.
    pub fn sight(&self) -> Sight {
        let now = Instant::now();
        self.settle_streams(now);
        let sessions = self.sessions();
        self.seen()
            .sight(now, |host| sessions.current(host), |host| sessions.doubt(host).cloned())
    }

    /// Looks at intent and observations together.
    pub fn look<T>(&self, look: impl FnOnce(&World<'_>) -> T) -> T {
        let sight = self.sight();
        self.node.state().read(|model: &Model| {
            look(&World {
                model,
                sight: &sight,
                now: proposer::now(),
                issuer: CA_ISSUER,
            })
        })
    }
}
