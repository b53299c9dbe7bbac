//! Operations: listed, shown, cancelled.

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::OperationId;
use clusterctl_proto::wire::control as pb;

use super::{ControlApi, request, wire};
use crate::machine::{Change, operations};
use crate::model::OperationState;

const DEFAULT_LIMIT: usize = 50;

impl ControlApi {
    pub(super) fn operations(&self, asked: &pb::ListOperationsRequest) -> Result<pb::ListOperationsReply, Failure> {
        let limit = match asked.limit {
            0 => DEFAULT_LIMIT,
            limit => usize::try_from(limit).unwrap_or(DEFAULT_LIMIT),
        };
        let leader = self.shared.leader.current()?;
        leader.node.state().read(|model| {
            let which = match asked.cluster.as_str() {
                "" => None,
                // One that was taken back has operations, still.
                name => Some(request::cluster(model, name).or_else(|failure| name.parse().map_err(|_| failure))?),
            };
            let wanted = model
                .operations
                .values()
                .rev()
                .filter(|op| which.as_ref().is_none_or(|name| op.cluster == *name));
            let mut list: Vec<_> = wanted
                .take(limit)
                .map(|op| wire::operation(&leader, model, op))
                .collect();
            list.reverse();
            Ok(pb::ListOperationsReply { operations: list })
        })
    }

    pub(super) fn operation(&self, id: u64) -> Result<pb::Operation, Failure> {
        let id = OperationId(id);
        let leader = self.shared.leader.current()?;
        leader.node.state().read(|model| {
            let operation = model.operations.get(&id).ok_or_else(|| operations::unknown(id))?;
            Ok(wire::operation(&leader, model, operation))
        })
    }

    pub(super) async fn cancel(&self, who: &str, id: u64) -> Result<pb::Operation, Failure> {
        let operation = OperationId(id);
        let cancelled = self.shared.leader.node.state().read(|model| {
            let known = model
                .operations
                .get(&operation)
                .ok_or_else(|| operations::unknown(operation))?;
            Ok::<_, Failure>(matches!(known.state, OperationState::Cancelled { .. }))
        })?;
        if !cancelled {
            self.shared
                .leader
                .proposer
                .by(who, Change::Cancel { operation })
                .await?;
        }
        self.operation(id)
    }
}
