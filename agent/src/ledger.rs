//! What this agent must never forget: the newest generation that it has obeyed and what it has promised, per cluster
//! (safety rules 1 and 7).
//!
//! Written by `session/` before a step runs and by `steps/promise.rs`; read into every observation. Each change is on disk
//! (synced, renamed, folder synced) before the call returns. It never forgets on its own account: where the file is missing or
//! cannot be read on an enrolled host, the ledger is *unknown*, says so, and no step may enter a group. The next order
//! rebuilds it: that order's generation becomes a floor under all clusters (generations are indexes of one log,
//! so they compare across clusters), as if the agent had promised it. An older order is refused from then on, too.
//!
//! It also keeps the *entrance*: whoever starts Group Replication here holds it from before he asks the ledger until his START has
//! ended. A promise is written first and then waits for the entrance: so no START that was allowed before it can begin after it.
//!
//! Calls block for an fsync when something changes: async callers go through [`Ledger::accept`], [`Ledger::promise`] and
//! [`Ledger::entered`], which use the blocking pool.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::files;
use clusterctl_proto::ids::{ClusterName, Generation};
use clusterctl_proto::observe::LedgerFacts;
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;
const FILE: &str = "ledger.json";
/// Far more than any ledger; a larger file is not one.
const LARGEST: u64 = 1 << 20;

/// The file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    /// Set when the ledger was rebuilt after a loss: nothing below it, for any cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    floor: Option<Generation>,
    clusters: BTreeMap<ClusterName, Entry>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Newest obeyed.
    generation: Generation,
    /// Promised not to enter a group below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promise: Option<Generation>,
    /// Newest by whose step this server entered its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entered: Option<Generation>,
}

impl Entry {
    fn of(generation: Generation) -> Self {
        Self {
            generation,
            promise: None,
            entered: None,
        }
    }
}

impl Document {
    fn empty() -> Self {
        Self {
            format: FORMAT,
            floor: None,
            clusters: BTreeMap::new(),
        }
    }
}

/// What happened to an order's generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// It is the newest, or as new as the newest.
    Current,
    /// The ledger had been lost and has been rebuilt on it: a step that enters a group must wait for the next generation.
    Rebuilt,
}

/// Held by who may start Group Replication, until his START has ended.
pub type Entrance = tokio::sync::OwnedMutexGuard<()>;

/// The ledger, open.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    /// None: lost.
    document: Mutex<Option<Document>>,
    entrance: Arc<tokio::sync::Mutex<()>>,
}

impl Ledger {
    /// Opens the ledger of this state folder. Never fails: what cannot be read is unknown, and told in the log.
    pub fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let document = match read(&path) {
            Ok(document) => Some(document),
            Err(why) => {
                tracing::error!(path = %path.display(), why, "the ledger is lost; no group is entered before a new order rebuilds it");
                None
            }
        };
        Self {
            path,
            document: Mutex::new(document),
            entrance: Arc::default(),
        }
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
        let path = state_dir.join(FILE);
        if path.exists() {
            return Ok(());
        }
        write(&path, &Document::empty())
    }

    /// What it holds, for an observation.
    pub fn facts(&self) -> LedgerFacts {
        match &*self.lock() {
            None => LedgerFacts::default(),
            Some(document) => LedgerFacts {
                known: true,
                lineages: BTreeMap::new(),
                generations: document
                    .clusters
                    .iter()
                    .map(|(name, entry)| (name.clone(), entry.generation))
                    .collect(),
                promises: document
                    .clusters
                    .iter()
                    .filter_map(|(name, entry)| Some((name.clone(), entry.promise.max(document.floor)?)))
                    .collect(),
            },
        }
    }

    /// An order of this generation is to be obeyed: on disk before this returns, or refused as older than what was obeyed.
    pub async fn accept(self: &Arc<Self>, cluster: &ClusterName, generation: Generation) -> Result<Accepted, Failure> {
        let (ledger, cluster) = (Arc::clone(self), cluster.clone());
        blocking(move || ledger.accept_now(&cluster, generation)).await
    }

    /// Promises not to enter a group of this cluster below this generation; synced before this returns.
    pub async fn promise(self: &Arc<Self>, cluster: &ClusterName, generation: Generation) -> Result<bool, Failure> {
        let (ledger, cluster) = (Arc::clone(self), cluster.clone());
        blocking(move || ledger.promise_now(&cluster, generation)).await
    }

    /// By a step of this generation the server has entered its group; synced before this returns.
    pub async fn entered(self: &Arc<Self>, cluster: &ClusterName, generation: Generation) -> Result<(), Failure> {
        let (ledger, cluster) = (Arc::clone(self), cluster.clone());
        blocking(move || ledger.entered_now(&cluster, generation)).await
    }

    /// Whether the agent may bring its server back into this cluster's live group without an order: it was let in by a step,
    /// and has promised nothing since. Answers the generation that let it in.
    pub fn may_rejoin_alone(&self, cluster: &ClusterName) -> Result<Generation, Failure> {
        let entered = match &*self.lock() {
            None => return Err(lost()),
            Some(document) => document.clusters.get(cluster).and_then(|entry| entry.entered),
        };
        let entered = entered.ok_or_else(|| {
            Failure::refused(
                "never_entered",
                format!("the ledger knows no step by which this server entered a group of {cluster}"),
            )
        })?;
        self.may_enter(cluster, entered)?;
        Ok(entered)
    }

    /// Whether Group Replication may be started here by what a step of this generation permits. Every start asks.
    pub fn may_enter(&self, cluster: &ClusterName, generation: Generation) -> Result<(), Failure> {
        match &*self.lock() {
            None => Err(lost()),
            Some(document) => {
                let promise = document
                    .clusters
                    .get(cluster)
                    .and_then(|entry| entry.promise)
                    .max(document.floor);
                match promise {
                    Some(promise) if generation < promise => Err(Failure::refused(
                        "promised",
                        format!("this host has promised not to enter a group of {cluster} below generation {promise}"),
                    )
                    .fact(format!("it is asked for by generation {generation}"))),
                    _ => Ok(()),
                }
            }
        }
    }

    fn accept_now(&self, cluster: &ClusterName, generation: Generation) -> Result<Accepted, Failure> {
        let mut held = self.lock();
        let (mut next, accepted) = match &*held {
            Some(document) => (document.clone(), Accepted::Current),
            None => {
                set_aside(&self.path);
                let mut fresh = Document::empty();
                fresh.floor = Some(generation);
                (fresh, Accepted::Rebuilt)
            }
        };
        let newest = next.clusters.get(cluster).map(|entry| entry.generation).max(next.floor);
        if newest.is_some_and(|newest| generation < newest) {
            return Err(stale(cluster, generation, newest.unwrap_or_default()));
        }
        match next.clusters.get_mut(cluster) {
            Some(entry) if entry.generation == generation => return Ok(accepted),
            Some(entry) => entry.generation = generation,
            None => {
                next.clusters.insert(cluster.clone(), Entry::of(generation));
            }
        }
        // on disk first: what is in memory only may be obeyed and then forgotten
        write(&self.path, &next)?;
        *held = Some(next);
        Ok(accepted)
    }

    /// True if the promise is new.
    fn promise_now(&self, cluster: &ClusterName, generation: Generation) -> Result<bool, Failure> {
        let mut held = self.lock();
        let Some(document) = &*held else {
            return Err(lost());
        };
        let mut next = document.clone();
        let entry = next
            .clusters
            .entry(cluster.clone())
            .or_insert_with(|| Entry::of(generation));
        if entry.promise >= Some(generation) {
            return Ok(false);
        }
        entry.promise = Some(generation);
        entry.generation = entry.generation.max(generation);
        write(&self.path, &next)?;
        *held = Some(next);
        Ok(true)
    }

    fn entered_now(&self, cluster: &ClusterName, generation: Generation) -> Result<(), Failure> {
        let mut held = self.lock();
        let mut next = held.clone().ok_or_else(lost)?;
        let entry = next
            .clusters
            .entry(cluster.clone())
            .or_insert_with(|| Entry::of(generation));
        if entry.entered >= Some(generation) {
            return Ok(());
        }
        entry.entered = Some(generation);
        write(&self.path, &next)?;
        *held = Some(next);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Document>> {
        self.document.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The refusal while the ledger is unknown; the next generation is welcome, so a retry mends it.
pub fn lost() -> Failure {
    Failure::refused(
        "ledger_lost",
        "this host's agent has lost its ledger and cannot tell what it has promised",
    )
    .hint("nothing is to be done: the coordinator plans anew and the ledger is rebuilt on that plan")
    .transient()
}

fn stale(cluster: &ClusterName, generation: Generation, newest: Generation) -> Failure {
    Failure::new(
        "stale_generation",
        format!("the order is older than what this host has obeyed for {cluster}"),
    )
    .fact(format!("order {generation}, newest obeyed {newest}"))
    .exit(ExitClass::Conflict)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => Err(Failure::new("ledger_write", format!("the ledger was not written: {stopped}")).transient()),
    }
}

fn read(path: &Path) -> Result<Document, String> {
    let bytes = files::read_limited(path, LARGEST).map_err(|e| e.to_string())?;
    let document: Document = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if document.format == FORMAT {
        Ok(document)
    } else {
        Err(format!("format {} is not known to this version", document.format))
    }
}

fn write(path: &Path, document: &Document) -> Result<(), Failure> {
    let mut bytes = serde_json::to_vec_pretty(document)
        .map_err(|e| Failure::new("ledger_write", format!("the ledger cannot be written down: {e}")))?;
    bytes.push(b'\n');
    files::write_atomic(path, &bytes, 0o600).map_err(|e| {
        let mut failure = Failure::from(e).transient();
        failure.code = "ledger_write".to_owned();
        failure
    })
}

/// The unreadable file is kept beside, for whoever asks what happened.
fn set_aside(path: &Path) {
    let aside = path.with_extension("json.unreadable");
    if let Err(error) = std::fs::rename(path, &aside)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the unreadable ledger could not be set aside");
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
