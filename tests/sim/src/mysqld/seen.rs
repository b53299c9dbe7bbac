//! What a simulation asks of the truth about one server, beside its sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use super::process::Who;
use super::server::Server;
use super::truth::Lineage;

impl Server {
    /// The lineage of the group in which it is ONLINE, by its own view; none: it is in none, recovers, or its process has ended.
    pub fn online_in(&self) -> Option<Lineage> {
        let world = self.net().lock();
        let member = world.process(self.id)?.gr.member().filter(|member| member.online)?;
        world.groups.get(&member.group).map(|group| group.lineage)
    }

    /// It is a member of this lineage's group, ONLINE or not.
    pub fn takes_part_in(&self, lineage: &Lineage) -> bool {
        let world = self.net().lock();
        let group = world
            .process(self.id)
            .and_then(|process| process.gr.member())
            .map(|member| member.group);
        group
            .and_then(|group| world.groups.get(&group))
            .is_some_and(|group| group.lineage == *lineage)
    }

    /// How long ago this process came to set the bootstrap flag ON; none: it never did.
    pub fn flag_on_for(&self) -> Option<Duration> {
        let world = self.net().lock();
        Some(world.process(self.id)?.flag_on?.elapsed())
    }

    /// Who made Group Replication start here last, and how long ago it began.
    pub fn started(&self) -> Option<(Who, Duration)> {
        let (who, at) = self.net().lock().servers[self.id].started?;
        Some((who, at.elapsed()))
    }

    /// Its process is frozen.
    pub fn is_frozen(&self) -> bool {
        self.net().lock().process(self.id).is_some_and(|process| process.frozen)
    }

    /// Those of these rows of clients that it does not hold, executed or received.
    pub fn lacks(&self, rows: &BTreeSet<u64>) -> Vec<u64> {
        let world = self.net().lock();
        let disk = &world.servers[self.id].disk;
        let received: BTreeSet<u64> = disk.received.iter().filter_map(|trx| trx.work.row).collect();
        let not_executed = rows.difference(&disk.data.rows);
        not_executed.filter(|row| !received.contains(row)).copied().collect()
    }
}
