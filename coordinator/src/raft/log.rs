//! What openraft asks of a log: entries by index, the vote, what was purged.
//!
//! An entry is stored as `{"v":1,"entry":…}`; another version is refused. `append` reports only after the commit is on disk.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, Entry, EntryPayload, LogId, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote,
};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskError, LOG, META};
use super::document::{self, FORMAT};
use super::{NodeId, TypeConfig};

const VOTE: &str = "vote";
const PURGED: &str = "purged";
const LOG_ENTRY: &str = "log entry";

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    entry: &'a Entry<TypeConfig>,
}

/// Read before the rest of an entry.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    v: u64,
}

#[derive(Serialize, Deserialize)]
struct Read {
    v: u32,
    entry: Entry<TypeConfig>,
}

/// An entry as it is stored, if this program knows its format.
fn entry(bytes: &[u8]) -> std::result::Result<Entry<TypeConfig>, DiskError> {
    let version: Version = serde_json::from_slice(bytes)?;
    document::known_format(LOG_ENTRY, version.v)?;
    Ok(serde_json::from_slice::<Read>(bytes)?.entry)
}

/// The log in the raft file.
#[derive(Clone)]
pub struct LogStore {
    disk: Disk,
}

impl LogStore {
    /// In this file.
    pub fn new(disk: Disk) -> Self {
        Self { disk }
    }

    /// Fails when an entry, the vote or the purged position holds something that this program does not know. Once, at start: later
    /// only this program writes them.
    pub fn check(&self) -> std::result::Result<(), DiskError> {
        self.disk.read_meta::<Vote<NodeId>>(VOTE)?;
        self.disk.read_meta::<LogId<NodeId>>(PURGED)?;
        self.disk.read(|transaction| {
            for row in transaction.open_table(LOG)?.iter()? {
                let bytes = row?.1;
                let known = entry(bytes.value())?;
                if let EntryPayload::Normal(command) = &known.payload {
                    document::known_level(u64::from(command.change.needs_level()))?;
                }
                document::read::<Read>(LOG_ENTRY, bytes.value())?;
            }
            Ok(())
        })
    }
}

type Result<T> = std::result::Result<T, StorageError<NodeId>>;

fn reading(error: DiskError) -> StorageError<NodeId> {
    StorageIOError::read_logs(AnyError::new(&error)).into()
}

fn writing(error: DiskError) -> StorageError<NodeId> {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>> {
        let bounds: (Bound<u64>, Bound<u64>) = (range.start_bound().cloned(), range.end_bound().cloned());
        self.disk
            .read(|transaction| {
                let log = transaction.open_table(LOG)?;
                let mut entries = Vec::new();
                for row in log.range(bounds)? {
                    entries.push(entry(row?.1.value())?);
                }
                Ok(entries)
            })
            .map_err(reading)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>> {
        let purged: Option<LogId<NodeId>> = self.disk.read_meta(PURGED).map_err(reading)?;
        let last = self
            .disk
            .read(|transaction| {
                let log = transaction.open_table(LOG)?;
                match log.last()? {
                    Some((_, bytes)) => Ok(Some(entry(bytes.value())?.log_id)),
                    None => Ok(None),
                }
            })
            .map_err(reading)?;
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: last.or(purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<NodeId>) -> Result<()> {
        let work = async {
            let bytes = serde_json::to_vec(vote)?;
            self.disk.write_meta(vec![(VOTE, bytes)]).await
        };
        work.await
            .map_err(|error: DiskError| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<NodeId>>> {
        self.disk
            .read_meta(VOTE)
            .map_err(|error| StorageIOError::read_vote(AnyError::new(&error)).into())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<()>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut documents = Vec::new();
        for entry in entries {
            let written = Written {
                v: FORMAT,
                entry: &entry,
            };
            let bytes = serde_json::to_vec(&written).map_err(|error| writing(error.into()))?;
            documents.push((entry.log_id.index, bytes));
        }
        let done = self
            .disk
            .change(move |transaction| {
                let mut log = transaction.open_table(LOG)?;
                for (index, bytes) in &documents {
                    log.insert(index, bytes.as_slice())?;
                }
                Ok(())
            })
            .await;
        match done {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                callback.log_io_completed(Err(std::io::Error::other(error.to_string())));
                Err(writing(error))
            }
        }
    }

    async fn truncate(&mut self, log_id: LogId<NodeId>) -> Result<()> {
        self.disk
            .change(move |transaction| {
                transaction.open_table(LOG)?.retain(|index, _| index < log_id.index)?;
                Ok(())
            })
            .await
            .map_err(writing)
    }

    async fn purge(&mut self, log_id: LogId<NodeId>) -> Result<()> {
        let work = async {
            let purged = serde_json::to_vec(&log_id)?;
            self.disk
                .change(move |transaction| {
                    transaction.open_table(META)?.insert(PURGED, purged.as_slice())?;
                    transaction.open_table(LOG)?.retain_in(..=log_id.index, |_, _| false)?;
                    Ok(())
                })
                .await
        };
        work.await.map_err(writing)
    }
}
