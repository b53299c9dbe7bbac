//! The file that holds log, vote and snapshot: `raft.redb` in the data directory.
//!
//! Every document in it is JSON, so that a support case can be read; the header says which format it is and whose. A
//! commit is on disk when it returns.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) const LOG: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("log");
pub(super) const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");

/// Format of the documents that this release writes.
const FORMAT: u32 = 1;
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

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// From redb.
    #[error("the raft file cannot be read or written: {0}")]
    Database(#[source] Box<redb::Error>),
    /// A document that cannot be read.
    #[error("a document in the raft file is not readable: {0}")]
    Document(#[from] serde_json::Error),
    /// Of a later release.
    #[error("the raft file has format {found}, this release knows {FORMAT}: it was written by a later release")]
    Format {
        /// What it says.
        found: u32,
    },
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
from_redb!(
    redb::DatabaseError,
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
                Some(bytes) => Some(serde_json::from_slice(bytes.value())?),
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
                Some(found) if found.format > FORMAT => return Err(DiskError::Format { found: found.format }),
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
    pub(super) fn read_meta<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, DiskError> {
        let transaction = self.database.begin_read()?;
        let meta = transaction.open_table(META)?;
        match meta.get(key)? {
            Some(bytes) => Ok(Some(serde_json::from_slice(bytes.value())?)),
            None => Ok(None),
        }
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
