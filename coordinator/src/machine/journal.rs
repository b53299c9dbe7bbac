//! Writes lines of the journal into the model, and keeps it short.
//!
//! Called by the other parts of the machine whenever something happened that an operator would want to read later.

use clusterctl_proto::ids::{ClusterName, EventId, HostName, OperationId};

use super::{Command, limits};
use crate::model::{Event, KEEP_EVENTS, Model};

/// A line in the making.
pub(super) struct Line {
    kind: &'static str,
    text: String,
    cluster: Option<ClusterName>,
    host: Option<HostName>,
    operation: Option<OperationId>,
}

/// Starts a line.
pub(super) fn line(kind: &'static str, text: impl Into<String>) -> Line {
    Line {
        kind,
        text: text.into(),
        cluster: None,
        host: None,
        operation: None,
    }
}

impl Line {
    pub(super) fn cluster(mut self, cluster: &ClusterName) -> Self {
        self.cluster = Some(cluster.clone());
        self
    }

    pub(super) fn host(mut self, host: &HostName) -> Self {
        self.host = Some(host.clone());
        self
    }

    pub(super) fn operation(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Writes it.
    pub(super) fn write(self, model: &mut Model, command: &Command) {
        let event = Event {
            id: EventId(0),
            at: command.at,
            who: command.by.clone(),
            cluster: self.cluster,
            host: self.host,
            operation: self.operation,
            kind: self.kind.to_owned(),
            text: self.text,
        };
        push(model, event);
    }
}

/// Adds an event under the next id and forgets the oldest beyond [`KEEP_EVENTS`] and [`limits::KEEP_EVENTS_BYTES`].
pub(super) fn push(model: &mut Model, mut event: Event) {
    let limited = limits::hold(model);
    if limited {
        event.text = limits::text(&event.text);
        model.event_bytes = model.event_bytes.saturating_add(limits::event_bytes(&event));
    }
    event.id = model.next_event;
    model.next_event = EventId(model.next_event.0.saturating_add(1));
    model.events.push_back(event);
    while model.events.len() > KEEP_EVENTS || (limited && model.event_bytes > limits::KEEP_EVENTS_BYTES) {
        let Some(oldest) = model.events.pop_front() else { return };
        if limited {
            model.event_bytes = model.event_bytes.saturating_sub(limits::event_bytes(&oldest));
        }
    }
}
