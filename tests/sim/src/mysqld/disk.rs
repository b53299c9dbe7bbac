//! What survives `kill -9` and a loss of power.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use clusterctl_proto::gtid::GtidSet;

use super::data::{Data, Trx};
use super::numbers::one;
use super::truth::Lineage;

/// A line of `performance_schema.error_log`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogLine {
    /// Microseconds since 1970 by the server's clock.
    pub at: u64,
    pub prio: &'static str,
    pub code: &'static str,
    pub data: String,
}

/// The last clone into this server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CloneNote {
    pub state: &'static str,
    pub source: String,
    pub error: u16,
    pub message: String,
    pub gtid: String,
    /// Microseconds since 1970.
    pub began: u64,
    pub session: u64,
}

/// A data directory. `sync_binlog` and `innodb_flush_log_at_trx_commit` are 1.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub uuid: String,
    pub data: Data,
    /// Content of what was executed here, by source and number.
    pub executed: BTreeMap<(String, u64), Arc<Trx>>,
    /// The same in the order of the commits.
    pub binlog: Vec<Arc<Trx>>,
    pub gtid_executed: GtidSet,
    pub gtid_purged: GtidSet,
    /// Relay log of the group's channel: received and not applied.
    pub received: VecDeque<Arc<Trx>>,
    /// All that this channel has ever received.
    pub gtid_received: GtidSet,
    /// How many of `received` are not certainly on the disk.
    pub unsynced: usize,
    pub channels: BTreeSet<&'static str>,
    /// mysqld-auto.cnf.
    pub persisted: BTreeMap<String, String>,
    pub log: Vec<LogLine>,
    pub clone: Option<CloneNote>,
    pub lineage: Option<Lineage>,
    /// The next transaction that the applier takes cannot be applied.
    pub applier_breaks: bool,
    /// Numbers of transactions that this server writes outside of a group.
    pub own: u64,
}

impl Disk {
    /// Commits a transaction; one whose GTID is there already is skipped, as GTIDs have it. False: skipped.
    pub fn commit(&mut self, trx: &Arc<Trx>) -> bool {
        let key = (trx.source.clone(), trx.number);
        if self.executed.contains_key(&key) {
            return false;
        }
        (trx.work.change)(&mut self.data);
        self.executed.insert(key, Arc::clone(trx));
        self.binlog.push(Arc::clone(trx));
        self.gtid_executed = self.gtid_executed.union(&one(&trx.source, trx.number));
        true
    }

    /// The group's channel has received it.
    pub fn receive(&mut self, trx: &Arc<Trx>) {
        self.gtid_received = self.gtid_received.union(&one(&trx.source, trx.number));
        self.received.push_back(Arc::clone(trx));
        self.unsynced = (self.unsynced + 1).min(self.received.len());
    }

    /// Every transaction that is here, executed or received.
    pub fn transactions(&self) -> impl Iterator<Item = &Arc<Trx>> {
        self.executed.values().chain(&self.received)
    }

    /// Executed and received.
    pub fn held(&self) -> GtidSet {
        self.gtid_executed.union(&self.gtid_received)
    }

    /// Power is lost: of the relay log's end, this many were not written yet.
    pub fn lose_tail(&mut self, lost: usize) {
        for _ in 0..lost.min(self.unsynced).min(self.received.len()) {
            if let Some(trx) = self.received.pop_back() {
                self.gtid_received = self.gtid_received.subtract(&one(&trx.source, trx.number));
            }
        }
        self.unsynced = 0;
    }
}
