//! What this agent must never forget: the newest generation that it has obeyed, what it has promised and which steps it will not begin
//! any more, per cluster (safety rules 1 and 7).
//!
//! Written by `session/` before a step runs and by `steps/promise.rs`; read into every observation. Each change is on disk
//! (synced, renamed, folder synced) before the call returns. It never forgets on its own account. Where the file is gone or holds no
//! ledger on an enrolled host, the ledger is *lost*: it accepts no order, promises nothing and permits no entry into a group, until
//! the leader tells its committed index ([`Ledger::rebuild`]). That index becomes a floor under all clusters (generations are indexes of
//! one log, so they compare across clusters), as if the agent had promised it: everything promised before the loss lies below. An order
//! rebuilds nothing: it may be old. Where the file may be whole but cannot be read, the ledger is *unreadable*: also then nothing is
//! accepted, but nothing is rebuilt or renamed either, and it is read again. One process at a time writes it (`ledger/lock.rs`); in any
//! other it is read-only.
//!
//! It also keeps the *entrance*: whoever starts Group Replication here holds it from before the ledger is asked until the START has
//! ended. A promise is written first and then waits for the entrance: so no START that was allowed before it can begin after it.
//!
//! Calls block for an fsync when something changes: async callers go through the async functions, which use the blocking pool. Questions
//! wait for no disk: what is being written counts from the moment it is synced. Where it lies is a [`Disk`].

mod calls;
mod disk;
mod document;
mod failures;
#[cfg(test)]
mod hanging;
mod held;
mod lock;
#[cfg(test)]
pub(crate) mod memory;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, Generation, PlanId, StepNumber};
use clusterctl_proto::observe::{LastWords, LedgerFacts};
use clusterctl_proto::order_proof::OrderProof;
use tokio::time::Instant;

use crate::lineage::Record;

pub use disk::{Disk, Lock, Unread};

use calls::Calls;
use disk::FileDisk;
use document::{Cancelled, Document, Entry, Found};
use failures::{promised, stale, unreadable};
use held::{Held, facts, tell};

const FILE: &str = "ledger.json";
/// An unreadable file is read again so often.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Cancelled steps that are remembered. Each belongs to a plan that is as new as the newest obeyed, so there are few.
const CANCELLED: usize = 1024;

/// Whether an earlier process of this agent can have begun a step that this process does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Began {
    /// No: no earlier process had accepted its generation.
    Never,
    /// Its generation had been accepted, or that is not known.
    Perhaps,
}

/// Held by who may start Group Replication, until his START has ended.
pub type Entrance = tokio::sync::OwnedMutexGuard<()>;

/// The ledger, open.
#[derive(Debug)]
pub struct Ledger {
    disk: Box<dyn Disk>,
    calls: Calls,
    /// The lock, or why this process may not write.
    lock: Result<Lock, Failure>,
    /// What is on disk. Locked for moments only, never while the disk works: the runtime has one thread, which asks all the time.
    held: Mutex<Held>,
    /// Locked by the one change that is being written, so that none overwrites another. Taken before `held`.
    writer: Mutex<()>,
    entrance: Arc<tokio::sync::Mutex<()>>,
}

impl Ledger {
    /// Opens the ledger of this state folder and locks it. Never fails: see [`Ledger::facts`] and [`Ledger::exclusive`].
    pub fn open(state_dir: &Path) -> Self {
        Self::of(Box::new(FileDisk::new(state_dir)), Calls::Pool)
    }

    /// Opens the ledger of a disk that never blocks: a simulated one.
    pub fn over(disk: Box<dyn Disk>) -> Self {
        Self::of(disk, Calls::Inline)
    }

    fn of(disk: Box<dyn Disk>, calls: Calls) -> Self {
        let lock = disk.lock();
        let found = document::read(&*disk);
        tell(&disk.place(), &found);
        Self {
            disk,
            calls,
            lock,
            held: Mutex::new(Held::of(found)),
            writer: Mutex::new(()),
            entrance: Arc::default(),
        }
    }

    /// What the file of this state folder holds, for a program that is not the agent. Nothing is locked.
    pub fn look(state_dir: &Path) -> LedgerFacts {
        facts(&document::read(&FileDisk::new(state_dir)))
    }

    /// Fails when this process does not hold the lock, with the pid of the process that does: then nothing may be written, and no group
    /// may be entered by what was read.
    pub fn exclusive(&self) -> Result<(), Failure> {
        self.lock.as_ref().map(drop).map_err(Clone::clone)
    }

    /// Waits until nobody else starts Group Replication here. To be held before the ledger is asked.
    pub async fn entrance(&self) -> Entrance {
        Arc::clone(&self.entrance).lock_owned().await
    }

    /// The entrance, if nobody else has it now.
    pub fn entrance_if_free(&self) -> Option<Entrance> {
        Arc::clone(&self.entrance).try_lock_owned().ok()
    }

    /// Makes an empty ledger where there is none: at the enrolment of a host that has no cluster's data.
    pub fn create(state_dir: &Path) -> Result<(), Failure> {
        let disk = FileDisk::new(state_dir);
        if disk.exists() {
            return Ok(());
        }
        Self::create_on(&disk)
    }

    /// Makes an empty ledger on this disk, whatever is there.
    pub fn create_on(disk: &dyn Disk) -> Result<(), Failure> {
        document::write(disk, &Document::empty())
    }

    /// What it holds, for an observation.
    pub fn facts(&self) -> LedgerFacts {
        facts(&self.lock().found)
    }

    /// Reads an unreadable file again, at most once a second.
    pub async fn refresh(self: &Arc<Self>) {
        let due = {
            let mut held = self.lock();
            let due = matches!(held.found, Found::Unreadable(_)) && held.read_at.elapsed() >= READ_AGAIN;
            if due {
                held.read_at = Instant::now();
            }
            due
        };
        if due {
            let ledger = Arc::clone(self);
            match self.calls {
                // A disk that hangs holds up this task only: the lock is not held while it reads.
                Calls::Pool => drop(tokio::task::spawn_blocking(move || ledger.read_again())),
                Calls::Inline => ledger.read_again(),
            }
        }
    }

    fn read_again(&self) {
        let found = document::read(&*self.disk);
        let mut held = self.lock();
        if matches!(held.found, Found::Unreadable(_)) && held.found != found {
            tell(&self.disk.place(), &found);
            *held = Held::of(found);
        }
    }

    /// An order of this generation is to be obeyed: on disk before this returns, or refused as older than what was obeyed. The proof,
    /// verified by the caller, is kept beside the generation.
    pub async fn accept(
        self: &Arc<Self>,
        cluster: &ClusterName,
        generation: Generation,
        proof: Option<OrderProof>,
    ) -> Result<(), Failure> {
        let (ledger, cluster) = (Arc::clone(self), cluster.clone());
        self.calls
            .make(move || ledger.accept_now(&cluster, generation, proof))
            .await
    }

    /// Promises not to enter a group of this cluster below this generation; synced before this returns.
    pub async fn promise(self: &Arc<Self>, cluster: &ClusterName, generation: Generation) -> Result<bool, Failure> {
        let (ledger, cluster) = (Arc::clone(self), cluster.clone());
        self.calls.make(move || ledger.promise_now(&cluster, generation)).await
    }

    /// What is known of lineages of this cluster.
    pub fn lineage(&self, cluster: &ClusterName) -> Result<Record, Failure> {
        Ok(self.lock().document()?.lineage(cluster))
    }

    /// Changes what is known of lineages; synced before this returns. Nothing is written when nothing changes.
    pub async fn change_lineage<T: Send + 'static>(
        self: &Arc<Self>,
        cluster: &ClusterName,
        change: impl FnOnce(&mut Record) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (ledger, cluster) = (Arc::clone(self), cluster.clone());
        self.calls
            .make(move || {
                ledger.change(|document| {
                    let before = document.lineage(&cluster);
                    let mut record = before.clone();
                    let answer = change(&mut record);
                    if record != before {
                        document.lineages.insert(cluster, record);
                    }
                    Ok(answer)
                })
            })
            .await
    }

    /// By a step of this generation the server has entered its group; synced before this returns.
    pub async fn entered(self: &Arc<Self>, cluster: &ClusterName, generation: Generation) -> Result<(), Failure> {
        let (ledger, cluster) = (Arc::clone(self), cluster.clone());
        self.calls.make(move || ledger.entered_now(&cluster, generation)).await
    }

    /// An order of this step is refused from now on, also after a restart; synced before this returns. Answers whether an earlier
    /// process can have begun it.
    pub async fn cancel(
        self: &Arc<Self>,
        cluster: &ClusterName,
        epoch: u64,
        plan: PlanId,
        step: StepNumber,
    ) -> Result<Began, Failure> {
        let cancelled = Cancelled {
            cluster: cluster.clone(),
            epoch,
            plan,
            step,
        };
        let ledger = Arc::clone(self);
        self.calls.make(move || ledger.cancel_now(cancelled)).await
    }

    /// Whether the step was cancelled.
    pub fn is_cancelled(&self, cluster: &ClusterName, epoch: u64, plan: PlanId, step: StepNumber) -> bool {
        let cancelled = Cancelled {
            cluster: cluster.clone(),
            epoch,
            plan,
            step,
        };
        matches!(&self.lock().found, Found::Known(document) if document.cancelled.contains(&cancelled))
    }

    /// Rebuilds a lost ledger on the leader's committed index, which the leader read after it had confirmed that it leads and after
    /// this process had connected: nothing below it is accepted or entered again. Its records of lineages are those that it had told that leader.
    /// Any other ledger stays as it is. Answers whether it was rebuilt.
    pub async fn rebuild(self: &Arc<Self>, committed: Generation, last: LastWords) -> Result<bool, Failure> {
        if !self.facts().is_lost() {
            return Ok(false);
        }
        let ledger = Arc::clone(self);
        self.calls.make(move || ledger.rebuild_now(committed, last)).await
    }

    /// Whether the agent may bring its server back into this cluster's live group without an order: it was let in by a step,
    /// and has promised nothing since. Answers the generation that let it in.
    pub fn may_rejoin_alone(&self, cluster: &ClusterName) -> Result<Generation, Failure> {
        let entered = self
            .lock()
            .document()?
            .clusters
            .get(cluster)
            .and_then(|entry| entry.entered);
        let entered = entered.ok_or_else(|| failures::never_entered(cluster))?;
        self.may_enter(cluster, entered)?;
        Ok(entered)
    }

    /// The newest generation by whose step this server has entered its group.
    pub fn entered_by(&self, cluster: &ClusterName) -> Option<Generation> {
        let held = self.lock();
        held.document().ok()?.clusters.get(cluster)?.entered
    }

    /// Whether Group Replication may be started here by what a step of this generation permits. Every start asks.
    pub fn may_enter(&self, cluster: &ClusterName, generation: Generation) -> Result<(), Failure> {
        self.exclusive()?;
        match self.lock().document()?.promise(cluster) {
            Some(promise) if generation < promise => Err(promised(cluster, generation, promise)),
            _ => Ok(()),
        }
    }

    fn accept_now(
        &self,
        cluster: &ClusterName,
        generation: Generation,
        proof: Option<OrderProof>,
    ) -> Result<(), Failure> {
        self.change(|document| {
            let newest = document.newest(cluster);
            if let Some(newest) = newest.filter(|newest| generation < *newest) {
                return Err(stale(cluster, generation, newest));
            }
            let entry = document
                .clusters
                .entry(cluster.clone())
                .or_insert_with(|| Entry::of(generation));
            if entry.generation < generation {
                *entry = Entry {
                    generation,
                    proof: None,
                    ..entry.clone()
                };
            }
            if entry.proof.is_none() {
                entry.proof = proof;
            }
            document.prune();
            Ok(())
        })
    }

    /// True if the promise is new.
    fn promise_now(&self, cluster: &ClusterName, generation: Generation) -> Result<bool, Failure> {
        self.change(|document| {
            let entry = document
                .clusters
                .entry(cluster.clone())
                .or_insert_with(|| Entry::of(generation));
            let new = entry.promise < Some(generation);
            if new {
                entry.promise = Some(generation);
            }
            if entry.generation < generation {
                (entry.generation, entry.proof) = (generation, None);
            }
            Ok(new)
        })
    }

    fn entered_now(&self, cluster: &ClusterName, generation: Generation) -> Result<(), Failure> {
        self.change(|document| {
            let entry = document
                .clusters
                .entry(cluster.clone())
                .or_insert_with(|| Entry::of(generation));
            entry.entered = entry.entered.max(Some(generation));
            Ok(())
        })
    }

    fn cancel_now(&self, step: Cancelled) -> Result<Began, Failure> {
        let (cluster, generation) = (step.cluster.clone(), step.generation());
        self.change(|document| {
            if !document.cancelled.contains(&step) {
                document.cancelled.push(step);
            }
            // One that is stale is refused without being remembered.
            document.prune();
            if document.cancelled.len() > CANCELLED {
                return Err(failures::full());
            }
            Ok(())
        })?;
        Ok(self.lock().began(&cluster, generation))
    }

    fn rebuild_now(&self, committed: Generation, last: LastWords) -> Result<bool, Failure> {
        self.exclusive()?;
        let _writer = lock(&self.writer);
        if !matches!(self.lock().found, Found::Lost(_)) {
            return Ok(false);
        }
        // Somebody may have brought the file back meanwhile.
        let found = match document::read(&*self.disk) {
            Found::Lost(why) => {
                tracing::warn!(path = self.disk.place(), why, %committed, "the lost ledger is rebuilt on the leader's committed index");
                self.disk.set_aside();
                let mut document = Document::empty();
                document.rebuilt = true;
                document.floor = Some(committed);
                document.lineages = last
                    .into_iter()
                    .filter_map(|(cluster, word)| Some((cluster, Record::remembered(word)?)))
                    .collect();
                document
            }
            Found::Known(mut document) => {
                document.floor = document.floor.max(Some(committed));
                document.prune();
                document
            }
            Found::Unreadable(why) => {
                *self.lock() = Held::of(Found::Unreadable(why.clone()));
                return Err(unreadable(&why));
            }
        };
        document::write(&*self.disk, &found)?;
        self.lock().found = Found::Known(found);
        Ok(true)
    }

    /// Changes the document, on disk first: what is in memory only may be obeyed and then forgotten. Nothing is written when nothing
    /// changes.
    fn change<T>(&self, change: impl FnOnce(&mut Document) -> Result<T, Failure>) -> Result<T, Failure> {
        self.exclusive()?;
        let _writer = lock(&self.writer);
        let document = self.lock().document()?.clone();
        let mut next = document.clone();
        let answer = change(&mut next)?;
        if next != document {
            document::write(&*self.disk, &next)?;
            self.lock().found = Found::Known(next);
        }
        Ok(answer)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
