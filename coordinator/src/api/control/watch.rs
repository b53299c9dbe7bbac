//! `WatchOperation`: the whole operation at once and after every change, with the progress lines in between.

use std::collections::VecDeque;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{OperationId, PlanId};
use clusterctl_proto::wire::control as pb;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{ControlApi, Updates, wire};
use crate::leader::Leader;
use crate::machine::operations;
use crate::raft::not_leader;

/// Progress is sent no more often than this.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
impl ControlApi {
    pub(super) fn watch(&self, id: u64) -> Result<Updates<pb::OperationUpdate>, Failure> {
        let id = OperationId(id);
        let leader = self.shared.leader.current()?;
        let known = leader.node.state().read(|model| model.operations.contains_key(&id));
        if !known {
            return Err(operations::unknown(id));
        }
        let (updates, stream) = mpsc::channel(16);
        let stop = self.shared.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = follow(&leader, id, updates) => {}
            }
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

async fn follow(leader: &Leader, id: OperationId, updates: mpsc::Sender<Result<pb::OperationUpdate, tonic::Status>>) {
    let mut lines = leader.progress.follow();
    let mut changes = leader.node.state().changes();
    let mut sendings = leader.sendings();
    let mut shown: Option<pb::Operation> = None;
    let mut plans: Vec<PlanId> = Vec::new();
    let mut first = true;
    let mut pending: VecDeque<pb::StepProgress> = VecDeque::new();
    loop {
        changes.borrow_and_update();
        let now = leader.node.state().read(|model| {
            let operation = model.operations.get(&id)?;
            plans.clone_from(&operation.plans);
            Some((wire::operation(leader, model, operation), operation.state.is_final()))
        });
        // It was trimmed away.
        let Some((operation, ended)) = now else { return };
        if first {
            pending.extend(plans.last().map(|plan| leader.progress.of(*plan)).unwrap_or_default());
            first = false;
        }
        let changed = shown.as_ref() != Some(&operation);
        if changed || !pending.is_empty() {
            let update = pb::OperationUpdate {
                operation: Some(operation.clone()),
                progress: pending.drain(..).collect(),
            };
            if updates.send(Ok(update)).await.is_err() || ended {
                return;
            }
            shown = Some(operation);
        }
        tokio::select! {
            () = updates.closed() => return,
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            _ = sendings.changed() => {}
            () = leader.ended() => {
                let failure = not_leader(leader.node.leader());
                // The watcher has gone, or is told to ask the next leader.
                let _ = updates.send(Err(failure.into())).await;
                return;
            }
            line = lines.recv() => {
                match line {
                    Ok(line) if plans.contains(&line.plan) => pending.push_back(line.progress),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
                gather(&mut lines, &plans, &mut pending).await;
            }
        }
    }
}

/// Lines that come close together go out together, of each step the newest last.
async fn gather(
    lines: &mut tokio::sync::broadcast::Receiver<crate::leader::progress::Line>,
    plans: &[PlanId],
    pending: &mut VecDeque<pb::StepProgress>,
) {
    let until = tokio::time::Instant::now() + PROGRESS_EVERY;
    while let Ok(line) = tokio::time::timeout_at(until, lines.recv()).await {
        match line {
            Ok(line) if plans.contains(&line.plan) => pending.push_back(line.progress),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
