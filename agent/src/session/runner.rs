//! Runs ordered steps in tasks of their own and sends what comes of them. It outlives every stream.
//!
//! Fed by `session/stream.rs`. An order's generation is on disk (`ledger.rs`) before anything else happens with it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, Generation, HostName, PlanId};
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use clusterctl_proto::wire::agent::{CancelStep, FromAgent, Outcome, Progress, RunStep, from_agent};
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::book::{Book, Key, Verdict};
use crate::config::Config;
use crate::host::Host;
use crate::ledger::{self, Accepted, Ledger};
use crate::steps::{self, Context, Found, ProgressLine, ProgressSink, Signer};

/// Progress lines of a step are sent at most five times a second.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What steps need, the same for all of them.
pub struct Tools {
    /// This machine.
    pub host: Arc<dyn Host>,
    /// Its enrolled name.
    pub name: HostName,
    /// Id of the coordinator group.
    pub group: String,
    /// The configuration.
    pub config: Arc<Config>,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// Signs certificates.
    pub signer: Arc<dyn Signer>,
    /// Called when a step has acted, before its outcome is sent.
    pub acted: Box<dyn Fn() + Send + Sync>,
}

/// An order that has been read.
struct Order {
    cluster: ClusterName,
    generation: Generation,
    step: Step,
    secrets: BTreeMap<String, String>,
    cancel: CancellationToken,
}

/// Outcome and the secrets that go with it.
type Answer = (StepOutcome, BTreeMap<String, String>);

/// The runner.
pub struct Runner {
    tools: Tools,
    book: Mutex<Book<Order, Answer>>,
    cancels: Mutex<BTreeMap<Key, CancellationToken>>,
    /// The stream that there is now.
    outbox: Mutex<Option<mpsc::Sender<FromAgent>>>,
}

impl Runner {
    /// Nothing runs yet.
    pub fn new(tools: Tools) -> Arc<Self> {
        Arc::new(Self {
            tools,
            book: Mutex::new(Book::new()),
            cancels: Mutex::new(BTreeMap::new()),
            outbox: Mutex::new(None),
        })
    }

    /// A new stream is there: what no stream has taken goes first, in a task, as it may be more than the outbox holds.
    pub fn attach(self: &Arc<Self>, outbox: mpsc::Sender<FromAgent>) {
        *lock(&self.outbox) = Some(outbox);
        let runner = Arc::clone(self);
        tokio::spawn(async move {
            let unsent = lock(&runner.book).unsent();
            for (key, answer) in unsent {
                runner.send(key, answer).await;
            }
        });
    }

    /// The stream is gone.
    pub fn detach(&self) {
        *lock(&self.outbox) = None;
    }

    /// An order came.
    pub async fn order(self: &Arc<Self>, run: RunStep) {
        let key = (PlanId(run.plan), run.step);
        let order = match read(run) {
            Ok(order) => order,
            Err(failure) => return self.refuse(key, failure).await,
        };
        // what is known is not asked of the ledger again: a newer plan may have come meanwhile, and the answer must stay the same
        let known = lock(&self.book).result(key);
        if let Some(answer) = known {
            return self.send(key, answer).await;
        }
        let (cluster, generation) = (order.cluster.clone(), order.generation);
        match self.tools.ledger.accept(&cluster, generation).await {
            Err(failure) => return self.refuse(key, failure).await,
            Ok(Accepted::Rebuilt) if enters_group(&order.step) => {
                return self.refuse(key, ledger::lost()).await;
            }
            Ok(_) => {}
        }
        let (token, name) = (order.cancel.clone(), order.step.name());
        let (verdict, start) = lock(&self.book).receive(&cluster, key, order);
        tracing::info!(plan = key.0.0, step = key.1, %cluster, %generation, ?verdict, "step {name} ordered by plan {}", key.0.0);
        if matches!(verdict, Verdict::Run | Verdict::Wait) {
            lock(&self.cancels).insert(key, token);
        }
        if let Some(order) = start {
            self.start(key, order);
        }
    }

    /// The leader wants a step no more.
    pub async fn cancel(&self, cancel: CancelStep) {
        let key = (PlanId(cancel.plan), cancel.step);
        tracing::info!(plan = cancel.plan, step = cancel.step, "cancel received");
        if lock(&self.book).withdraw(key) {
            lock(&self.cancels).remove(&key);
            self.refuse(key, cancelled()).await;
        } else if let Some(token) = lock(&self.cancels).get(&key) {
            token.cancel();
        }
    }

    /// Ends every step that runs, at the end of the process: what they started is found by the next agent.
    pub fn stop(&self) {
        for token in lock(&self.cancels).values() {
            token.cancel();
        }
    }

    /// What runs now, in words for the journal; empty: nothing does, and the agent may act by itself.
    pub fn running(&self) -> Vec<String> {
        lock(&self.book)
            .running()
            .map(|(cluster, (plan, step))| format!("{cluster}: plan {plan} step {step}"))
            .collect()
    }

    /// What a step has in hand, without secrets, and with nobody who hears its progress.
    pub fn context(&self, cluster: ClusterName, generation: Generation) -> Context {
        Context {
            host: Arc::clone(&self.tools.host),
            name: self.tools.name.clone(),
            group: self.tools.group.clone(),
            config: Arc::clone(&self.tools.config),
            cluster,
            generation,
            ledger: Arc::clone(&self.tools.ledger),
            signer: Arc::clone(&self.tools.signer),
            progress: ProgressSink::none(),
            secrets: BTreeMap::new(),
            found: Mutex::new(Found::default()),
        }
    }

    fn start(self: &Arc<Self>, key: Key, order: Order) {
        let runner = Arc::clone(self);
        let span = tracing::info_span!(
            "step",
            plan = key.0.0,
            step = key.1,
            action = order.step.name(),
            cluster = %order.cluster,
            node = %self.tools.name
        );
        tokio::spawn(async move { runner.work(key, order).await }.instrument(span));
    }

    async fn work(self: Arc<Self>, mut key: Key, mut order: Order) {
        loop {
            let cluster = order.cluster.clone();
            let name = order.step.name();
            let answer = self.run(key, order).await;
            tell(name, &self.tools.name, &answer.0);
            lock(&self.cancels).remove(&key);
            let next = lock(&self.book).finish(&cluster, key, answer.clone());
            self.send(key, answer).await;
            match next {
                // another span
                Some((next, waiting)) if next.0 != key.0 => return self.start(next, waiting),
                Some((next, waiting)) => (key, order) = (next, waiting),
                None => return,
            }
        }
    }

    async fn run(&self, key: Key, order: Order) -> Answer {
        let failed = |failure| (failed(failure), BTreeMap::new());
        // while it waited, a newer plan may have come
        if let Err(failure) = self.tools.ledger.accept(&order.cluster, order.generation).await {
            return failed(failure);
        }
        let latest = Arc::new(Mutex::new(None));
        let put = Arc::clone(&latest);
        let cx = Context {
            progress: ProgressSink::new(move |line| *lock(&put) = Some(line)),
            secrets: order.secrets,
            ..self.context(order.cluster, order.generation)
        };
        let outcome = {
            // a panic is a bug, but it must not leave the cluster's queue waiting for ever
            let step = AssertUnwindSafe(steps::run(&order.step, &cx)).catch_unwind();
            tokio::pin!(step);
            let mut tick = tokio::time::interval(PROGRESS_EVERY);
            loop {
                tokio::select! {
                    outcome = &mut step => break outcome.unwrap_or_else(|_| failed(panicked()).0),
                    () = order.cancel.cancelled() => break failed(cancelled()).0,
                    _ = tick.tick() => self.progress(key, lock(&latest).take()),
                }
            }
        };
        self.progress(key, lock(&latest).take());
        (self.tools.acted)();
        let secrets = std::mem::take(&mut lock(&cx.found).secrets);
        (outcome, secrets)
    }

    async fn refuse(&self, key: Key, failure: Failure) {
        let answer = (failed(failure), BTreeMap::new());
        tell("order", &self.tools.name, &answer.0);
        lock(&self.book).record(key, answer.clone());
        self.send(key, answer).await;
    }

    fn progress(&self, key: Key, line: Option<ProgressLine>) {
        let (Some(line), Some(outbox)) = (line, lock(&self.outbox).clone()) else {
            return;
        };
        let progress = Progress {
            plan: key.0.0,
            step: key.1,
            text: line.text,
            done: line.done,
            total: line.total,
        };
        // a line that finds no room is not worth waiting for
        let _ = outbox.try_send(FromAgent {
            message: Some(from_agent::Message::Progress(progress)),
        });
    }

    async fn send(&self, key: Key, (outcome, secrets): Answer) {
        let outcome_json = match serde_json::to_vec(&outcome) {
            Ok(json) => json,
            Err(error) => return tracing::error!(%error, "an outcome cannot be written as JSON"),
        };
        let outcome = Outcome {
            plan: key.0.0,
            step: key.1,
            outcome_json,
            secrets: secrets.into_iter().collect(),
            ..Outcome::default()
        };
        let message = FromAgent {
            message: Some(from_agent::Message::Outcome(outcome)),
        };
        let outbox = lock(&self.outbox).clone();
        let taken = match outbox {
            Some(outbox) => outbox.send(message).await.is_ok(),
            None => false,
        };
        lock(&self.book).sent(key, taken);
    }
}

fn read(run: RunStep) -> Result<Order, Failure> {
    let bad = |what: &str, error: String| {
        Failure::new("bad_order", format!("the order's {what} cannot be read"))
            .fact(error)
            .hint("upgrade clusterctl-agent on this host to the coordinator's version")
    };
    Ok(Order {
        cluster: run
            .cluster
            .parse()
            .map_err(|e: clusterctl_proto::ids::InvalidName| bad("cluster", e.to_string()))?,
        generation: Generation {
            epoch: run.epoch,
            index: run.index,
        },
        step: serde_json::from_slice(&run.step_json).map_err(|e| bad("step", e.to_string()))?,
        secrets: run.secrets.into_iter().collect(),
        cancel: CancellationToken::new(),
    })
}

/// Steps that start Group Replication.
fn enters_group(step: &Step) -> bool {
    matches!(step, Step::BootstrapGroup { .. } | Step::JoinGroup { .. })
}

fn failed(failure: Failure) -> StepOutcome {
    StepOutcome {
        result: StepResult::Failed { failure },
        data: None,
        elapsed_ms: 0,
        spent_ms: BTreeMap::new(),
    }
}

fn cancelled() -> Failure {
    Failure::new("cancelled", "the step was cancelled").exit(ExitClass::Conflict)
}

fn panicked() -> Failure {
    Failure::new("agent_bug", "the step ended in a panic of the agent").hint("journalctl -u clusterctl-agent")
}

/// One line for people: who reads the plain journal sees no fields.
fn tell(name: &str, host: &HostName, outcome: &StepOutcome) {
    let (elapsed_ms, spent_ms, line) = (outcome.elapsed_ms, &outcome.spent_ms, line(name, host, outcome));
    match &outcome.result {
        StepResult::Unchanged | StepResult::Changed { .. } => tracing::info!(elapsed_ms, ?spent_ms, "{line}"),
        StepResult::Failed { failure } => {
            tracing::warn!(elapsed_ms, ?spent_ms, code = failure.code, facts = ?failure.facts, hint = failure.hint, "{line}");
        }
    }
}

fn line(name: &str, host: &HostName, outcome: &StepOutcome) -> String {
    let seconds = Duration::from_millis(outcome.elapsed_ms).as_secs_f64();
    match &outcome.result {
        StepResult::Unchanged => format!("step {name} on {host} unchanged ({seconds:.2} s)"),
        StepResult::Changed { what } => format!("step {name} on {host} changed ({seconds:.2} s): {what}"),
        StepResult::Failed { failure } => {
            let facts: String = failure.facts.iter().map(|fact| format!("; {fact}")).collect();
            let again = if failure.retry { ", it may be tried again" } else { "" };
            format!("step {name} on {host} failed ({seconds:.2} s{again}): {failure}{facts}")
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod line_tests {
    use super::*;

    #[test]
    fn the_journal_names_step_host_and_what_came_of_it() {
        let host: HostName = "node3".parse().unwrap();
        let mut outcome = StepOutcome {
            result: StepResult::Changed {
                what: "joined the group by incremental recovery".to_owned(),
            },
            data: None,
            elapsed_ms: 2130,
            spent_ms: BTreeMap::new(),
        };
        assert_eq!(
            line("join_group", &host, &outcome),
            "step join_group on node3 changed (2.13 s): joined the group by incremental recovery"
        );
        outcome.result = StepResult::Failed {
            failure: Failure::new("unit_start", "mysqld does not start")
                .fact("disk full")
                .transient(),
        };
        assert_eq!(
            line("server", &host, &outcome),
            "step server on node3 failed (2.13 s, it may be tried again): mysqld does not start; disk full"
        );
    }
}
