//! Changes that the leader itself proposes, with its name and the time.

use clusterctl_proto::clock;
use clusterctl_proto::failure::Failure;

use crate::machine::{Answer, Change, Command, limits};
use crate::model::UnixMs;
use crate::model::operation::COORDINATOR;
use crate::raft::Node;

/// The wall clock, for records and for comparisons with what operators set.
pub fn now() -> UnixMs {
    i64::try_from(clock::now_ms()).unwrap_or(i64::MAX)
}

/// Proposes changes in somebody's name.
#[derive(Clone)]
pub struct Proposer {
    node: Node,
    own_name: String,
}

impl Proposer {
    /// For this node.
    pub fn new(node: Node) -> Self {
        let own_name = format!("{COORDINATOR}{}", node.id());
        Self { node, own_name }
    }

    /// In the name of this coordinator.
    pub async fn own(&self, change: Change) -> Result<Answer, Failure> {
        self.by(&self.own_name, change).await
    }

    /// In the name of a caller, `operator/alice`.
    pub async fn by(&self, who: &str, change: Change) -> Result<Answer, Failure> {
        let change = limits::cut(&change).unwrap_or(change);
        self.node
            .propose(Command {
                at: now(),
                by: who.to_owned(),
                change,
            })
            .await
    }

    /// `coordinator/1`.
    pub fn own_name(&self) -> &str {
        &self.own_name
    }
}
