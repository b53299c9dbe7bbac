//! A ledger's disk in memory, for unit tests.

use std::sync::{Arc, Mutex};

use clusterctl_proto::failure::Failure;

use super::disk::{Disk, Lock, Unread};

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Option<Vec<u8>>>>);

impl Disk for Memory {
    fn read(&self) -> Result<Vec<u8>, Unread> {
        self.0.lock().unwrap().clone().ok_or(Unread::Gone)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        *self.0.lock().unwrap() = Some(bytes.to_vec());
        Ok(())
    }

    fn set_aside(&self) {
        *self.0.lock().unwrap() = None;
    }

    fn lock(&self) -> Result<Lock, Failure> {
        Ok(Box::new(()))
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}
