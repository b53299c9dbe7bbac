//! The connection that there is now, for calls beside the stream: certificates for mysqld and for the agent itself.
//!
//! The agent's own certificate is renewed at two thirds of its life, with the key that it has; the new one is shown on the next
//! connection. Nothing is published that does not load and name this same agent.

use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::clock;
use clusterctl_proto::failure::Failure;
use clusterctl_proto::files;
use clusterctl_proto::identity::request_for_key;
use clusterctl_proto::tls::{Credentials, SharedCredentials};
use clusterctl_proto::wire::agent::SignRequest;
use clusterctl_proto::wire::agent::agent_service_client::AgentServiceClient;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::config::Config;
use crate::steps::Signer;

/// A step that needs a signature waits this long for a coordinator.
const WAIT: Duration = Duration::from_secs(20);
const CALL: Duration = Duration::from_secs(10);
/// The longest time between two looks at the age of the certificate: a clock may be set.
const LOOK: Duration = Duration::from_secs(600);

/// The connection, while there is one.
pub struct Link {
    channel: watch::Sender<Option<Channel>>,
}

impl Link {
    /// Not connected.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            channel: watch::Sender::new(None),
        })
    }

    /// Connected, or no more.
    pub fn set(&self, channel: Option<Channel>) {
        self.channel.send_replace(channel);
    }

    async fn channel(&self) -> Result<Channel, Failure> {
        let mut watched = self.channel.subscribe();
        let found = tokio::time::timeout(WAIT, watched.wait_for(Option::is_some)).await;
        match found {
            Ok(Ok(channel)) => channel.clone().ok_or_else(not_connected),
            _ => Err(not_connected()),
        }
    }
}

fn not_connected() -> Failure {
    Failure::new(
        "coordinator_unreachable",
        "no coordinator is connected that could sign a certificate",
    )
    .hint("systemctl status clusterctl-agent")
    .transient()
}

impl Signer for Link {
    fn sign_server<'a>(&'a self, csr_der: Vec<u8>) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let mut client = AgentServiceClient::new(self.channel().await?);
            let mut request = tonic::Request::new(SignRequest { csr_der });
            request.set_timeout(CALL);
            let reply = client.sign_server_certificate(request).await?.into_inner();
            Ok(reply.certificate_pem)
        })
    }
}

/// Renews the agent's certificate whenever it is time, for ever.
pub async fn keep_certificate(link: Arc<Link>, credentials: SharedCredentials, config: Arc<Config>) {
    loop {
        if unix_now() >= credentials.current().facts().renew_at() {
            match renew(&link, &credentials, &config).await {
                Ok(()) => tracing::info!(
                    expires = credentials.current().facts().expires(),
                    "the agent's certificate is renewed; it is shown on the next connection"
                ),
                Err(failure) => tracing::warn!(
                    %failure,
                    facts = ?failure.facts,
                    expires = credentials.current().facts().expires(),
                    "the agent's certificate could not be renewed yet"
                ),
            }
        }
        tokio::time::sleep(credentials.current().facts().renewal_pause(unix_now(), LOOK)).await;
    }
}

pub(super) fn unix_now() -> i64 {
    i64::try_from(clock::now_ms() / 1000).unwrap_or(i64::MAX)
}

async fn renew(link: &Link, credentials: &SharedCredentials, config: &Config) -> Result<(), Failure> {
    let folder = config.identity_dir();
    let key_path = folder.join("key.pem");
    let key_pem = files::read_text_limited(&key_path, 64 * 1024)?;
    let csr_der = request_for_key(&key_pem)?;
    let mut client = AgentServiceClient::new(link.channel().await?);
    let mut request = tonic::Request::new(SignRequest { csr_der });
    request.set_timeout(CALL);
    let reply = client.renew_certificate(request).await?.into_inner();
    let renewed = Credentials::from_pem(&reply.ca_pem, &reply.certificate_pem, &key_pem)?;
    if renewed.peer() != credentials.current().peer() {
        return Err(
            Failure::new("bad_credentials", "the renewed certificate names somebody else")
                .fact(renewed.peer().to_string()),
        );
    }
    // the CA first: the new certificate fits to it, and the old one does, too, while a CA rolls over
    files::write_atomic(&folder.join("ca.pem"), reply.ca_pem.as_bytes(), 0o644)?;
    files::write_atomic(&folder.join("cert.pem"), reply.certificate_pem.as_bytes(), 0o644)?;
    credentials.renew(renewed)
}
