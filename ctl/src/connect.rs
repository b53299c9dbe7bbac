//! The connection to a coordinator: made once, used by every call of a command.
//!
//! Statuses become [`Failure`]s here and nowhere else, so that commands never see gRPC.

use std::future::Future;
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::tls::{self, Credentials};
use clusterctl_proto::wire::control::control_client::ControlClient;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

use crate::config::{self, Settings};

/// Plans and sets of transactions may be long.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// Longest wait for the answer to one call; `check` asks every host for what is slow to tell.
const CALL: Duration = Duration::from_secs(60);

/// What the connection, or a coordinator without a quorum, says of the coordinators themselves. Any other failure that counts as
/// unreachable is a coordinator's word on a host.
const COORDINATORS_AWAY: [&str; 7] = [
    "coordinator_unreachable",
    "connection_closed",
    "not_leader",
    "no_leader",
    "no_quorum",
    "not_stored",
    "raft_stopped",
];

/// The generated client.
pub type Api = ControlClient<Channel>;

/// A connected client.
#[derive(Clone)]
pub struct Client {
    api: Api,
    endpoints: Vec<String>,
    longest: Duration,
}

impl Client {
    /// Connects as the operator whom the settings name.
    pub async fn connect(settings: &Settings, timeout: Duration) -> Result<Self, Failure> {
        tls::install_provider();
        let credentials = Credentials::load_files(&settings.ca, &settings.cert, &settings.key)
            .map_err(|f| with_group_hint(settings, f))?;
        let expires = credentials.facts().expires();
        let expired = credentials.facts().not_after < unix_now();
        let connecting = tls::connect(&settings.endpoints, credentials);
        let channel = tokio::time::timeout(timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(no_answer(&settings.endpoints, timeout)))
            .map_err(|failure| explain_connection(settings, failure, expired.then_some(expires)))?;
        Ok(Self::over(channel, settings.endpoints.clone(), timeout))
    }

    /// Over a channel that is there.
    pub fn over(channel: Channel, endpoints: Vec<String>, timeout: Duration) -> Self {
        let api = ControlClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        Self {
            api,
            endpoints,
            longest: timeout.min(CALL),
        }
    }

    /// One question, one answer.
    pub async fn call<T, F>(&self, call: impl FnOnce(Api) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        match tokio::time::timeout(self.longest, call(self.api.clone())).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.explain(status)),
            Err(_) => Err(no_answer(&self.endpoints, self.longest)),
        }
    }

    /// Anything else that must end in the time of a call.
    pub async fn within_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let ended = tokio::time::timeout(self.longest, work).await;
        ended.unwrap_or_else(|_| Err(no_answer(&self.endpoints, self.longest)))
    }

    /// One question, many answers; only the first is waited for with a limit.
    pub async fn stream<T, F>(&self, call: impl FnOnce(Api) -> F) -> Result<Streaming<T>, Failure>
    where
        F: Future<Output = Result<Response<Streaming<T>>, Status>>,
    {
        self.call(call).await
    }

    /// A status as a failure.
    pub fn explain(&self, status: Status) -> Failure {
        let failure = Failure::from(status);
        if failure.exit == ExitClass::Unreachable && COORDINATORS_AWAY.contains(&failure.code.as_str()) {
            still_works(failure, &self.endpoints)
        } else {
            failure
        }
    }
}

fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

fn no_answer(endpoints: &[String], after: Duration) -> Failure {
    let failure = Failure::new(
        "no_answer",
        format!(
            "the coordinator has not answered within {}",
            humantime::format_duration(after)
        ),
    )
    .hint("on the coordinator's host: journalctl -u clusterctl-coordinator -n 50")
    .exit(ExitClass::Unreachable)
    .transient();
    still_works(failure, endpoints)
}

/// A coordinator that is away: which were asked, what goes on without it and what waits for it.
fn still_works(mut failure: Failure, endpoints: &[String]) -> Failure {
    let named = |endpoint: &String| {
        failure.message.contains(endpoint.as_str()) || failure.facts.iter().any(|fact| fact.contains(endpoint.as_str()))
    };
    if !endpoints.iter().all(named) {
        failure.facts.push(format!("coordinators: {}", endpoints.join(", ")));
    }
    failure
        .fact(
            "without a coordinator go on: databases, failover, routers, and a restarted member, which its own agent rejoins",
        )
        .fact("these wait for it: clusterctl's status and changes, all other healing, recovery from an outage of all members")
}

fn explain_connection(settings: &Settings, failure: Failure, expired: Option<String>) -> Failure {
    if let Some(when) = expired {
        return Failure::new("certificate_expired", format!("the operator's certificate expired at {when}"))
            .fact(format!("certificate: {}", settings.cert.display()))
            .hint("an admin makes a new one: clusterctl operator create NAME --role ROLE --out DIR; on the first host: clusterctl init")
            .exit(ExitClass::Denied);
    }
    match failure.exit {
        ExitClass::Unreachable => still_works(failure, &settings.endpoints),
        ExitClass::Denied => failure
            .fact(format!("configuration: {}", settings.file.display()))
            .fact(format!("certificate: {}", settings.cert.display())),
        _ => failure,
    }
}

/// The key of the first host's operator is for a group of users.
fn with_group_hint(settings: &Settings, failure: Failure) -> Failure {
    let unreadable =
        |path| std::fs::File::open(path).is_err_and(|err| err.kind() == std::io::ErrorKind::PermissionDenied);
    if [&settings.key, &settings.cert, &settings.ca]
        .into_iter()
        .any(unreadable)
    {
        return failure.hint(config::group_hint());
    }
    failure
}
