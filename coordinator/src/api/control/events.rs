//! `ListEvents`: the journal, and what is added to it.

use std::sync::Arc;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, EventId};
use clusterctl_proto::wire::control as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{ControlApi, Updates, wire};
use crate::model::{Event, Model};

const DEFAULT_LIMIT: usize = 1000;

impl ControlApi {
    pub(super) fn events(&self, asked: pb::ListEventsRequest) -> Result<Updates<pb::Event>, Failure> {
        let cluster: Option<ClusterName> = match asked.cluster.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|error: clusterctl_proto::ids::InvalidName| {
                Failure::new("bad_name", error.to_string()).exit(clusterctl_proto::failure::ExitClass::Usage)
            })?),
        };
        let limit = match asked.limit {
            0 => DEFAULT_LIMIT,
            limit => usize::try_from(limit).unwrap_or(DEFAULT_LIMIT),
        };
        let shared = Arc::clone(&self.shared);
        let (events, stream) = mpsc::channel(64);
        tokio::spawn(async move {
            let state = shared.leader.node.state();
            let mut changes = state.changes();
            let mut after = EventId(asked.after);
            // The newest ones first time, then everything that follows.
            let mut most = limit;
            loop {
                changes.borrow_and_update();
                let (found, newest) = state.read(|model| (since(model, cluster.as_ref(), after, most), newest(model)));
                for event in found {
                    let sent = tokio::select! {
                        () = shared.stop.cancelled() => return,
                        sent = events.send(Ok(event)) => sent,
                    };
                    if sent.is_err() {
                        return;
                    }
                }
                (after, most) = (newest.max(after), usize::MAX);
                if !asked.follow {
                    return;
                }
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = events.closed() => return,
                    changed = changes.changed() => {
                        if changed.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

fn newest(model: &Model) -> EventId {
    EventId(model.next_event.0.saturating_sub(1))
}

/// The newest `most` events after this one, oldest first.
fn since(model: &Model, cluster: Option<&ClusterName>, after: EventId, most: usize) -> Vec<pb::Event> {
    let wanted = |event: &&Event| cluster.is_none_or(|name| event.cluster.as_ref() == Some(name));
    let newer = model.events.iter().rev().take_while(|event| event.id > after);
    let mut list: Vec<pb::Event> = newer.filter(wanted).take(most).map(wire::event).collect();
    list.reverse();
    list
}
