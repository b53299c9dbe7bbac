//! This coordinator's place in its group: starts raft, proposes changes, tells who leads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use openraft::error::{CheckIsLeaderError, ClientWriteError, RaftError};
use openraft::{BasicNode, Config, Raft, SnapshotPolicy};

use super::disk::{Disk, DiskError};
use super::log::LogStore;
use super::network::Network;
use super::state::{State, StateMachine};
use super::{NodeId, TypeConfig};
use crate::machine::{Answer, Command};

/// Name of the file in the data directory.
pub const FILE: &str = "raft.redb";

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

/// Why raft does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// openraft.
    #[error("raft does not start: {0}")]
    Raft(String),
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        match error {
            StartError::Disk(DiskError::Foreign { .. }) => Failure::new("foreign_data", message)
                .hint("put back this machine's own data directory, or start over with an empty one: clusterctl-coordinator init"),
            StartError::Disk(
                DiskError::Format { .. } | DiskError::FeatureLevel { .. } | DiskError::UnknownField { .. },
            ) => Failure::refused("unknown_format", message)
                .fact("nothing in the file was changed")
                .hint("install the newest release on this host: apt-get install clusterctl-coordinator"),
            StartError::Disk(DiskError::InUse) => Failure::new("raft_in_use", message)
                .hint("stop the other process first: systemctl stop clusterctl-coordinator")
                .exit(ExitClass::Conflict),
            StartError::Disk(_) | StartError::Raft(_) => Failure::new("raft_start", message),
        }
    }
}

/// Handle on this node; cheap to clone.
#[derive(Clone)]
pub struct Node {
    id: NodeId,
    pub(super) raft: Raft<TypeConfig>,
    state: Arc<State>,
    file: Weak<redb::Database>,
}

impl Node {
    /// Opens the file in this directory and starts. A node that is the only voter leads at once.
    pub async fn start(directory: &Path, group: uuid::Uuid, id: NodeId) -> Result<Self, StartError> {
        let path = directory.join(FILE);
        let disk = tokio::task::spawn_blocking(move || Disk::open(&path, group, id))
            .await
            .map_err(DiskError::from)??;
        let file = disk.watch_closing();
        let state = State::new();
        let machine = StateMachine::load(disk.clone(), Arc::clone(&state))?;
        let log = LogStore::new(disk);
        log.check()?;
        let config = Config {
            cluster_name: group.to_string(),
            heartbeat_interval: 300,
            election_timeout_min: 1500,
            election_timeout_max: 3000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(5000),
            max_in_snapshot_log_to_keep: 1000,
            ..Config::default()
        };
        let config = config.validate().map_err(|error| StartError::Raft(error.to_string()))?;
        let raft = Raft::new(id, Arc::new(config), Network, log, machine)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        let node = Self { id, raft, state, file };
        node.lead_if_alone().await?;
        Ok(node)
    }

    /// Waiting for an election that nobody else can win would only cost time.
    async fn lead_if_alone(&self) -> Result<(), StartError> {
        if self.is_alone() && self.leads().is_none() {
            self.raft
                .trigger()
                .elect()
                .await
                .map_err(|error| StartError::Raft(error.to_string()))?;
        }
        Ok(())
    }

    /// Makes this node the only voter of a new group. Once only.
    pub async fn found(&self) -> Result<(), StartError> {
        let members = BTreeMap::from([(self.id, BasicNode::default())]);
        self.raft
            .initialize(members)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The model and word of its changes.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// This node is the only voter.
    pub fn is_alone(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().voter_ids().eq([self.id])
    }

    /// The term in which this node leads, as far as it knows; none: it does not lead.
    pub fn leads(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.state.is_leader().then_some(metrics.current_term)
    }

    /// The node that leads, as far as this one knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow().current_leader
    }

    /// Another node leads for a term, then this one again.
    #[cfg(test)]
    pub(crate) async fn lead_anew(&self) {
        let mut metrics = self.raft.metrics();
        let (term, last) = {
            let now = metrics.borrow();
            (now.current_term, now.last_applied)
        };
        let of_another_leader = openraft::raft::AppendEntriesRequest {
            vote: openraft::Vote::new_committed(term + 1, self.id + 1),
            prev_log_id: last,
            entries: Vec::new(),
            leader_commit: last,
        };
        self.raft.append_entries(of_another_leader).await.expect("followed");
        metrics.wait_for(|now| !now.state.is_leader()).await.expect("follows");
        self.raft.trigger().elect().await.expect("triggered");
        metrics
            .wait_for(|now| now.state.is_leader())
            .await
            .expect("leads again");
    }

    /// Waits until somebody leads.
    pub async fn wait_for_leader(&self, longest: Duration) -> Result<NodeId, Failure> {
        let mut metrics = self.raft.metrics();
        let wait = metrics.wait_for(|metrics| metrics.current_leader.is_some());
        match tokio::time::timeout(longest, wait).await {
            Ok(Ok(metrics)) => Ok(metrics.current_leader.unwrap_or(self.id)),
            Ok(Err(_)) => Err(stopped("its metrics ended")),
            Err(_) => Err(Failure::new("no_leader", "no coordinator leads")
                .exit(ExitClass::Unreachable)
                .transient()),
        }
    }

    /// Waits until everything is applied that was committed before this node led.
    pub async fn wait_until_current(&self, longest: Duration) -> Result<(), Failure> {
        self.confirm(longest).await.map(|_| ())
    }

    /// Asks a quorum whether this node leads now, and waits until the model contains everything committed before the
    /// question. Call it directly before sending or confirming what cannot be reversed. It fails with `not_leader` when
    /// another node leads and with `no_quorum` when no quorum answers within two seconds.
    pub async fn ensure_linearizable(&self) -> Result<CommittedIndex, Failure> {
        self.confirm(CONFIRM_TIMEOUT).await
    }

    async fn confirm(&self, longest: Duration) -> Result<CommittedIndex, Failure> {
        match tokio::time::timeout(longest, self.raft.ensure_linearizable()).await {
            Ok(Ok(Some(read))) => Ok(CommittedIndex {
                term: read.leader_id.term,
                index: *self.state.changes().borrow(),
            }),
            // A leader writes an entry when its term begins, so there is none only before the group is founded.
            Ok(Ok(None)) => Err(not_leader(None)),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward)))) => {
                Err(not_leader(forward.leader_id))
            }
            Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) | Err(_) => Err(no_quorum()),
            Ok(Err(error)) => Err(stopped(&error.to_string())),
        }
    }

    /// Proposes a change and waits until it is applied. A rejection is an error here.
    pub async fn propose(&self, command: Command) -> Result<Answer, Failure> {
        let write = tokio::time::timeout(PROPOSAL_TIMEOUT, self.raft.client_write(command));
        match write.await {
            Ok(Ok(response)) => match response.data {
                Answer::Rejected(failure) => Err(failure),
                answer => Ok(answer),
            },
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => Err(not_leader(forward.leader_id)),
            Ok(Err(error)) => Err(stopped(&error.to_string())),
            Err(_) => Err(Failure::new("not_stored", "the change was not stored in time")
                .hint("has the coordinator's disk space, and are its peers up? look first whether it took effect: clusterctl ops list")
                .exit(ExitClass::Unreachable)
                .transient()),
        }
    }

    /// Returns when raft can go on no more: the program must end, and be started again.
    pub async fn failed(&self) -> String {
        let mut metrics = self.raft.metrics();
        match metrics.wait_for(|metrics| metrics.running_state.is_err()).await {
            Ok(metrics) => match &metrics.running_state {
                Err(fatal) => fatal.to_string(),
                Ok(()) => "raft stopped".to_owned(),
            },
            Err(_) => "raft ended".to_owned(),
        }
    }

    /// Ends raft's tasks, so that the file is closed in order.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop in order");
        }
        // Raft's tasks let go of the file a little later; a file that is closed needs no repair at the next start.
        for _ in 0..200 {
            if self.file.strong_count() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tracing::warn!("the raft file is still in use");
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

fn no_quorum() -> Failure {
    Failure::new("no_quorum", "the coordinators have no quorum")
        .exit(ExitClass::Unreachable)
        .transient()
}

fn stopped(why: &str) -> Failure {
    Failure::new("raft_stopped", format!("the coordinator's log does not work: {why}"))
        .hint(
            "on its host: df -h /var/lib/clusterctl-coordinator; journalctl -u clusterctl-coordinator -n 20; it starts again by itself",
        )
        .exit(ExitClass::Unreachable)
        .transient()
}
