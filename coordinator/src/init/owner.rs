//! `owner.json`: whose data directory it is. Written last by `init`: without it nothing here is taken as complete.

use std::net::IpAddr;
use std::path::Path;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::files;
use serde::{Deserialize, Serialize};

use crate::raft::NodeId;

const FILE: &str = "owner.json";
const BEGUN: &str = "init.json";
const FORMAT: u32 = 1;
const PROGRAM: &str = "clusterctl-coordinator";
const LIMIT: u64 = 64 * 1024;

/// The coordinator that the directory belongs to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Owner {
    /// Of the directory.
    pub format: u32,
    /// Ours.
    pub program: String,
    /// Coordinator group.
    pub group: uuid::Uuid,
    /// Coordinator.
    pub node: NodeId,
    /// Addresses that others are told.
    pub addresses: Vec<IpAddr>,
}

impl Owner {
    /// For a new directory.
    pub fn new(group: uuid::Uuid, node: NodeId, addresses: Vec<IpAddr>) -> Self {
        Self {
            format: FORMAT,
            program: PROGRAM.to_owned(),
            group,
            node,
            addresses,
        }
    }

    /// Of a directory whose `init` ended.
    pub fn read(directory: &Path) -> Result<Option<Self>, Failure> {
        read(&directory.join(FILE))
    }

    /// As [`Owner::read`], where it must be there.
    pub fn require(directory: &Path) -> Result<Self, Failure> {
        Self::read(directory)?.ok_or_else(|| {
            Failure::new(
                "not_initialised",
                format!("{} holds no coordinator", directory.display()),
            )
            .hint("on the first host, as root: clusterctl init")
            .exit(ExitClass::Refused)
        })
    }

    /// Says that `init` ended.
    pub fn write(&self, directory: &Path) -> Result<(), Failure> {
        write(self, &directory.join(FILE))
    }

    /// Of a directory whose `init` was begun: the same group goes on.
    pub fn read_begun(directory: &Path) -> Result<Option<Self>, Failure> {
        read(&directory.join(BEGUN))
    }

    /// Says that `init` began.
    pub fn write_begun(&self, directory: &Path) -> Result<(), Failure> {
        write(self, &directory.join(BEGUN))
    }

    /// Forgets that `init` began, after it ended.
    pub fn remove_begun(directory: &Path) -> Result<(), Failure> {
        files::remove_if_there(&directory.join(BEGUN))?;
        Ok(())
    }
}

fn write(owner: &Owner, path: &Path) -> Result<(), Failure> {
    let json = serde_json::to_vec_pretty(owner).map_err(|error| Failure::new("file_error", error.to_string()))?;
    files::write_atomic(path, &json, 0o600)?;
    Ok(())
}

fn read(path: &Path) -> Result<Option<Owner>, Failure> {
    let bytes = match files::read_limited(path, LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let foreign = |why: String| {
        Failure::new("foreign_data", format!("{} is not ours: {why}", path.display()))
            .hint("name another data directory, or move this one away")
            .exit(ExitClass::Refused)
    };
    let owner: Owner = serde_json::from_slice(&bytes).map_err(|error| foreign(error.to_string()))?;
    if owner.program != PROGRAM {
        return Err(foreign(format!("it belongs to {}", owner.program)));
    }
    if owner.format > FORMAT {
        return Err(foreign(format!("format {} is of a later release", owner.format)));
    }
    Ok(Some(owner))
}
