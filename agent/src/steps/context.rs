//! What a step has in hand: its machine, who ordered it, where to tell progress, and what it found out on the way.
//!
//! Made by `session/` for each step that runs. A step takes everything from here and from its own fields; it reads no
//! global state, so that it can be tested with a fake host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, Generation, HostName};
use clusterctl_proto::step::{SecretName, StepData};
use futures_util::future::{BoxFuture, ready};
use tokio::time::Instant;

use crate::config::Config;
use crate::host::Host;
use crate::ledger::Ledger;
use crate::mysql::Servers;
use crate::mysql::peer::Peers;
use crate::mysql::standstill::Standstill;

/// Everything that a step may use.
pub struct Context {
    /// This machine.
    pub host: Arc<dyn Host>,
    /// Its enrolled name.
    pub name: HostName,
    /// Id of the coordinator group, for the data directory's marker.
    pub group: String,
    /// The agent's configuration: paths, sockets, package names.
    pub config: Arc<Config>,
    /// The cluster that the plan is of.
    pub cluster: ClusterName,
    /// The plan's generation; the ledger holds it already.
    pub generation: Generation,
    /// Where promises stand.
    pub ledger: Arc<Ledger>,
    /// Asks the coordinator for certificates.
    pub signer: Arc<dyn Signer>,
    /// Asks the coordinator, directly before a deed that cannot be taken back, whether this step is still wanted.
    pub leader: Arc<dyn Leader>,
    /// The way to mysqlds.
    pub servers: Arc<dyn Servers>,
    /// For how long the group of this server has agreed on nothing, by the looks of the observation.
    pub standstill: Arc<Standstill>,
    /// Asks the other members' mysqlds.
    pub peers: Arc<dyn Peers>,
    /// Where progress goes.
    pub progress: ProgressSink,
    /// Hashes of passwords by name, from the leader's memory.
    pub secrets: BTreeMap<SecretName, String>,
    /// Collected while the step runs.
    pub found: Mutex<Found>,
}

/// What a step found out, beside its result.
#[derive(Default)]
pub struct Found {
    /// For the outcome.
    pub data: Option<StepData>,
    /// Time that others took, by name.
    pub spent_ms: BTreeMap<String, u64>,
    /// Secrets that were born here, for the leader's memory: hashes only.
    pub secrets: BTreeMap<SecretName, String>,
}

impl Context {
    /// A secret that came with the step.
    pub fn secret(&self, name: &str) -> Result<&str, Failure> {
        self.secrets.get(name).map(String::as_str).ok_or_else(|| {
            // the leader's memory lost it (it restarted): a new plan has it made again
            Failure::new(
                "secret_missing",
                format!("the coordinator sent no secret named {name:?} with this step"),
            )
            .transient()
        })
    }

    /// Hands a password's hash to the leader's memory.
    pub fn give_secret(&self, name: &str, hash: String) {
        self.lock().secrets.insert(name.to_owned(), hash);
    }

    /// Sets what the step answers beside its result.
    pub fn data(&self, data: StepData) {
        self.lock().data = Some(data);
    }

    /// Adds a fact to what the step answers.
    pub fn fact(&self, name: &str, value: impl Into<String>) {
        let mut found = self.lock();
        if !matches!(found.data, Some(StepData::Facts { .. })) {
            found.data = Some(StepData::Facts { facts: BTreeMap::new() });
        }
        if let Some(StepData::Facts { facts }) = &mut found.data {
            facts.insert(name.to_owned(), value.into());
        }
    }

    /// Adds to the time that MySQL, Router or the package manager took: `restart`, `start_group`, `recovery`,
    /// `router_bootstrap`, `packages`.
    pub fn spent(&self, name: &str, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        *self.lock().spent_ms.entry(name.to_owned()).or_default() += ms;
    }

    /// Runs something and counts its time as spent under this name.
    pub async fn timed<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let result = work.await;
        self.spent(name, started.elapsed());
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Signs key requests: the coordinator behind the agent's session.
pub trait Signer: Send + Sync {
    /// The certificate (PEM) for mysqld on this host. Names come from the coordinator, not from the request.
    fn sign_server<'a>(&'a self, csr_der: Vec<u8>) -> BoxFuture<'a, Result<String, Failure>>;
}

/// The leader behind the agent's stream, asked about one step.
pub trait Leader: Send + Sync {
    /// Whether the step is still wanted now. An answer is there within [`CONFIRM`]; none, one on another stream, or "no" is a
    /// failure: then nothing may be done.
    fn confirm<'a>(&'a self) -> BoxFuture<'a, Result<Confirmation, Failure>>;
}

/// Longest wait for the leader's answer.
pub const CONFIRM: Duration = Duration::from_secs(3);

/// The leader wants the step still.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Confirmation {
    /// Hosts that certainly are in no group now and hold a promise of this step's generation.
    pub vouched: Vec<String>,
}

/// For what no leader orders: nothing is confirmed.
pub struct NoLeader;

impl Leader for NoLeader {
    fn confirm<'a>(&'a self) -> BoxFuture<'a, Result<Confirmation, Failure>> {
        Box::pin(ready(Err(not_confirmed("no coordinator ordered this"))))
    }
}

/// The step is not done, and nothing was started.
pub fn not_confirmed(why: impl Into<String>) -> Failure {
    Failure::new(
        "not_confirmed",
        "the coordinator did not confirm, directly before it, that this is still wanted: nothing was started",
    )
    .fact(why)
    .hint("nothing to do: the coordinator plans anew; is it as new as this agent? compare: clusterctl-coordinator --version")
    .transient()
}

/// A line of progress.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProgressLine {
    /// For people.
    pub text: String,
    /// Done so far, where something is counted.
    pub done: u64,
    /// Expected; 0 where nothing is counted.
    pub total: u64,
}

/// Where a step tells how far it is. Lines may be dropped when they come too fast; the last one is kept.
#[derive(Clone)]
pub struct ProgressSink(Arc<dyn Fn(ProgressLine) + Send + Sync>);

impl ProgressSink {
    /// Gives each line to a function, which must not block.
    pub fn new(take: impl Fn(ProgressLine) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Nobody listens.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// A line.
    pub fn text(&self, text: impl Into<String>) {
        (self.0)(ProgressLine {
            text: text.into(),
            ..ProgressLine::default()
        });
    }

    /// A line with a count: bytes of a clone, packages.
    pub fn count(&self, text: impl Into<String>, done: u64, total: u64) {
        (self.0)(ProgressLine {
            text: text.into(),
            done,
            total,
        });
    }
}
