//! What the invariants of a simulation may know and no program can.

use std::collections::BTreeMap;

use clusterctl_proto::gtid::GtidSet;

use super::data::Trx;
use super::group::Event;
use super::server::Server;
use super::world::{Id, World};

/// One lineage: a bootstrap of a group, or a forced membership.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lineage {
    /// In the order in which they began.
    pub number: u64,
    /// First part of the view ids.
    pub prefix: u64,
    /// The view's counter at which the membership was forced.
    pub forced: Option<u64>,
    /// The lineage of the data with which it began.
    pub parent: Option<u64>,
}

/// A transaction by its identity, which no other has, also under the same GTID.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Row {
    /// Unique among all transactions of the simulation.
    pub transaction: u64,
    /// What the client wrote; none: written by a tool.
    pub row: Option<u64>,
    /// Statement, for a story.
    pub what: String,
    /// Host on which it was written.
    pub origin: String,
}

impl World {
    /// A client's write would be acknowledged now; the lineage that it goes into, none: it stays on this server.
    pub fn writable(&self, id: Id) -> Option<Option<Lineage>> {
        let server = self.servers.get(id)?;
        let process = server.process.as_ref()?;
        let open = |name| process.vars.is_off(name);
        let is_open =
            process.ready && !process.frozen && open("super_read_only") && open("read_only") && open("offline_mode");
        if !is_open || !server.powered {
            return None;
        }
        let Some(member) = process.gr.member() else {
            return process.gr.is_offline().then_some(None);
        };
        let group = self.groups.get(&member.group)?;
        let quorum = self.quorum(member.group)?;
        // What the group has agreed on and has not come here yet comes before any write: then another leads.
        let to_come = group.log.get(member.delivered..).unwrap_or_default();
        let is_deposed = |event: &Event| matches!(event, Event::Primary(primary) if *primary != Some(id));
        if to_come.iter().any(is_deposed) {
            return None;
        }
        (member.online && quorum.contains(&id)).then_some(Some(group.lineage))
    }
}

impl Trx {
    pub(crate) fn shown(&self) -> Row {
        Row {
            transaction: self.id,
            row: self.work.row,
            what: self.work.what.clone(),
            origin: self.origin.clone(),
        }
    }
}

impl Server {
    /// What it executed, by GTID.
    pub fn rows(&self) -> BTreeMap<String, Row> {
        let world = self.net().lock();
        let all = world.servers[self.id].disk.executed.values();
        all.map(|trx| (trx.gtid(), trx.shown())).collect()
    }

    /// The first GTID under which another server holds another transaction than this one; none: they agree where both hold one.
    pub fn diverges(&self, other: &Self) -> Option<(String, Row, Row)> {
        let world = self.net().lock();
        let theirs = &world.servers[other.id].disk.executed;
        let own = world.servers[self.id].disk.executed.iter();
        let mut differing = own.filter_map(|(key, trx)| Some((trx, theirs.get(key)?)));
        let (one, two) = differing.find(|(one, two)| one.id != two.id)?;
        Some((one.gtid(), one.shown(), two.shown()))
    }

    /// It holds a client's row, executed or received.
    pub fn holds(&self, row: u64) -> bool {
        let world = self.net().lock();
        let disk = &world.servers[self.id].disk;
        disk.data.rows.contains(&row) || disk.received.iter().any(|trx| trx.work.row == Some(row))
    }

    /// `gtid_executed`, read beside every session.
    pub fn gtid_executed(&self) -> GtidSet {
        self.net().lock().servers[self.id].disk.gtid_executed.clone()
    }

    /// A client's write would be acknowledged now.
    pub fn takes_writes(&self) -> bool {
        self.net().lock().writable(self.id).is_some()
    }

    /// The same, and the server is outside of any group.
    pub fn takes_writes_alone(&self) -> bool {
        self.net().lock().writable(self.id) == Some(None)
    }

    /// The lineage that takes writes here; none: no writes, or outside of any group.
    pub fn writes_into(&self) -> Option<Lineage> {
        self.net().lock().writable(self.id).flatten()
    }

    /// The lineage that its data belong to: that of the group that it was ONLINE in last.
    pub fn lineage(&self) -> Option<Lineage> {
        self.net().lock().servers[self.id].disk.lineage
    }

    /// `server_uuid`.
    pub fn uuid(&self) -> String {
        self.net().lock().servers[self.id].disk.uuid.clone()
    }
}
