//! What openraft asks of a log: entries by index, the vote, what was purged.
//!
//! An entry is stored as `{"v":1,"entry":…}`. `append` reports only after the commit is on disk.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, Entry, LogId, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskError, LOG, META};
use super::{NodeId, TypeConfig};

const VOTE: &str = "vote";
const PURGED: &str = "purged";
const ENTRY_VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    entry: &'a Entry<TypeConfig>,
}

#[derive(Deserialize)]
struct Read {
    #[serde(rename = "v")]
    _version: u32,
    entry: Entry<TypeConfig>,
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
                    let read: Read = serde_json::from_slice(row?.1.value())?;
                    entries.push(read.entry);
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
                    Some((_, bytes)) => Ok(Some(serde_json::from_slice::<Read>(bytes.value())?.entry.log_id)),
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
                v: ENTRY_VERSION,
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
