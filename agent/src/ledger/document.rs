//! The ledger's file: what stands in it, and what it means when it cannot be read.
//!
//! Used by `ledger.rs` only. A file that is *gone* or holds no ledger at all is lost. A file that may be whole is *unreadable*: the disk
//! does not give it, or another version wrote it. The difference matters: what is lost is rebuilt, what is unreadable is left alone.

use std::collections::BTreeMap;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::{ClusterName, Generation, PlanId, StepNumber};
use clusterctl_proto::order_proof::OrderProof;
use serde::{Deserialize, Serialize};

use super::disk::{Disk, Unread};
use crate::lineage::Record;

/// Written. Format 1 had neither proofs nor cancelled steps nor lineages; it is read as a format 2 without them.
const FORMAT: u32 = 2;
const OLDEST: u32 = 1;

/// The file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    format: u32,
    /// Set when the ledger was rebuilt after a loss: nothing below it, for any cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Generation>,
    /// Per cluster.
    pub clusters: BTreeMap<ClusterName, Entry>,
    /// Steps that are not begun any more, of generations that would still be accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<Cancelled>,
    /// It was rebuilt after a loss, and the records of lineages are gone with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rebuilt: bool,
    /// What is known of lineages, per cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lineages: BTreeMap<ClusterName, Record>,
}

/// What is remembered of one cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Newest obeyed.
    pub generation: Generation,
    /// The coordinator's signature of `generation`; none from a coordinator that does not sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<OrderProof>,
    /// Promised not to enter a group below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<Generation>,
    /// Newest by whose step this server entered its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered: Option<Generation>,
}

/// A step that was cancelled. A plan's number is the index of its generation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancelled {
    /// Its cluster.
    pub cluster: ClusterName,
    /// Epoch of its generation.
    pub epoch: u64,
    /// Its plan.
    pub plan: PlanId,
    /// Its number in the plan.
    pub step: StepNumber,
}

impl Cancelled {
    /// Generation of the plan.
    pub fn generation(&self) -> Generation {
        Generation {
            epoch: self.epoch,
            index: self.plan.0,
        }
    }
}

impl Entry {
    /// Nothing but this was obeyed.
    pub fn of(generation: Generation) -> Self {
        Self {
            generation,
            proof: None,
            promise: None,
            entered: None,
        }
    }
}

impl Document {
    /// Nothing is remembered.
    pub fn empty() -> Self {
        Self {
            format: FORMAT,
            floor: None,
            clusters: BTreeMap::new(),
            cancelled: Vec::new(),
            rebuilt: false,
            lineages: BTreeMap::new(),
        }
    }

    /// What is known of lineages of this cluster.
    pub fn lineage(&self, cluster: &ClusterName) -> Record {
        let known = self.lineages.get(cluster).cloned();
        known.unwrap_or_else(|| Record::without_memory(self.rebuilt))
    }

    /// An older order of this cluster is refused.
    pub fn newest(&self, cluster: &ClusterName) -> Option<Generation> {
        self.clusters.get(cluster).map(|entry| entry.generation).max(self.floor)
    }

    /// No group of this cluster is entered below it.
    pub fn promise(&self, cluster: &ClusterName) -> Option<Generation> {
        self.clusters
            .get(cluster)
            .and_then(|entry| entry.promise)
            .max(self.floor)
    }

    /// The generation of the step that let this server in, where nothing was promised after it.
    pub fn let_in(&self, cluster: &ClusterName) -> Option<Generation> {
        let entered = self.clusters.get(cluster)?.entered?;
        (Some(entered) >= self.promise(cluster)).then_some(entered)
    }

    /// Drops cancelled steps whose order would be refused as stale.
    pub fn prune(&mut self) {
        let mut cancelled = std::mem::take(&mut self.cancelled);
        cancelled.retain(|step| self.newest(&step.cluster) <= Some(step.generation()));
        self.cancelled = cancelled;
    }
}

/// What became of a reading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// A ledger.
    Known(Document),
    /// There is no file, or no ledger in it.
    Lost(String),
    /// The file may be whole, but this process cannot read it now.
    Unreadable(String),
}

/// Reads the file.
pub fn read(disk: &dyn Disk) -> Found {
    match disk.read() {
        Ok(bytes) => parse(&bytes),
        Err(Unread::Gone) => Found::Lost("there is no such file".to_owned()),
        Err(Unread::Unreadable(why)) => Found::Unreadable(why),
    }
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

fn parse(bytes: &[u8]) -> Found {
    let format = match serde_json::from_slice::<Head>(bytes) {
        Ok(head) => head.format,
        Err(error) => return Found::Lost(format!("there is no ledger in it: {error}")),
    };
    if !(OLDEST..=FORMAT).contains(&format) {
        return Found::Unreadable(format!("its format {format} is not known to this version of the agent"));
    }
    match serde_json::from_slice::<Document>(bytes) {
        Ok(document) => Found::Known(migrated(document)),
        Err(error) => Found::Unreadable(format!("another version of the agent wrote it: {error}")),
    }
}

/// A server that entered its group under format 1 belongs to a lineage that was not recorded.
fn migrated(mut document: Document) -> Document {
    if document.format < 2 {
        let entered = document.clusters.iter().filter(|(_, entry)| entry.entered.is_some());
        document.lineages = entered.map(|(name, _)| (name.clone(), Record::of_before())).collect();
    }
    document.format = FORMAT;
    document
}

/// Replaces the file: it is synced before this returns.
pub fn write(disk: &dyn Disk, document: &Document) -> Result<(), Failure> {
    let mut bytes = serde_json::to_vec_pretty(document)
        .map_err(|e| Failure::new("ledger_write", format!("the ledger cannot be written as JSON: {e}")))?;
    bytes.push(b'\n');
    disk.write(&bytes)
}
