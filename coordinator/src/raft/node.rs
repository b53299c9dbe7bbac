//! The handle on this coordinator's place in its group: proposes changes, tells who leads, reads the model.
//!
//! Everything outside this folder works with a [`Node`]. What replicates the log stands behind [`Consensus`]: openraft in the installed
//! program (`voter`), a modelled log in the simulator. Time limits are kept here, so that they are the same for both.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use futures_util::future::BoxFuture;

use super::{NodeId, State};
use crate::machine::{Answer, Command};

const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for the other voters to confirm that this node leads.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);

/// What a leader knows after a quorum confirmed that it leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommittedIndex {
    /// The term in which this node led when the quorum confirmed it; a later leader has a higher one.
    pub term: u64,
    /// Log index up to which the model contains everything: at least all that was committed before the question.
    pub index: u64,
}

/// What a replicated log gives to the voter that holds it. Its entries are applied to the [`State`] of the same voter.
pub trait Consensus: Send + Sync {
    /// This voter's id.
    fn id(&self) -> NodeId;

    /// This voter is the only one.
    fn is_alone(&self) -> bool;

    /// The term in which this voter leads, as far as it knows; none: it does not lead.
    fn leads(&self) -> Option<u64>;

    /// The voter that leads, as far as this one knows.
    fn leader(&self) -> Option<NodeId>;

    /// Asks a quorum whether this voter leads now, and waits until its model contains everything committed before the question. It
    /// fails with [`not_leader`] or [`no_quorum`]; the caller limits the wait.
    fn confirm(&self) -> BoxFuture<'_, Result<CommittedIndex, Failure>>;

    /// Writes the command into the log and waits until it is applied here; answers what the state machine answered. It fails with
    /// [`not_leader`]; the caller limits the wait. A command whose writing was not waited for may be applied later.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Answer, Failure>>;
}

/// Handle on this node; cheap to clone.
#[derive(Clone)]
pub struct Node {
    consensus: Arc<dyn Consensus>,
    state: Arc<State>,
}

impl Node {
    /// A voter of this log, which feeds this state.
    pub fn of(consensus: Arc<dyn Consensus>, state: Arc<State>) -> Self {
        Self { consensus, state }
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.consensus.id()
    }

    /// The model and word of its changes.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// This node is the only voter.
    pub fn is_alone(&self) -> bool {
        self.consensus.is_alone()
    }

    /// The term in which this node leads, as far as it knows; none: it does not lead.
    pub fn leads(&self) -> Option<u64> {
        self.consensus.leads()
    }

    /// The node that leads, as far as this one knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.consensus.leader()
    }

    /// Asks a quorum whether this node leads now, and waits until the model contains everything committed before the
    /// question. Call it directly before sending or confirming what cannot be reversed. It fails with `not_leader` when
    /// another node leads and with `no_quorum` when no quorum answers within two seconds.
    pub async fn ensure_linearizable(&self) -> Result<CommittedIndex, Failure> {
        confirmed_within(self, CONFIRM_TIMEOUT).await
    }

    /// Proposes a change and waits until it is applied. A rejection is an error here.
    pub async fn propose(&self, command: Command) -> Result<Answer, Failure> {
        match tokio::time::timeout(PROPOSAL_TIMEOUT, self.consensus.propose(command)).await {
            Ok(Ok(Answer::Rejected(failure))) => Err(failure),
            Ok(answer) => answer,
            Err(_) => Err(Failure::new("not_stored", "the change was not stored in time")
                .hint("has the coordinator's disk space, and are its peers up? look first whether it took effect: clusterctl ops list")
                .exit(ExitClass::Unreachable)
                .transient()),
        }
    }
}

/// [`Node::ensure_linearizable`] with another time limit.
pub(super) async fn confirmed_within(node: &Node, longest: Duration) -> Result<CommittedIndex, Failure> {
    match tokio::time::timeout(longest, node.consensus.confirm()).await {
        Ok(confirmed) => confirmed,
        Err(_) => Err(no_quorum()),
    }
}

/// This node does not lead; `leader` does, if it is known.
pub fn not_leader(leader: Option<NodeId>) -> Failure {
    let message = match leader {
        Some(leader) => format!("this coordinator does not lead, coordinator {leader} does"),
        None => "no coordinator leads".to_owned(),
    };
    Failure::new("not_leader", message)
        .exit(ExitClass::Unreachable)
        .transient()
}

/// Too few voters answer this one.
pub fn no_quorum() -> Failure {
    Failure::new("no_quorum", "the coordinators have no quorum")
        .exit(ExitClass::Unreachable)
        .transient()
}
