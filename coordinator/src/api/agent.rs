//! What agents call: the stream, and certificates.

use std::pin::Pin;
use std::sync::Arc;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::identity::{Identity, PeerName};
use clusterctl_proto::ids::HostName;
use clusterctl_proto::machine;
use clusterctl_proto::wire::agent::agent_service_server::AgentService;
use clusterctl_proto::wire::agent::{FromAgent, SignReply, SignRequest, ToAgent};
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::authorize::caller;
use super::peer::{Caller, PeerCertificate};
use crate::leader::stream;
use crate::machine::{Change, hosts};
use crate::model::Host;
use crate::pki::{Names, PublicKey};

/// Messages that wait for a slow stream; one that takes no more is ended.
const OUTBOX: usize = 256;

/// The service.
pub struct AgentApi {
    shared: Arc<Shared>,
}

impl AgentApi {
    /// Of this coordinator.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn host(&self, caller: &Caller) -> Result<(HostName, PeerCertificate, Host), Failure> {
        let certificate = caller.certificate.clone().ok_or_else(not_an_agent)?;
        let Identity::Agent(name) = certificate.name.identity.clone() else {
            return Err(not_an_agent());
        };
        let known = self
            .shared
            .leader
            .node
            .state()
            .read(|model| model.hosts.get(&name).cloned());
        let known = known.ok_or_else(|| hosts::unknown(&name))?;
        Ok((name, certificate, known))
    }

    fn reply(&self, certificate_pem: String) -> SignReply {
        SignReply {
            certificate_pem,
            ca_pem: self.shared.authority.certificate_pem().to_owned(),
        }
    }

    async fn renew(&self, caller: &Caller, request: &SignRequest) -> Result<SignReply, Failure> {
        let (name, certificate, mut host) = self.host(caller)?;
        let key = PublicKey::from_request(&request.csr_der)?;
        // A new key would shut the host out if this answer got lost: the old certificate counts until the new one is there.
        if key.sha256() != certificate.facts.key_sha256 {
            return Err(Failure::new("other_key", "a renewal keeps the key of the certificate")
                .hint(format!(
                    "for a new key: clusterctl token create --host {name} --replace, then on {name}: \
                     clusterctl-agent enroll --force --token-file -"
                ))
                .exit(ExitClass::Usage));
        }
        let peer = PeerName {
            group: self.shared.group.clone(),
            identity: Identity::Agent(name.clone()),
        };
        let signed = self
            .shared
            .authority
            .sign_peer(&key, &peer, &Names::default(), self.shared.lives.agent())?;
        host.certificate_expires = signed.facts.not_after.saturating_mul(1000);
        self.shared
            .leader
            .proposer
            .by(&format!("agent/{name}"), Change::RenewHost { host })
            .await?;
        tracing::info!(node = %name, expires = signed.facts.expires(), "certificate renewed");
        Ok(self.reply(signed.certificate_pem))
    }

    fn sign_mysqld(&self, caller: &Caller, request: &SignRequest) -> Result<SignReply, Failure> {
        let (name, _, host) = self.host(caller)?;
        let key = PublicKey::from_request(&request.csr_der)?;
        let signed = self
            .shared
            .authority
            .sign_mysqld(&key, &name, &host.addresses, self.shared.lives.server())?;
        tracing::info!(node = %name, expires = signed.facts.expires(), "certificate for mysqld signed");
        Ok(self.reply(signed.certificate_pem))
    }
}

fn not_an_agent() -> Failure {
    Failure::new("not_an_agent", "only agents call this").exit(ExitClass::Denied)
}

type Replies = Pin<Box<dyn Stream<Item = Result<ToAgent, Status>> + Send>>;

#[tonic::async_trait]
impl AgentService for AgentApi {
    type SessionStream = Replies;

    async fn session(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Replies>, Status> {
        let caller = caller(&request)?;
        let peer = caller.remote;
        let (host, certificate, _) = self.host(&caller)?;
        // The stream belongs to this term, and ends with it.
        let leader = self.shared.leader.current()?;
        let messages = request.into_inner();
        let messages = messages.map(|message| message.map_err(|status| status.message().to_owned()));
        let (outbox, replies) = mpsc::channel(OUTBOX);
        let ended = self.shared.stop.child_token();
        let stream_end = ended.clone();
        // Answered at once: the agent may wait for the headers before it says hello.
        machine::spawn(stream::converse(
            leader,
            host,
            certificate.facts,
            peer,
            messages,
            outbox,
            ended,
        ));
        let replies = ReceiverStream::new(replies).map(Ok);
        let replies = until(replies, stream_end);
        Ok(Response::new(Box::pin(replies)))
    }

    async fn sign_server_certificate(&self, request: Request<SignRequest>) -> Result<Response<SignReply>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.sign_mysqld(&caller, request.get_ref())?))
    }

    async fn renew_certificate(&self, request: Request<SignRequest>) -> Result<Response<SignReply>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(self.renew(&caller, request.get_ref()).await?))
    }
}

/// The stream's items until the token is cancelled.
pub(super) fn until<T>(stream: impl Stream<Item = T>, end: CancellationToken) -> impl Stream<Item = T> {
    futures_util::StreamExt::take_until(stream, async move { end.cancelled().await })
}
