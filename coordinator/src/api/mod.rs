//! What others may call: the listener, who a caller is and what it may do, and the three services.
//!
//! Connections have no greatest age: certificates are judged at every call and streams of agents once a second, so trust that
//! ended ends without disturbing long streams.
//!
//! Nothing is decided here: requests are read into types of the model, proposed to raft, or answered from what is known.

pub mod agent;
pub mod authorize;
pub mod control;
pub mod enrolment;
pub mod listener;
pub mod peer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::wire::agent::agent_service_server::AgentServiceServer;
use clusterctl_proto::wire::control::control_server::ControlServer;
use clusterctl_proto::wire::enrolment::enrolment_server::EnrolmentServer;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::config::Certificates;
use crate::leader::Leadership;
use crate::pki::Authority;
use authorize::Guard;

/// Largest message that is taken: an observation with everything in it is far smaller.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// A host that lost power ends no connection: pings find out.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What every service needs.
pub struct Shared {
    /// Raft, and the leader of the current term.
    pub leader: Arc<Leadership>,
    /// Signs certificates.
    pub authority: Arc<Authority>,
    /// Lives of certificates.
    pub lives: Certificates,
    /// Coordinator group, as it stands in certificates.
    pub group: String,
    /// `ip:port` that others are told.
    pub endpoints: Vec<String>,
    /// The program ends: streams end.
    pub stop: CancellationToken,
}

/// Serves until told to stop.
pub async fn serve(shared: Arc<Shared>, listener: listener::Listener) -> Result<(), Failure> {
    let stop = shared.stop.clone();
    let connections = listener.start(stop.clone());
    let guard = Guard::new(Arc::clone(&shared.leader));
    let control =
        ControlServer::new(control::ControlApi::new(Arc::clone(&shared))).max_decoding_message_size(MAX_MESSAGE);
    let agents =
        AgentServiceServer::new(agent::AgentApi::new(Arc::clone(&shared))).max_decoding_message_size(MAX_MESSAGE);
    let enrolment = EnrolmentServer::new(enrolment::EnrolmentApi::new(shared));
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_concurrent_streams(64)
        .layer(guard)
        .add_service(control)
        .add_service(agents)
        .add_service(enrolment)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), async move { stop.cancelled().await })
        .await
        .map_err(|error| Failure::new("serve_failed", format!("the server ended: {error}")))
}

/// `ip:port` of each address.
pub fn endpoints(addresses: &[std::net::IpAddr], port: u16) -> Vec<String> {
    addresses
        .iter()
        .map(|address| SocketAddr::new(*address, port).to_string())
        .collect()
}
