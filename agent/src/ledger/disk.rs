//! Where the ledger lies: reading, writing durably, the lock of the one process that writes. Used by `ledger.rs` only; the simulator brings
//! a disk of its own.

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::files;

use super::lock;

/// Far more than any ledger; a larger file is not one.
const LARGEST: u64 = 16 << 20;

/// Held for the life of the process that writes; dropping it releases the lock.
pub type Lock = Box<dyn Any + Send + Sync>;

/// A place for one ledger. Every call may block.
pub trait Disk: fmt::Debug + Send + Sync {
    /// The ledger's content.
    fn read(&self) -> Result<Vec<u8>, Unread>;

    /// Replaces it: what was written is there after a loss of power, too, once this returns. A failure leaves the old content or the
    /// new one.
    fn write(&self, bytes: &[u8]) -> Result<(), Failure>;

    /// Moves a file that holds no ledger away, for the person who asks what happened. Where that fails it stays.
    fn set_aside(&self);

    /// Takes the lock, or fails with `agent_runs`.
    fn lock(&self) -> Result<Lock, Failure>;

    /// The place, for people.
    fn place(&self) -> String;
}

/// Why there is no content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unread {
    /// There is no file.
    Gone,
    /// The file may be whole, but it cannot be read now; why.
    Unreadable(String),
}

/// A file in the state folder.
#[derive(Debug)]
pub(super) struct FileDisk {
    state_dir: PathBuf,
    path: PathBuf,
}

impl FileDisk {
    /// The ledger of this state folder.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            path: state_dir.join(super::FILE),
        }
    }

    /// Something is there, a ledger or not.
    pub(super) fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }
}

impl Disk for FileDisk {
    fn read(&self) -> Result<Vec<u8>, Unread> {
        match std::fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unread::Gone),
            Err(error) => return Err(Unread::Unreadable(error.to_string())),
            // A pipe would block the reader.
            Ok(metadata) if !metadata.is_file() => {
                return Err(Unread::Unreadable("it is not a regular file".to_owned()));
            }
            Ok(_) => {}
        }
        files::read_limited(&self.path, LARGEST).map_err(|error| Unread::Unreadable(error.source.to_string()))
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        files::write_atomic(&self.path, bytes, 0o600).map_err(|e| {
            let mut failure = Failure::from(e).transient();
            failure.code = "ledger_write".to_owned();
            failure
        })
    }

    fn set_aside(&self) {
        let aside = self.path.with_extension("json.lost");
        if let Err(error) = std::fs::rename(&self.path, &aside)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the lost ledger's file cannot be set aside");
        }
    }

    fn lock(&self) -> Result<Lock, Failure> {
        lock::take(&self.state_dir).map(|file| Box::new(file) as Lock)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}
