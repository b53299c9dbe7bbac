//! The file that holds log, vote and snapshot: `raft.redb` in the data directory.
//!
//! Every document in it is JSON, so that a support case can be read; the header says which format it is and whose. A
//! commit is on disk when it returns.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::document::{self, FORMAT};
use crate::model::FEATURE_LEVEL;

pub(super) const LOG: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("log");
pub(super) const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");

const HEADER: &str = "header";

/// Enough for a log of small entries; redb's default is a GiB.
const CACHE_BYTES: usize = 2 * 1024 * 1024;

/// What the file says of itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Header {
    /// Of the documents.
    pub format: u32,
    /// The coordinator group.
    pub group: uuid::Uuid,
    /// The coordinator.
    pub node: super::NodeId,
}

/// Read before the rest of the header.
#[derive(Deserialize)]
struct HeaderFormat {
    #[serde(default)]
    format: u64,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// From redb.
    #[error("the raft file cannot be read or written: {0}")]
    Database(#[source] Box<redb::Error>),
    /// A document that cannot be read.
    #[error("a document in the raft file is not readable: {0}")]
    Document(#[from] serde_json::Error),
    /// Another process has it open.
    #[error("another process uses the raft file")]
    InUse,
    /// A document of another release.
    #[error(
        "a document in the raft file ({what}) has format {found}, this program knows format {FORMAT} only: another release wrote it"
    )]
    Format {
        /// The document.
        what: &'static str,
        /// Its format.
        found: u64,
    },
    /// A model that needs a later release.
    #[error(
        "the raft file needs feature level {found}, this program knows levels up to {FEATURE_LEVEL}: a later release wrote it"
    )]
    FeatureLevel {
        /// Its level.
        found: u64,
    },
    /// Something that this program would drop.
    #[error(
        "a document in the raft file ({what}) holds {field:?}, which this program does not know: a later release wrote it"
    )]
    UnknownField {
        /// The document.
        what: &'static str,
        /// Path of the field in it.
        field: String,
    },
    /// Snapshot and meta were not written together.
    #[error("the snapshot in the raft file ends at another log entry than its description says: the file is damaged")]
    Torn,
    /// A disk from elsewhere.
    #[error(
        "the raft file belongs to coordinator {found_node} of group {found}, this directory to coordinator {node} of group \
         {wanted}: it was copied from another machine"
    )]
    Foreign {
        /// Its group.
        found: uuid::Uuid,
        /// Its node.
        found_node: super::NodeId,
        /// Ours.
        wanted: uuid::Uuid,
        /// Ours.
        node: super::NodeId,
    },
    /// The thread that wrote is gone.
    #[error("the thread that works on the raft file ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for DiskError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )*};
}
impl From<redb::DatabaseError> for DiskError {
    fn from(error: redb::DatabaseError) -> Self {
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            other => Self::Database(Box::new(other.into())),
        }
    }
}
from_redb!(
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

/// The open file.
#[derive(Clone)]
pub struct Disk {
    database: Arc<Database>,
}

impl Disk {
    /// Makes the file, or opens the one that is there if it is ours.
    pub fn open(path: &Path, group: uuid::Uuid, node: super::NodeId) -> Result<Self, DiskError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        let disk = Self {
            database: Arc::new(database),
        };
        let transaction = disk.database.begin_write()?;
        {
            transaction.open_table(LOG)?;
            let mut meta = transaction.open_table(META)?;
            let found: Option<Header> = match meta.get(HEADER)? {
                Some(bytes) => {
                    let format: HeaderFormat = serde_json::from_slice(bytes.value())?;
                    document::known_format(HEADER, format.format)?;
                    Some(document::read(HEADER, bytes.value())?)
                }
                None => None,
            };
            match found {
                None => {
                    let header = serde_json::to_vec(&Header {
                        format: FORMAT,
                        group,
                        node,
                    })?;
                    meta.insert(HEADER, header.as_slice())?;
                }
                Some(found) if found.group != group || found.node != node => {
                    return Err(DiskError::Foreign {
                        found: found.group,
                        found_node: found.node,
                        wanted: group,
                        node,
                    });
                }
                Some(_) => {}
            }
        }
        transaction.commit()?;
        Ok(disk)
    }

    /// Tells when nobody uses the file any more.
    pub(super) fn watch_closing(&self) -> std::sync::Weak<Database> {
        Arc::downgrade(&self.database)
    }

    /// A document of the table `meta`.
    pub(super) fn read_meta<T: DeserializeOwned + Serialize>(&self, key: &'static str) -> Result<Option<T>, DiskError> {
        let [bytes] = self.read_together([key])?;
        bytes.map(|bytes| document::read(key, &bytes)).transpose()
    }

    /// Documents of the table `meta` as one transaction left them.
    pub(super) fn read_together<const N: usize>(
        &self,
        keys: [&'static str; N],
    ) -> Result<[Option<Vec<u8>>; N], DiskError> {
        let transaction = self.database.begin_read()?;
        let meta = transaction.open_table(META)?;
        let mut found = [const { None }; N];
        for (place, key) in found.iter_mut().zip(keys) {
            *place = meta.get(key)?.map(|bytes| bytes.value().to_vec());
        }
        Ok(found)
    }

    /// Writes documents of the table `meta`, all or nothing.
    pub(super) async fn write_meta(&self, documents: Vec<(&'static str, Vec<u8>)>) -> Result<(), DiskError> {
        self.change(move |transaction| {
            let mut meta = transaction.open_table(META)?;
            for (key, bytes) in &documents {
                meta.insert(*key, bytes.as_slice())?;
            }
            Ok(())
        })
        .await
    }

    /// One write transaction, on a thread that may block on the disk.
    pub(super) async fn change<F>(&self, work: F) -> Result<(), DiskError>
    where
        F: FnOnce(&redb::WriteTransaction) -> Result<(), DiskError> + Send + 'static,
    {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || {
            let transaction = database.begin_write()?;
            work(&transaction)?;
            transaction.commit()?;
            Ok(())
        })
        .await?
    }

    /// One read transaction.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&redb::ReadTransaction) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        work(&self.database.begin_read()?)
    }
}
