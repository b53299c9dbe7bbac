//! What operators call. Each call is in the file of its subject; this one only hands on.

mod events;
mod hands_off;
mod hosts;
mod operations;
mod request;
mod submit;
mod trust;
mod watch;
mod wire;

use std::pin::Pin;
use std::sync::Arc;

use clusterctl_proto::wire::control as pb;
use clusterctl_proto::wire::control::control_server::Control;
use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::Shared;
use super::authorize::caller;

/// The service.
pub struct ControlApi {
    shared: Arc<Shared>,
}

impl ControlApi {
    /// Of this coordinator.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

type Updates<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Control for ControlApi {
    type WatchOperationStream = Updates<pb::OperationUpdate>;
    type ListEventsStream = Updates<pb::Event>;

    async fn version(&self, request: Request<pb::VersionRequest>) -> Result<Response<pb::VersionReply>, Status> {
        let caller = caller(&request)?;
        let role = caller
            .certificate
            .as_ref()
            .and_then(|certificate| certificate.name.identity.role());
        Ok(Response::new(pb::VersionReply {
            coordinator: self.shared.leader.proposer.own_name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            caller: caller.who(),
            role: role.map(|role| role.to_string()).unwrap_or_default(),
        }))
    }

    async fn list_hosts(
        &self,
        _request: Request<pb::ListHostsRequest>,
    ) -> Result<Response<pb::ListHostsReply>, Status> {
        Ok(Response::new(self.hosts().await?))
    }

    async fn remove_host(
        &self,
        request: Request<pb::RemoveHostRequest>,
    ) -> Result<Response<pb::RemoveHostReply>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.forget_host(&caller.who(), request.get_ref()).await?))
    }

    async fn check(&self, request: Request<pb::CheckRequest>) -> Result<Response<pb::CheckReply>, Status> {
        Ok(Response::new(self.check_hosts(request.get_ref()).await?))
    }

    async fn get_status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusReply>, Status> {
        Ok(Response::new(self.status(request.get_ref()).await?))
    }

    async fn explain(&self, request: Request<pb::ExplainRequest>) -> Result<Response<pb::ExplainReply>, Status> {
        Ok(Response::new(self.explain_troubles(request.get_ref()).await?))
    }

    async fn set_hands_off(
        &self,
        request: Request<pb::HandsOffRequest>,
    ) -> Result<Response<pb::HandsOffReply>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.leave_alone(&caller.who(), request.get_ref()).await?))
    }

    async fn submit(&self, request: Request<pb::SubmitRequest>) -> Result<Response<pb::SubmitReply>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(
            self.submit_operation(&caller, request.into_inner()).await?,
        ))
    }

    async fn watch_operation(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchOperationStream>, Status> {
        Ok(Response::new(self.watch(request.get_ref().id)?))
    }

    async fn list_operations(
        &self,
        request: Request<pb::ListOperationsRequest>,
    ) -> Result<Response<pb::ListOperationsReply>, Status> {
        Ok(Response::new(self.operations(request.get_ref())?))
    }

    async fn get_operation(
        &self,
        request: Request<pb::GetOperationRequest>,
    ) -> Result<Response<pb::Operation>, Status> {
        Ok(Response::new(self.operation(request.get_ref().id)?))
    }

    async fn cancel_operation(
        &self,
        request: Request<pb::CancelOperationRequest>,
    ) -> Result<Response<pb::Operation>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.cancel(&caller.who(), request.get_ref().id).await?))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<Self::ListEventsStream>, Status> {
        Ok(Response::new(self.events(request.into_inner())?))
    }

    async fn create_token(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenReply>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.make_token(&caller.who(), request.get_ref()).await?))
    }

    async fn list_tokens(
        &self,
        _request: Request<pb::ListTokensRequest>,
    ) -> Result<Response<pb::ListTokensReply>, Status> {
        Ok(Response::new(self.tokens()))
    }

    async fn revoke_token(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenReply>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(
            self.take_back_token(&caller.who(), &request.get_ref().id).await?,
        ))
    }

    async fn create_operator(
        &self,
        request: Request<pb::CreateOperatorRequest>,
    ) -> Result<Response<pb::CreateOperatorReply>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(
            self.make_operator(&caller.who(), request.get_ref()).await?,
        ))
    }
}
