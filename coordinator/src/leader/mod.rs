//! The leading coordinator at work: streams of agents, what they saw, the loop that decides and sends.
//!
//! A [`Leader`] lives for one term; [`Leadership`] creates and ends it. Everything here can be lost at any moment and is derived again
//! from raft and from the agents' answers. No decision is
//! made here: what to do is `planner`'s, what may be done is `check`'s.

pub mod dispatch;
pub mod leadership;
pub mod orders;
pub mod outcome;
pub mod progress;
pub mod proposer;
pub mod restored;
pub mod secrets;
pub mod seen;
pub mod sessions;
pub mod status;
pub mod stream;
pub mod twins;
pub mod work;

mod confirm;
mod decide;
mod fresh;
mod heal;
mod lineages;
mod moved;
mod patience;
mod questions;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::identity::CA_ISSUER;
use clusterctl_proto::ids::{ClusterName, HostName, OperationId, PlanId, StepNumber};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::model::Model;
use crate::planner::{Sight, World};
use crate::raft::{CommittedIndex, Node, not_leader};
pub use leadership::Leadership;
use progress::Progress;
use proposer::Proposer;
pub use restored::Proofs;
use secrets::Secrets;
use seen::SeenTable;
use sessions::Sessions;

/// Draws an id that was never drawn before.
pub type Ids = Arc<dyn Fn() -> Uuid + Send + Sync>;

/// The memory of a leader for one term, and what it works with.
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
    stuck: Mutex<BTreeMap<(PlanId, StepNumber), Instant>>,
    /// Something happened that raft does not report.
    wake: Arc<Notify>,
    /// Counts answers.
    answers: watch::Sender<u64>,
    /// When the last plan of a cluster ended, and who is to be seen since; forgotten when all were.
    settled: Mutex<BTreeMap<ClusterName, (Instant, BTreeSet<HostName>)>>,
    /// Counts steps that were sent.
    sent: watch::Sender<u64>,
    /// Operations that are left alone until then.
    held: Mutex<BTreeMap<OperationId, Instant>>,
    /// What was told of troubles and deeds.
    story: Mutex<heal::Story>,
    /// Signs orders; none: they are sent without a signature.
    signer: OnceLock<orders::Signer>,
    /// Which generations a ledger proves.
    proofs: Proofs,
    /// Draws ids of requests.
    ids: Ids,
    /// The term.
    term: u64,
    /// Log index up to which the model was complete when the term began: of plans adopted later this leader knows every step that was
    /// sent.
    led_from: u64,
    /// Cancelled when the term ends.
    ended: CancellationToken,
}

impl Leader {
    /// For the term that a quorum has confirmed.
    fn of_term(leadership: &Leadership, confirmed: CommittedIndex) -> Self {
        Self {
            proofs: Arc::clone(&leadership.proofs),
            ids: Arc::clone(&leadership.ids),
            proposer: leadership.proposer.clone(),
            node: leadership.node.clone(),
            progress: Progress::default(),
            sessions: Mutex::default(),
            seen: Mutex::default(),
            secrets: Mutex::default(),
            stuck: Mutex::default(),
            wake: Arc::clone(&leadership.wake),
            answers: watch::Sender::new(0),
            settled: Mutex::default(),
            sent: watch::Sender::new(0),
            held: Mutex::default(),
            story: Mutex::default(),
            signer: OnceLock::new(),
            term: confirmed.term,
            led_from: confirmed.index,
            ended: CancellationToken::new(),
        }
    }

    /// For the term that the node believes to lead in.
    #[cfg(test)]
    pub(crate) fn new(node: Node) -> Self {
        let confirmed = CommittedIndex {
            term: node.leads().unwrap_or_default(),
            index: *node.state().changes().borrow(),
        };
        Self::of_term(&Leadership::new(node, restored::nothing_proven()), confirmed)
    }

    /// The term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Returns when the term has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Ends the streams of this term and everything that waits for [`Leader::ended`].
    fn end(&self) {
        self.ended.cancel();
        self.sessions().end_all();
    }

    /// Fails with `not_leader` unless the node leads, as far as it knows, in the term of this leader.
    fn still_leads(&self) -> Result<(), Failure> {
        if self.node.leads() == Some(self.term) && !self.ended.is_cancelled() {
            return Ok(());
        }
        Err(not_leader(self.node.leader()))
    }

    /// Has a quorum confirm that this node leads now, still in the term of this leader; see [`Node::ensure_linearizable`].
    pub async fn ensure_linearizable(&self) -> Result<CommittedIndex, Failure> {
        let confirmed = self.node.ensure_linearizable().await?;
        if confirmed.term != self.term {
            return Err(not_leader(self.node.leader()));
        }
        Ok(confirmed)
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

    fn stuck(&self) -> MutexGuard<'_, BTreeMap<(PlanId, StepNumber), Instant>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self) -> MutexGuard<'_, BTreeMap<ClusterName, (Instant, BTreeSet<HostName>)>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<OperationId, Instant>> {
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
