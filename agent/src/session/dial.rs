//! How a stream with a coordinator comes into being: dialling only. What is said on it is `stream.rs`.
//!
//! [`Coordinators`] is the real way, TLS and gRPC; the simulator brings another.

use std::sync::Arc;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::identity::Identity;
use clusterctl_proto::tls::{self, Credentials, SharedCredentials};
use clusterctl_proto::wire::agent::agent_service_client::AgentServiceClient;
use clusterctl_proto::wire::agent::{FromAgent, ToAgent};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, TryStreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::link::{Link, unix_now};

/// What a coordinator says on a stream, until it ends; a failure is its end, too.
pub type Said = BoxStream<'static, Result<ToAgent, Failure>>;

/// The way to the coordinators.
pub trait Dial: Send + Sync {
    /// Connects to the first of these coordinators (`ip:port`) that answers, and opens a stream with it, on which the agent says what
    /// comes out of `says`; its first message is there already.
    fn dial<'a>(
        &'a self,
        endpoints: &'a [String],
        says: mpsc::Receiver<FromAgent>,
    ) -> BoxFuture<'a, Result<Said, Failure>>;

    /// The stream has ended, or there was none.
    fn hung_up(&self);
}

/// Coordinators behind TLS.
pub struct Coordinators {
    /// The agent's identity.
    pub credentials: SharedCredentials,
    /// Told of each connection, for calls beside the stream.
    pub link: Arc<Link>,
}

impl Dial for Coordinators {
    fn dial<'a>(
        &'a self,
        endpoints: &'a [String],
        says: mpsc::Receiver<FromAgent>,
    ) -> BoxFuture<'a, Result<Said, Failure>> {
        Box::pin(async move {
            let channel: Channel = tls::connect(endpoints, &self.credentials)
                .await
                .map_err(|failure| explain(failure, &self.credentials.current(), unix_now()))?;
            self.link.set(Some(channel.clone()));
            let mut client = AgentServiceClient::new(channel);
            let said = client.session(ReceiverStream::new(says)).await?.into_inner();
            let said: Said = Box::pin(said.map_err(Failure::from));
            Ok(said)
        })
    }

    fn hung_up(&self) {
        self.link.set(None);
    }
}

/// A certificate that has expired is the reason, and only a new enrolment helps (or this host's clock is wrong).
pub(super) fn explain(failure: Failure, credentials: &Credentials, now: i64) -> Failure {
    let Identity::Agent(host) = &credentials.peer().identity else {
        return failure;
    };
    if credentials.facts().not_after > now {
        return failure;
    }
    let expires = credentials.facts().expires();
    Failure::new(
        "certificate_expired",
        format!("the certificate of the agent of {host} expired at {expires}"),
    )
    .fact(failure.message)
    .hint(format!(
        "is this host's clock right? then: clusterctl token create --host {host} --replace, and here: \
             clusterctl-agent enroll --token-file -"
    ))
    .exit(ExitClass::Denied)
}
