//! The state machine that openraft drives, and its snapshot.
//!
//! The model lives in memory and is rebuilt at a start from the newest snapshot and the entries after it; only snapshots
//! are written, each with its meta in one transaction. Everybody reads the model through [`State::read`] and learns of changes through [`State::changes`].

use std::io::Cursor;
use std::sync::{Arc, PoisonError, RwLock};

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, BasicNode, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StorageError, StorageIOError, StoredMembership,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::disk::{Disk, DiskError};
use super::document::{self, FORMAT};
use super::{NodeId, TypeConfig};
use crate::machine::{Answer, Command, apply};
use crate::model::Model;

const SNAPSHOT: &str = "snapshot";
const SNAPSHOT_META: &str = "snapshot_meta";

/// Everything that entries have made, with its place in the log.
#[derive(Clone, Serialize, Deserialize)]
struct Applied {
    /// Version of this document.
    format: u32,
    last: Option<LogId<NodeId>>,
    membership: StoredMembership<NodeId, BasicNode>,
    model: Model,
}

/// The model as the log has made it so far; shared with the rest of the program, which only reads.
pub struct State {
    applied: RwLock<Applied>,
    index: watch::Sender<u64>,
}

impl State {
    /// Nothing applied yet.
    pub fn new() -> Arc<Self> {
        let applied = Applied {
            format: FORMAT,
            last: None,
            membership: StoredMembership::default(),
            model: Model::new(uuid::Uuid::nil()),
        };
        Arc::new(Self {
            applied: RwLock::new(applied),
            index: watch::Sender::new(0),
        })
    }

    /// As a log that is not openraft's has made it so far; only [`Self::apply`] feeds it from here on.
    pub fn at(model: Model, index: u64) -> Arc<Self> {
        let state = Self::new();
        state.applied.write().unwrap_or_else(PoisonError::into_inner).model = model;
        state.index.send_replace(index);
        state
    }

    /// Applies the entry at this index of a log that is not openraft's; none: the entry that begins a term, which changes nothing.
    pub fn apply(&self, index: u64, command: Option<&Command>) -> Answer {
        let answer = command.map_or(Answer::Applied, |command| {
            let mut applied = self.applied.write().unwrap_or_else(PoisonError::into_inner);
            apply(&mut applied.model, index, command)
        });
        self.index.send_replace(index);
        answer
    }

    /// Looks at the model. Short work only: entries are not applied meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.applied.read().unwrap_or_else(PoisonError::into_inner).model)
    }

    /// Index of the newest applied entry, with word of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }

    fn replace(&self, applied: Applied) {
        let index = applied.last.map_or(0, |id| id.index);
        *self.applied.write().unwrap_or_else(PoisonError::into_inner) = applied;
        self.index.send_replace(index);
    }
}

/// openraft's view of [`State`].
#[derive(Clone)]
pub struct StateMachine {
    disk: Disk,
    state: Arc<State>,
}

impl StateMachine {
    /// Loads the newest snapshot, if there is one. Fails when it holds something that this program does not know.
    pub fn load(disk: Disk, state: Arc<State>) -> Result<Self, DiskError> {
        if let Some(Stored { applied, .. }) = stored(&disk)? {
            state.replace(applied);
        }
        Ok(Self { disk, state })
    }

    async fn store(&self, meta: &SnapshotMeta<NodeId, BasicNode>, document: Vec<u8>) -> Result<(), DiskError> {
        let meta = serde_json::to_vec(meta)?;
        self.disk
            .write_meta(vec![(SNAPSHOT, document), (SNAPSHOT_META, meta)])
            .await
    }
}

/// A snapshot as it is in the file.
struct Stored {
    meta: SnapshotMeta<NodeId, BasicNode>,
    document: Vec<u8>,
    applied: Applied,
}

/// The snapshot in the file, with its meta: both are read in one transaction, as they are written.
fn stored(disk: &Disk) -> Result<Option<Stored>, DiskError> {
    let [meta, document] = disk.read_together([SNAPSHOT_META, SNAPSHOT])?;
    let (meta, document) = match (meta, document) {
        (None, None) => return Ok(None),
        (Some(meta), Some(document)) => (meta, document),
        (Some(_), None) | (None, Some(_)) => return Err(DiskError::Torn),
    };
    let meta = document::read(SNAPSHOT_META, &meta)?;
    let applied = parse(&meta, &document)?;
    Ok(Some(Stored {
        meta,
        document,
        applied,
    }))
}

/// A snapshot of this or of another node, if this program knows everything in it and it is what its meta says.
fn parse(meta: &SnapshotMeta<NodeId, BasicNode>, document: &[u8]) -> Result<Applied, DiskError> {
    document::known_snapshot(document)?;
    let applied: Applied = document::read(SNAPSHOT, document)?;
    if applied.last != meta.last_log_id || applied.membership != meta.last_membership {
        return Err(DiskError::Torn);
    }
    Ok(applied)
}

type Result<T, E = StorageError<NodeId>> = std::result::Result<T, E>;

fn broken(meta: &SnapshotMeta<NodeId, BasicNode>, error: &DiskError) -> StorageError<NodeId> {
    StorageIOError::write_snapshot(Some(meta.signature()), AnyError::new(error)).into()
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>> {
        let (meta, document) = {
            let applied = self.state.applied.read().unwrap_or_else(PoisonError::into_inner);
            let place = applied
                .last
                .map_or_else(|| "empty".to_owned(), |id| format!("{}-{}", id.leader_id, id.index));
            let meta = SnapshotMeta {
                last_log_id: applied.last,
                last_membership: applied.membership.clone(),
                snapshot_id: place,
            };
            (meta, serde_json::to_vec(&*applied))
        };
        let document = document.map_err(|error| StorageIOError::read_state_machine(AnyError::new(&error)))?;
        self.store(&meta, document.clone())
            .await
            .map_err(|error| broken(&meta, &error))?;
        Ok(Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(document)),
        })
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<NodeId>>, StoredMembership<NodeId, BasicNode>)> {
        let applied = self.state.applied.read().unwrap_or_else(PoisonError::into_inner);
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answer>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        let mut index = 0;
        {
            let mut applied = self.state.applied.write().unwrap_or_else(PoisonError::into_inner);
            for entry in entries {
                if let EntryPayload::Normal(command) = &entry.payload {
                    // Other coordinators have agreed on a meaning that this program does not know: it must not guess.
                    document::known_level(u64::from(command.change.needs_level()))
                        .map_err(|error| StorageIOError::apply(entry.log_id, AnyError::new(&error)))?;
                }
                index = entry.log_id.index;
                applied.last = Some(entry.log_id);
                answers.push(match entry.payload {
                    EntryPayload::Blank => Answer::Applied,
                    EntryPayload::Normal(command) => apply(&mut applied.model, index, &command),
                    EntryPayload::Membership(membership) => {
                        applied.membership = StoredMembership::new(Some(entry.log_id), membership);
                        Answer::Applied
                    }
                });
            }
        }
        if !answers.is_empty() {
            self.state.index.send_replace(index);
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, BasicNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<()> {
        let document = snapshot.into_inner();
        let applied = parse(meta, &document)
            .map_err(|error| StorageIOError::read_snapshot(Some(meta.signature()), AnyError::new(&error)))?;
        self.store(meta, document).await.map_err(|error| broken(meta, &error))?;
        self.state.replace(applied);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>> {
        let found = stored(&self.disk).map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        Ok(found.map(|Stored { meta, document, .. }| Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(document)),
        }))
    }
}
