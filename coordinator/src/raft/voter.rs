//! This process as a voter of its coordinator group: openraft on the raft file.
//!
//! `serve`, `init` and `raise-epoch` start and stop a [`Voter`]; everything else uses its [`Node`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use futures_util::future::BoxFuture;
use openraft::error::{CheckIsLeaderError, ClientWriteError, RaftError};
use openraft::{BasicNode, Config, Raft, SnapshotPolicy};

use super::disk::{Disk, DiskError};
use super::log::LogStore;
use super::network::Network;
use super::node::{CommittedIndex, Consensus, Node, confirmed_within, no_quorum, not_leader};
use super::state::{State, StateMachine};
use super::{NodeId, TypeConfig};
use crate::machine::{Answer, Command};

/// Name of the file in the data directory.
pub const FILE: &str = "raft.redb";

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

/// openraft's handle, with this process's place in the group.
struct Openraft {
    id: NodeId,
    raft: Raft<TypeConfig>,
    state: Arc<State>,
}

impl Consensus for Openraft {
    fn id(&self) -> NodeId {
        self.id
    }

    fn is_alone(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().voter_ids().eq([self.id])
    }

    fn leads(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.state.is_leader().then_some(metrics.current_term)
    }

    fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow().current_leader
    }

    fn confirm(&self) -> BoxFuture<'_, Result<CommittedIndex, Failure>> {
        Box::pin(async {
            match self.raft.ensure_linearizable().await {
                Ok(Some(read)) => Ok(CommittedIndex {
                    term: read.leader_id.term,
                    index: *self.state.changes().borrow(),
                }),
                // A leader writes an entry when its term begins, so there is none only before the group is founded.
                Ok(None) => Err(not_leader(None)),
                Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward))) => {
                    Err(not_leader(forward.leader_id))
                }
                Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => Err(no_quorum()),
                Err(error) => Err(stopped(&error.to_string())),
            }
        })
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async {
            match self.raft.client_write(command).await {
                Ok(response) => Ok(response.data),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                    Err(not_leader(forward.leader_id))
                }
                Err(error) => Err(stopped(&error.to_string())),
            }
        })
    }
}

/// The voter that runs in this process.
pub struct Voter {
    id: NodeId,
    pub(super) raft: Raft<TypeConfig>,
    node: Node,
    file: Weak<redb::Database>,
}

impl Voter {
    /// Opens the file in this directory and starts. One that is the only voter leads at once.
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
        let openraft = Openraft {
            id,
            raft: raft.clone(),
            state: Arc::clone(&state),
        };
        let voter = Self {
            id,
            raft,
            node: Node::of(Arc::new(openraft), state),
            file,
        };
        voter.lead_if_alone().await?;
        Ok(voter)
    }

    /// Waiting for an election that nobody else can win would only cost time.
    async fn lead_if_alone(&self) -> Result<(), StartError> {
        if self.node.is_alone() && self.node.leads().is_none() {
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

    /// The handle that the rest of the program uses.
    pub fn node(&self) -> &Node {
        &self.node
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
        confirmed_within(&self.node, longest).await.map(|_| ())
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

fn stopped(why: &str) -> Failure {
    Failure::new("raft_stopped", format!("the coordinator's log does not work: {why}"))
        .hint(
            "on its host: df -h /var/lib/clusterctl-coordinator; journalctl -u clusterctl-coordinator -n 20; it starts again by itself",
        )
        .exit(ExitClass::Unreachable)
        .transient()
}
