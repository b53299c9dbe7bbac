//! The scripted coordinator: fixed answers, and operations that are a list of updates.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::control::control_server::Control;
use clusterctl_proto::wire::control::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// What it answers and what it was asked.
#[derive(Clone, Default)]
pub struct Fake {
    pub hosts: Vec<Host>,
    pub status: StatusReply,
    pub check: CheckReply,
    pub submit: SubmitReply,
    pub explain: ExplainReply,
    pub hands_off: HandsOffReply,
    /// `Submit`, `Explain` and `SetHandsOff` are refused with it.
    pub refuse: Option<Failure>,
    /// Sent by `WatchOperation`, in this order; then the stream stays open.
    pub updates: Vec<OperationUpdate>,
    pub events: Vec<Event>,
    pub operations: Vec<Operation>,
    /// Signs operators' keys.
    pub signed: CreateOperatorReply,
    /// Every `Submit`, as it came.
    pub submitted: Arc<Mutex<Vec<SubmitRequest>>>,
    /// Every `Explain`, as it came.
    pub asked_why: Arc<Mutex<Vec<ExplainRequest>>>,
    pub asked_tokens: Arc<Mutex<Vec<CreateTokenRequest>>>,
    /// Every `SetHandsOff`, as it came.
    pub set_hands_off: Arc<Mutex<Vec<HandsOffRequest>>>,
    /// Before each answer to `Submit`.
    pub delay: Duration,
}

type Answer<T> = Result<Response<T>, Status>;

impl Fake {
    fn unless_refused<T: Clone>(&self, reply: &T) -> Answer<T> {
        match &self.refuse {
            Some(failure) => Err(failure.clone().into()),
            None => Ok(Response::new(reply.clone())),
        }
    }
}

#[tonic::async_trait]
impl Control for Fake {
    type WatchOperationStream = ReceiverStream<Result<OperationUpdate, Status>>;
    type ListEventsStream = ReceiverStream<Result<Event, Status>>;

    async fn version(&self, _: Request<VersionRequest>) -> Answer<VersionReply> {
        Ok(Response::new(VersionReply {
            coordinator: "coordinator/1".to_owned(),
            version: "0.1.0".to_owned(),
            caller: "operator/alice".to_owned(),
            role: "admin".to_owned(),
        }))
    }

    async fn list_hosts(&self, _: Request<ListHostsRequest>) -> Answer<ListHostsReply> {
        Ok(Response::new(ListHostsReply {
            hosts: self.hosts.clone(),
        }))
    }

    async fn remove_host(&self, request: Request<RemoveHostRequest>) -> Answer<RemoveHostReply> {
        let name = request.into_inner().name;
        let already = !self.hosts.iter().any(|host| host.name == name);
        Ok(Response::new(RemoveHostReply { already }))
    }

    async fn check(&self, _: Request<CheckRequest>) -> Answer<CheckReply> {
        Ok(Response::new(self.check.clone()))
    }

    async fn get_status(&self, _: Request<StatusRequest>) -> Answer<StatusReply> {
        Ok(Response::new(self.status.clone()))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Answer<ExplainReply> {
        self.asked_why.lock().unwrap().push(request.into_inner());
        self.unless_refused(&self.explain)
    }

    async fn set_hands_off(&self, request: Request<HandsOffRequest>) -> Answer<HandsOffReply> {
        self.set_hands_off.lock().unwrap().push(request.into_inner());
        self.unless_refused(&self.hands_off)
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Answer<SubmitReply> {
        self.submitted.lock().unwrap().push(request.into_inner());
        tokio::time::sleep(self.delay).await;
        self.unless_refused(&self.submit)
    }

    async fn watch_operation(&self, _: Request<WatchRequest>) -> Answer<Self::WatchOperationStream> {
        let (sender, receiver) = mpsc::channel(1);
        let updates = self.updates.clone();
        tokio::spawn(async move {
            for update in updates {
                if sender.send(Ok(update)).await.is_err() {
                    return;
                }
            }
            sender.closed().await;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn list_operations(&self, _: Request<ListOperationsRequest>) -> Answer<ListOperationsReply> {
        Ok(Response::new(ListOperationsReply {
            operations: self.operations.clone(),
        }))
    }

    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Answer<Operation> {
        let id = request.into_inner().id;
        let found = self.operations.iter().find(|operation| operation.id == id);
        match found {
            Some(operation) => Ok(Response::new(operation.clone())),
            None => Err(Failure::new("unknown_operation", format!("there is no operation {id}")).into()),
        }
    }

    async fn cancel_operation(&self, request: Request<CancelOperationRequest>) -> Answer<Operation> {
        let id = request.into_inner().id;
        Ok(Response::new(Operation {
            id,
            state: "cancelled".to_owned(),
            title: "join node3".to_owned(),
            ..Operation::default()
        }))
    }

    async fn list_events(&self, _: Request<ListEventsRequest>) -> Answer<Self::ListEventsStream> {
        let (sender, receiver) = mpsc::channel(self.events.len().max(1));
        for event in &self.events {
            sender.try_send(Ok(event.clone())).unwrap();
        }
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Answer<CreateTokenReply> {
        self.asked_tokens.lock().unwrap().push(request.into_inner());
        Ok(Response::new(CreateTokenReply {
            token: "cct1.abc".to_owned(),
            id: "t1".to_owned(),
            expires_at: "2026-05-01T13:00:00Z".to_owned(),
        }))
    }

    async fn list_tokens(&self, _: Request<ListTokensRequest>) -> Answer<ListTokensReply> {
        Ok(Response::new(ListTokensReply::default()))
    }

    async fn revoke_token(&self, _: Request<RevokeTokenRequest>) -> Answer<RevokeTokenReply> {
        Ok(Response::new(RevokeTokenReply { already: true }))
    }

    async fn create_operator(&self, _: Request<CreateOperatorRequest>) -> Answer<CreateOperatorReply> {
        Ok(Response::new(self.signed.clone()))
    }
}

/// An operation in a state, with one step in it.
pub fn operation(state: &str, step_state: &str, message: &str) -> Operation {
    let step = PlanStep {
        number: 1,
        host: "node3".to_owned(),
        name: "packages".to_owned(),
        title: "install packages".to_owned(),
        state: step_state.to_owned(),
        detail: if step_state == "changed" {
            "installed mysql-server 9.7.4".to_owned()
        } else {
            String::new()
        },
        elapsed_ms: 12_300,
        ..PlanStep::default()
    };
    Operation {
        id: 7,
        kind: "join".to_owned(),
        cluster: "prod".to_owned(),
        title: "join node3".to_owned(),
        state: state.to_owned(),
        message: message.to_owned(),
        plans: vec![Plan {
            id: 8,
            steps: vec![step],
            ..Plan::default()
        }],
        ..Operation::default()
    }
}

/// An update of it, without progress lines.
pub fn update(operation: Operation) -> OperationUpdate {
    OperationUpdate {
        operation: Some(operation),
        progress: Vec::new(),
    }
}

/// Operation 7 is stored.
pub fn accepted() -> SubmitReply {
    SubmitReply {
        operation: 7,
        ..SubmitReply::default()
    }
}

/// It runs, then ends like this.
pub fn joining(end: Operation) -> Fake {
    Fake {
        submit: accepted(),
        updates: vec![update(operation("running", "running", "")), update(end)],
        ..Fake::default()
    }
}
