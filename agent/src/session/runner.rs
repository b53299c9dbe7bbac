//! Runs ordered steps in tasks of their own and sends what comes of them. It outlives every stream.
//!
//! Fed by `session/stream.rs`. An order's generation is on disk (`ledger.rs`) before anything else happens with it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use clusterctl_proto::clock::BootInstant;
use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, Generation, HostName};
use clusterctl_proto::machine;
use clusterctl_proto::observe::LastWords;
use clusterctl_proto::order_proof;
use clusterctl_proto::step::{Step, StepOutcome, StepResult};
use clusterctl_proto::tls::SharedCredentials;
use clusterctl_proto::wire::agent::{Confirmed, FromAgent, Outcome, Progress, RunStep, from_agent};
use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::book::{Book, Known, Verdict};
use super::cancel;
use super::confirm::Confirms;
use super::order::{self, Key, Order, Place, Received, StreamId};
use super::tell::tell;
use crate::config::Config;
use crate::host::Host;
use crate::ledger::Ledger;
use crate::mysql::Servers;
use crate::mysql::peer::ByCertificate;
use crate::mysql::standstill::Standstill;
use crate::steps::{self, Context, Found, NoLeader, ProgressLine, ProgressSink, Signer};

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
    /// The way to mysqlds.
    pub servers: Arc<dyn Servers>,
    /// The configuration.
    pub config: Arc<Config>,
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// The agent's identity: its CA says whose signatures of orders count.
    pub credentials: SharedCredentials,
    /// Signs certificates.
    pub signer: Arc<dyn Signer>,
    /// For how long the group has agreed on nothing.
    pub standstill: Arc<Standstill>,
    /// Called when a step has acted, before its outcome is sent.
    pub acted: Box<dyn Fn() + Send + Sync>,
}

/// Outcome and the secrets that go with it.
pub(super) type Answer = (StepOutcome, BTreeMap<String, String>);

/// The stream that stands, and where its messages go.
struct Stream {
    id: StreamId,
    outbox: mpsc::Sender<FromAgent>,
}

/// The runner.
pub struct Runner {
    pub(super) tools: Tools,
    pub(super) book: Mutex<Book<Order, Answer>>,
    pub(super) cancels: Mutex<BTreeMap<Key, CancellationToken>>,
    stream: Mutex<Option<Stream>>,
    streams: AtomicU64,
    /// A step has ended.
    pub(super) ended: Notify,
    /// Questions of steps to the leader.
    confirms: Arc<Confirms>,
}

impl Runner {
    /// Nothing runs yet.
    pub fn new(tools: Tools) -> Arc<Self> {
        Arc::new(Self {
            tools,
            book: Mutex::new(Book::new()),
            cancels: Mutex::new(BTreeMap::new()),
            stream: Mutex::new(None),
            streams: AtomicU64::new(0),
            ended: Notify::new(),
            confirms: Arc::default(),
        })
    }

    /// The number of a new stream.
    pub fn number_stream(&self) -> StreamId {
        self.streams.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A new stream is there: what no stream has taken goes first, in a task, as it may be more than the outbox holds.
    pub fn attach(self: &Arc<Self>, id: StreamId, outbox: mpsc::Sender<FromAgent>) {
        self.confirms.attach(outbox.clone());
        *lock(&self.stream) = Some(Stream { id, outbox });
        let runner = Arc::clone(self);
        machine::spawn(async move {
            let unsent = lock(&runner.book).unsent();
            for (key, answer) in unsent {
                runner.send(&key, answer).await;
            }
        });
    }

    /// The stream is gone.
    pub fn detach(&self) {
        *lock(&self.stream) = None;
        self.confirms.detach();
    }

    /// The leader's answer to a step's question.
    pub fn confirmed(&self, answer: Confirmed) {
        self.confirms.answered(answer);
    }

    /// The stream that stands; 0: none.
    pub(super) fn current_stream(&self) -> StreamId {
        lock(&self.stream).as_ref().map_or(0, |stream| stream.id)
    }

    /// The leader has told its committed index, for a ledger that is lost, and what it was told of it before ([`LastWords`], JSON).
    pub async fn committed(&self, committed: Generation, last_words: &[u8]) {
        let last = serde_json::from_slice::<LastWords>(last_words).unwrap_or_default();
        match self.tools.ledger.rebuild(committed, last).await {
            Ok(false) => {}
            Ok(true) => tracing::warn!(%committed, "the lost ledger is rebuilt; older orders are ignored"),
            Err(failure) => tracing::error!(%failure, facts = ?failure.facts, "the lost ledger cannot be rebuilt yet"),
        }
    }

    /// An order came. The ledger is asked first, whatever is known of the order.
    pub async fn order(self: &Arc<Self>, run: RunStep, received: Received) {
        let mut identity = Outcome {
            plan: run.plan,
            step: run.step,
            epoch: run.epoch,
            cluster: run.cluster.clone(),
            digest: order_proof::digest_of(&run).to_vec(),
            ..Outcome::default()
        };
        let (key, mut order) = match order::read(run, received) {
            Ok(read) => read,
            Err(failure) => {
                let outcome = failed(failure);
                tell("order", &self.tools.name, &outcome);
                if let Some(json) = json(&outcome) {
                    identity.outcome_json = json;
                    self.transmit(from_agent::Message::Outcome(identity)).await;
                }
                return;
            }
        };
        if let Err(failure) = self.accept(&key, &order).await {
            return self.refuse(key, failure).await;
        }
        // One token however often the order comes: a cancel fires the one in `cancels`, and the newest order may be the one that runs.
        if let Some(token) = lock(&self.cancels).get(&key) {
            order.cancel = token.clone();
        }
        let generation = order.generation;
        let (token, name) = (order.cancel.clone(), order.step.name());
        // A promise is worth what the server is now: it is looked at each time.
        let again = matches!(order.step, Step::Promise {});
        let (verdict, start) = lock(&self.book).receive(&key, again, order);
        let Place {
            cluster, plan, step, ..
        } = &key.place;
        tracing::info!(plan = plan.0, step, %cluster, %generation, ?verdict, "step {name} ordered by plan {}", plan.0);
        match verdict {
            Verdict::Attached => {}
            Verdict::Answer => {
                let known = lock(&self.book).known(&key);
                if let Known::Finished(answer) = known {
                    self.send(&key, answer).await;
                }
            }
            Verdict::Run | Verdict::Wait => {
                lock(&self.cancels).insert(key.clone(), token);
            }
        }
        if let Some(order) = start {
            self.start(key, order);
        }
    }

    /// Asks the ledger, with the coordinator's signature, and whether the step was cancelled before.
    async fn accept(&self, key: &Key, order: &Order) -> Result<(), Failure> {
        let (place, generation) = (&key.place, order.generation);
        if let Some(proof) = &order.proof {
            let credentials = self.tools.credentials.current();
            proof.verify(credentials.ca(), &self.tools.group, &place.cluster, generation)?;
        }
        let ledger = &self.tools.ledger;
        ledger.accept(&place.cluster, generation, order.proof.clone()).await?;
        let finished = matches!(lock(&self.book).known(key), Known::Finished(_));
        if !finished && self.is_cancelled(place) {
            return Err(cancelled());
        }
        Ok(())
    }

    fn is_cancelled(&self, place: &Place) -> bool {
        let ledger = &self.tools.ledger;
        lock(&self.book).is_closed(place) || ledger.is_cancelled(&place.cluster, place.epoch, place.plan, place.step)
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
            .map(|(cluster, key)| format!("{cluster}: plan {} step {}", key.place.plan, key.place.step))
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
            leader: Arc::new(NoLeader),
            servers: Arc::clone(&self.tools.servers),
            standstill: Arc::clone(&self.tools.standstill),
            peers: Arc::new(ByCertificate {
                servers: Arc::clone(&self.tools.servers),
                tls_dir: self.tools.config.mysql.tls_dir.clone(),
            }),
            progress: ProgressSink::none(),
            secrets: BTreeMap::new(),
            found: Mutex::new(Found::default()),
        }
    }

    fn start(self: &Arc<Self>, key: Key, order: Order) {
        let runner = Arc::clone(self);
        let span = tracing::info_span!(
            "step",
            plan = key.place.plan.0,
            step = key.place.step,
            action = order.step.name(),
            cluster = %key.place.cluster,
            node = %self.tools.name
        );
        machine::spawn(async move { runner.work(key, order).await }.instrument(span));
    }

    async fn work(self: Arc<Self>, mut key: Key, mut order: Order) {
        loop {
            let name = order.step.name();
            let (answer, begun) = match self.begin(&key, &order).await {
                Ok(()) => (self.run(&key, order).await, true),
                Err(failure) => ((failed(failure), BTreeMap::new()), false),
            };
            tell(name, &self.tools.name, &answer.0);
            lock(&self.cancels).remove(&key);
            let next = lock(&self.book).finish(&key, answer.clone(), begun);
            self.ended.notify_waiters();
            self.send(&key, answer).await;
            match next {
                // another span
                Some((next, waiting)) if next.place.plan != key.place.plan => return self.start(next, waiting),
                Some((next, waiting)) => (key, order) = (next, waiting),
                None => return,
            }
        }
    }

    /// Whether the step may be begun: while it waited, a newer plan or a cancel may have come, and what it rests on may have changed.
    async fn begin(&self, key: &Key, order: &Order) -> Result<(), Failure> {
        self.accept(key, order).await?;
        order::check_fresh(order, self.current_stream(), BootInstant::now())
    }

    async fn run(&self, key: &Key, order: Order) -> Answer {
        let latest = Arc::new(Mutex::new(None));
        let put = Arc::clone(&latest);
        let leader = self.confirms.of(&key.place, order.generation);
        let cx = Context {
            leader: Arc::new(leader),
            progress: ProgressSink::new(move |line| *lock(&put) = Some(line)),
            secrets: order.secrets,
            ..self.context(key.place.cluster.clone(), order.generation)
        };
        let ended = {
            // a panic is a bug, but it must not leave the cluster's queue waiting for ever
            let step = AssertUnwindSafe(steps::run(&order.step, &cx)).catch_unwind();
            tokio::pin!(step);
            let mut tick = tokio::time::interval(PROGRESS_EVERY);
            loop {
                tokio::select! {
                    biased;
                    () = order.cancel.cancelled() => break None,
                    outcome = &mut step => break Some(outcome.unwrap_or_else(|_| failed(panicked()))),
                    _ = tick.tick() => self.progress(key, lock(&latest).take()),
                }
            }
        };
        let outcome = match ended {
            Some(outcome) => outcome,
            None => {
                // A START or a clone outlives the step; what it has begun is over before the host counts as free.
                if order::must_be_fresh(&order.step) {
                    let copied = cancel::copies(&order.step) && self.is_cancelled(&key.place);
                    cancel::wait_nothing_runs(&cx, copied, || true).await;
                }
                failed(cancelled())
            }
        };
        self.progress(key, lock(&latest).take());
        (self.tools.acted)();
        let secrets = std::mem::take(&mut lock(&cx.found).secrets);
        (outcome, secrets)
    }

    /// Answers an order that is not obeyed. One that is under way says nothing: its outcome will come. What is known of one that has
    /// finished stays.
    pub(super) async fn refuse(&self, key: Key, failure: Failure) {
        let answer = (failed(failure), BTreeMap::new());
        tell("order", &self.tools.name, &answer.0);
        let known = {
            let mut book = lock(&self.book);
            let known = book.known(&key);
            if matches!(known, Known::Not) {
                book.record(key.clone(), answer.clone());
            }
            known
        };
        match known {
            Known::UnderWay => {}
            Known::Not => self.send(&key, answer).await,
            Known::Finished(_) => {
                self.deliver(&key, answer).await;
            }
        }
    }

    fn progress(&self, key: &Key, line: Option<ProgressLine>) {
        let outbox = lock(&self.stream).as_ref().map(|stream| stream.outbox.clone());
        let (Some(line), Some(outbox)) = (line, outbox) else {
            return;
        };
        let progress = Progress {
            plan: key.place.plan.0,
            step: key.place.step,
            text: line.text,
            done: line.done,
            total: line.total,
        };
        // a line that finds no room is not worth waiting for
        let _ = outbox.try_send(FromAgent {
            message: Some(from_agent::Message::Progress(progress)),
        });
    }

    /// Sends what the book holds of this order.
    pub(super) async fn send(&self, key: &Key, answer: Answer) {
        let taken = self.deliver(key, answer).await;
        lock(&self.book).sent(key, taken);
    }

    async fn deliver(&self, key: &Key, (outcome, secrets): Answer) -> bool {
        let Some(outcome_json) = json(&outcome) else {
            return false;
        };
        let outcome = Outcome {
            plan: key.place.plan.0,
            step: key.place.step,
            outcome_json,
            secrets: secrets.into_iter().collect(),
            epoch: key.place.epoch,
            cluster: key.place.cluster.to_string(),
            digest: key.digest.to_vec(),
        };
        self.transmit(from_agent::Message::Outcome(outcome)).await
    }

    /// Hands a message to the stream that stands; false: there is none.
    pub(super) async fn transmit(&self, message: from_agent::Message) -> bool {
        let outbox = lock(&self.stream).as_ref().map(|stream| stream.outbox.clone());
        match outbox {
            Some(outbox) => outbox.send(FromAgent { message: Some(message) }).await.is_ok(),
            None => false,
        }
    }
}

fn json(outcome: &StepOutcome) -> Option<Vec<u8>> {
    let written = serde_json::to_vec(outcome);
    if let Err(error) = &written {
        tracing::error!(%error, "an outcome cannot be written as JSON");
    }
    written.ok()
}

pub(super) fn failed(failure: Failure) -> StepOutcome {
    StepOutcome {
        result: StepResult::Failed { failure },
        data: None,
        elapsed_ms: 0,
        spent_ms: BTreeMap::new(),
    }
}

pub(super) fn cancelled() -> Failure {
    Failure::new("cancelled", "the step was cancelled").exit(ExitClass::Conflict)
}

fn panicked() -> Failure {
    Failure::new("agent_bug", "the step ended in a panic of the agent").hint("journalctl -u clusterctl-agent")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
