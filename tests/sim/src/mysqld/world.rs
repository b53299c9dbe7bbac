//! Everything of the simulation behind its one lock: servers, links, groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::data::Trx;
use super::disk::{Disk, LogLine};
use super::group::Group;
use super::process::{Process, Who};
use super::rng::Rng;
use super::server::OnExit;

/// Index of a server.
pub(crate) type Id = usize;

/// Wall clock at the begin of a simulation, in microseconds since 1970.
const BEGIN: u64 = 1_795_949_000_000_000;

/// A server with its host.
pub(crate) struct State {
    pub name: String,
    pub powered: bool,
    pub process: Option<Process>,
    pub disk: Disk,
    /// The host's clock, against the true time.
    pub skew_ms: i64,
    /// Option files.
    pub options: BTreeMap<String, String>,
    /// Time for which the applier works on a transaction.
    pub lag: Duration,
    pub on_exit: Option<OnExit>,
    /// Time for which a clone copies.
    pub copy: Duration,
    /// Tables of the metadata cannot be read.
    pub metadata_breaks: bool,
    /// Who made Group Replication start here last, and when it began.
    pub started: Option<(Who, Instant)>,
}

/// The lock's content.
pub(crate) struct World {
    pub rng: Rng,
    pub epoch: Instant,
    pub servers: Vec<State>,
    pub names: BTreeMap<String, Id>,
    /// Directions in which packets are lost.
    pub cuts: BTreeSet<(String, String)>,
    pub groups: BTreeMap<u64, Group>,
    /// For identities of processes, transactions, sessions and lineages.
    last: u64,
    pub prefixes: BTreeSet<u64>,
    pub unknown: BTreeMap<String, u64>,
    pub counts: BTreeMap<&'static str, u64>,
    /// Transactions that a clone has thrown away although no other server holds them, with the host.
    pub discarded: Vec<(String, Arc<Trx>)>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            epoch: Instant::now(),
            servers: Vec::new(),
            names: BTreeMap::new(),
            cuts: BTreeSet::new(),
            groups: BTreeMap::new(),
            last: 0,
            prefixes: BTreeSet::new(),
            unknown: BTreeMap::new(),
            counts: BTreeMap::new(),
            discarded: Vec::new(),
        }
    }

    /// Something has happened that a simulation wants to have seen.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn fresh(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// What this server alone holds: the same transaction, not merely its number, is nowhere else.
    pub fn only_on(&self, id: Id) -> Vec<Arc<Trx>> {
        let others = self.servers.iter().enumerate().filter(|(other, _)| *other != id);
        let elsewhere: BTreeSet<u64> = others
            .flat_map(|(_, server)| server.disk.transactions().map(|trx| trx.id))
            .collect();
        let own = self.servers[id].disk.transactions();
        own.filter(|trx| !elsewhere.contains(&trx.id)).cloned().collect()
    }

    /// What this server received, did not apply, and no other holds is thrown away.
    pub fn discard_received(&mut self, id: Id) {
        let lost: BTreeSet<u64> = self.only_on(id).iter().map(|trx| trx.id).collect();
        let server = &self.servers[id];
        let received = server.disk.received.iter().filter(|trx| lost.contains(&trx.id));
        let discarded: Vec<_> = received.map(|trx| (server.name.clone(), Arc::clone(trx))).collect();
        self.discarded.extend(discarded);
    }

    /// Packets arrive in this direction.
    pub fn reaches(&self, from: &str, to: &str) -> bool {
        let powered = |host: &str| self.names.get(host).is_none_or(|id| self.servers[*id].powered);
        let is_cut = || self.cuts.iter().any(|(source, target)| source == from && target == to);
        from == to || powered(from) && powered(to) && !is_cut()
    }

    /// A TCP connection between two hosts works: its data are acknowledged.
    pub fn connects(&self, a: &str, b: &str) -> bool {
        self.reaches(a, b) && self.reaches(b, a)
    }

    pub fn linked(&self, a: Id, b: Id) -> bool {
        self.connects(&self.servers[a].name, &self.servers[b].name)
    }

    pub fn process(&self, id: Id) -> Option<&Process> {
        self.servers.get(id)?.process.as_ref()
    }

    pub fn process_mut(&mut self, id: Id) -> Option<&mut Process> {
        self.servers.get_mut(id)?.process.as_mut()
    }

    /// That very process, if it still runs.
    pub fn same(&mut self, id: Id, incarnation: u64) -> Option<&mut Process> {
        self.process_mut(id)
            .filter(|process| process.incarnation == incarnation)
    }

    /// Microseconds since 1970 by this server's clock.
    pub fn micros(&self, id: Id) -> u64 {
        let passed = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        let skew = self.servers[id].skew_ms.saturating_mul(1000);
        BEGIN.saturating_add(passed).saturating_add_signed(skew)
    }

    pub fn log(&mut self, id: Id, prio: &'static str, code: &'static str, data: impl Into<String>) {
        // mysqld never stamps a line earlier than the one before it, whatever was done to its clock.
        let newest = self.servers[id].disk.log.last().map_or(0, |line| line.at);
        let at = self.micros(id).max(newest + 1);
        self.servers[id].disk.log.push(LogLine {
            at,
            prio,
            code,
            data: data.into(),
        });
    }

    /// Takes part in this group: runs, is not frozen, and has not left by its own word.
    pub fn active(&self, id: Id, group: u64) -> bool {
        self.process(id)
            .is_some_and(|process| process.awake() && process.gr.member().is_some_and(|m| m.group == group))
    }

    /// It has not ended, frozen or not.
    pub fn lives(&self, id: Id, incarnation: u64, group: u64) -> bool {
        self.process(id).is_some_and(|process| {
            process.incarnation == incarnation && process.gr.member().is_some_and(|m| m.group == group)
        })
    }

    /// Members that can agree now; none: there is no majority.
    pub fn quorum(&self, number: u64) -> Option<BTreeSet<Id>> {
        let group = self.groups.get(&number)?;
        let active: Vec<Id> = group
            .config
            .iter()
            .filter(|(id, incarnation)| self.active(*id, number) && self.lives(*id, *incarnation, number))
            .map(|(id, _)| *id)
            .collect();
        let hears = |id: Id, other: Id| other == id || self.linked(id, other);
        let enough = |count: usize| count * 2 > group.config.len();
        let hears_enough = |id: &Id| enough(active.iter().filter(|other| hears(*id, **other)).count());
        let first = active.iter().copied().find(hears_enough)?;
        let heard = active.iter().copied().filter(|other| hears(first, *other));
        let set: BTreeSet<Id> = heard.filter(hears_enough).collect();
        enough(set.len()).then_some(set)
    }

    /// Groups in which nobody is any more are forgotten, with all that only their memory held.
    pub fn forget_groups(&mut self) {
        let dead: Vec<u64> = self
            .groups
            .iter()
            .filter(|(number, group)| !group.config.iter().any(|(id, inc)| self.lives(*id, *inc, **number)))
            .map(|(number, _)| *number)
            .collect();
        for number in dead {
            self.groups.remove(&number);
        }
    }
}
