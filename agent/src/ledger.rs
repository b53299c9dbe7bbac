//! What this agent must never forget: the newest generation that it has obeyed and what it has promised, per cluster
//! (safety rules 1 and 7).
//!
//! Written by `session/` before a step runs and by `steps/promise.rs`; read into every observation. Each change is on disk
//! (synced, renamed, folder synced) before the call returns. It never forgets on its own account: where the file is missing or
//! cannot be read on an enrolled host, the ledger is *unknown*, says so, and no step may enter a group. The next order
//! rebuilds it: that order's generation becomes a floor under all clusters (generations are indexes of one log,
//! so they compare across clusters), as if the agent had promised it. An older order is refused from then on, too.
//!
//! Calls block for an fsync when something changes: async callers go through [`Ledger::accept`] and
//! [`Ledger::promise`], which use the blocking pool.

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

/// The ledger, open.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    /// None: lost.
    document: Mutex<Option<Document>>,
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
        }
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

    /// Whether Group Replication may be started here by an order of this generation. Every start asks.
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
                    .fact(format!("the order is of generation {generation}"))),
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
                let entry = Entry {
                    generation,
                    promise: None,
                };
                next.clusters.insert(cluster.clone(), entry);
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
        let entry = next.clusters.entry(cluster.clone()).or_insert(Entry {
            generation,
            promise: None,
        });
        if entry.promise >= Some(generation) {
            return Ok(false);
        }
        entry.promise = Some(generation);
        entry.generation = entry.generation.max(generation);
        write(&self.path, &next)?;
        *held = Some(next);
        Ok(true)
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
mod tests {
    use super::*;

    fn generation(index: u64) -> Generation {
        Generation { epoch: 1, index }
    }

    fn prod() -> ClusterName {
        "prod".parse().unwrap()
    }

    fn fresh() -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        Ledger::create(dir.path()).unwrap();
        let ledger = Ledger::open(dir.path());
        (dir, ledger)
    }

    #[test]
    fn what_was_obeyed_and_promised_survives_a_restart() {
        let (dir, ledger) = fresh();
        assert!(ledger.facts().known);
        ledger.accept_now(&prod(), generation(7)).unwrap();
        assert!(ledger.promise_now(&prod(), generation(7)).unwrap());
        assert!(!ledger.promise_now(&prod(), generation(7)).unwrap());
        let again = Ledger::open(dir.path());
        assert_eq!(again.facts(), ledger.facts());
        assert_eq!(again.facts().promises[&prod()], generation(7));
        let error = again.accept_now(&prod(), generation(6)).unwrap_err();
        assert_eq!(error.code, "stale_generation");
        again.accept_now(&prod(), generation(7)).unwrap();
        assert!(
            again.accept_now(&"other".parse().unwrap(), generation(3)).is_ok(),
            "clusters do not mix"
        );
    }

    #[test]
    fn a_higher_epoch_beats_any_index() {
        let (_dir, ledger) = fresh();
        ledger.accept_now(&prod(), generation(900)).unwrap();
        ledger.accept_now(&prod(), Generation { epoch: 2, index: 1 }).unwrap();
        assert!(ledger.accept_now(&prod(), generation(901)).is_err());
    }

    #[test]
    fn a_promise_bars_older_starts_only() {
        let (_dir, ledger) = fresh();
        ledger.may_enter(&prod(), generation(1)).unwrap();
        ledger.promise_now(&prod(), generation(9)).unwrap();
        assert_eq!(ledger.may_enter(&prod(), generation(8)).unwrap_err().code, "promised");
        ledger.may_enter(&prod(), generation(9)).unwrap();
    }

    #[test]
    fn a_lost_ledger_is_unknown_until_a_new_order_and_then_a_floor() {
        let dir = tempfile::tempdir().unwrap();
        for content in [None, Some("{"), Some("{\"format\":99,\"clusters\":{}}"), Some("")] {
            let path = dir.path().join(FILE);
            let _ = std::fs::remove_file(&path);
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let ledger = Ledger::open(dir.path());
            assert_eq!(ledger.facts(), LedgerFacts::default());
            assert!(!ledger.facts().known);
            assert_eq!(
                ledger.may_enter(&prod(), generation(50)).unwrap_err().code,
                "ledger_lost"
            );
            assert_eq!(
                ledger.promise_now(&prod(), generation(50)).unwrap_err().code,
                "ledger_lost"
            );
            assert_eq!(ledger.accept_now(&prod(), generation(50)).unwrap(), Accepted::Rebuilt);
            let again = Ledger::open(dir.path());
            assert!(again.facts().known);
            assert_eq!(again.facts().promises[&prod()], generation(50));
            let other: ClusterName = "other".parse().unwrap();
            assert_eq!(
                again.accept_now(&other, generation(49)).unwrap_err().code,
                "stale_generation"
            );
            assert_eq!(again.may_enter(&other, generation(49)).unwrap_err().code, "promised");
            assert_eq!(again.accept_now(&prod(), generation(51)).unwrap(), Accepted::Current);
        }
    }

    #[test]
    fn a_crash_while_writing_leaves_the_old_ledger() {
        let (dir, ledger) = fresh();
        ledger.accept_now(&prod(), generation(5)).unwrap();
        // what a crash leaves: the temporary file, not yet renamed
        std::fs::write(dir.path().join(".clusterctl-abc"), "{\"format\":1,").unwrap();
        let again = Ledger::open(dir.path());
        assert_eq!(again.facts().generations[&prod()], generation(5));
    }

    #[test]
    fn an_order_that_cannot_be_written_down_is_not_obeyed() {
        let (dir, ledger) = fresh();
        ledger.accept_now(&prod(), generation(5)).unwrap();
        std::fs::remove_dir_all(dir.path()).unwrap();
        let error = ledger.accept_now(&prod(), generation(6)).unwrap_err();
        assert_eq!((error.code.as_str(), error.retry), ("ledger_write", true));
        assert_eq!(ledger.facts().generations[&prod()], generation(5));
    }

    #[test]
    fn an_existing_ledger_is_not_replaced_by_enrolment() {
        let (dir, ledger) = fresh();
        ledger.accept_now(&prod(), generation(5)).unwrap();
        Ledger::create(dir.path()).unwrap();
        assert_eq!(Ledger::open(dir.path()).facts().generations[&prod()], generation(5));
    }
}
