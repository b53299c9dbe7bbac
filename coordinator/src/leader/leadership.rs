//! Whether this coordinator leads, and the one [`Leader`] of the term in which it does.
//!
//! Shared by `api`, `serve` and the loop in `work`. A [`Leader`] is created when a quorum has confirmed a term, and dropped when the
//! node does not lead or leads in another term: observations, streams, secrets, waiting times and back-offs of one term must never be
//! used in another one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::tls::SharedCredentials;
use tokio::sync::Notify;
use uuid::Uuid;

use super::proposer::Proposer;
use super::{Ids, Leader, Proofs};
use crate::raft::{CommittedIndex, Node, not_leader};

/// This coordinator, whether it leads or not.
pub struct Leadership {
    /// Raft.
    pub node: Node,
    /// Proposes changes.
    pub proposer: Proposer,
    /// Something happened that raft does not report.
    pub(super) wake: Arc<Notify>,
    pub(super) proofs: Proofs,
    pub(super) ids: Ids,
    /// The group, and whose key signs orders.
    signs: Option<(String, SharedCredentials)>,
    current: Mutex<Option<Arc<Leader>>>,
    /// Held while a term begins, so that a term gets one [`Leader`].
    begins: tokio::sync::Mutex<()>,
}

impl Leadership {
    /// For this node, which may not lead yet. `proofs` says which generation of a cluster a ledger proves by a coordinator's signature.
    pub fn new(node: Node, proofs: Proofs) -> Self {
        Self {
            proofs,
            ids: Arc::new(Uuid::new_v4),
            signs: None,
            proposer: Proposer::new(node.clone()),
            node,
            wake: Arc::new(Notify::new()),
            current: Mutex::default(),
            begins: tokio::sync::Mutex::default(),
        }
    }

    /// Every leader signs its orders with this key, as a coordinator of this group.
    pub fn signing(mut self, group: String, credentials: SharedCredentials) -> Self {
        self.signs = Some((group, credentials));
        self
    }

    /// Every leader draws ids of its own requests here, instead of at random.
    pub fn drawing(mut self, ids: Ids) -> Self {
        self.ids = ids;
        self
    }

    /// The leader of the current term. It fails with `not_leader` when this node does not lead, or has begun to lead so recently that
    /// no quorum has confirmed it.
    pub fn current(&self) -> Result<Arc<Leader>, Failure> {
        let leads = self.node.leads();
        let current = self.held().clone();
        current
            .filter(|leader| leads == Some(leader.term()))
            .ok_or_else(|| not_leader(self.node.leader()))
    }

    /// The leader of the current term, created if the term is new to this process. Ends the one of an earlier term first.
    pub async fn enter(&self) -> Result<Arc<Leader>, Failure> {
        let _alone = self.begins.lock().await;
        let current = self.current();
        if current.is_ok() {
            return current;
        }
        self.end();
        if self.node.leads().is_none() {
            return current;
        }
        let confirmed = self.node.ensure_linearizable().await?;
        tracing::info!(term = confirmed.term, index = confirmed.index, "this coordinator leads");
        let leader = Arc::new(Leader::of_term(self, confirmed));
        if let Some((group, credentials)) = &self.signs {
            leader.sign_orders(group.clone(), credentials.clone());
        }
        *self.held() = Some(Arc::clone(&leader));
        Ok(leader)
    }

    /// Ends the term's leader: its streams end, and what it knew is dropped with its last user.
    pub fn end(&self) {
        let ended = self.held().take();
        if let Some(leader) = ended {
            tracing::info!(term = leader.term(), "this coordinator stops leading");
            leader.end();
        }
    }

    /// Has a quorum confirm that this node leads now; see [`Node::ensure_linearizable`].
    pub async fn ensure_linearizable(&self) -> Result<CommittedIndex, Failure> {
        self.node.ensure_linearizable().await
    }

    /// The loop looks at once.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Leader>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
