//! Distributed recovery: a member that entered gets what it lacks, by numbers, from a donor's binary log, then applies what came meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::data::Trx;
use super::group::Event;
use super::leave::Why;
use super::net::Net;
use super::numbers::one;
use super::world::{Id, World};

/// Between tries to find a donor.
const LOOK: Duration = Duration::from_millis(500);

enum Source {
    /// The member has left, or the process has ended.
    None,
    /// Nobody can give now.
    Nobody,
    /// Every donor has purged what is needed.
    Purged,
    /// This one, and how many transactions.
    Donor(Id, u64),
}

impl Net {
    pub(crate) fn recover(self: &Arc<Self>, world: &mut World, id: Id, incarnation: u64, number: u64) {
        let net = Arc::clone(self);
        let work = async move {
            net.run_recovery(id, incarnation, number).await;
        };
        self.task(world, id, work);
    }

    async fn run_recovery(self: &Arc<Self>, id: Id, incarnation: u64, number: u64) -> Option<()> {
        loop {
            let source = self.lock().donor(id, incarnation, number);
            let (donor, missing) = match source {
                Source::None => return None,
                Source::Nobody => {
                    self.pause(id, incarnation, LOOK).await?;
                    continue;
                }
                Source::Purged => {
                    let mut world = self.lock();
                    let text = "Got fatal error 1236 from source: Cannot replicate because the source purged required binary logs.";
                    if let Some(process) = world.same(id, incarnation) {
                        process.channel_error = Some(("group_replication_recovery", 13114, text.to_owned()));
                    }
                    self.leave(&mut world, id, Why::Recovery);
                    return None;
                }
                Source::Donor(donor, missing) => (donor, missing),
            };
            let time = self.draw(100, 300) + Duration::from_micros(300) * u32::try_from(missing).unwrap_or(u32::MAX);
            self.pause(id, incarnation, time).await?;
            if self.lock().copy(id, donor, number) {
                break;
            }
        }
        if let Some(process) = self.lock().same(id, incarnation) {
            process.applier = true;
        }
        self.applied(id, incarnation).await?;
        loop {
            {
                let mut world = self.lock();
                if !world.lives(id, incarnation, number) {
                    return None;
                }
                if world.quorum(number).is_some_and(|quorum| quorum.contains(&id)) {
                    world.declare_online(id, number);
                    self.deliver_soon(&mut world, number);
                    return Some(());
                }
            }
            self.pause(id, incarnation, LOOK).await?;
        }
    }
}

impl World {
    fn donor(&mut self, id: Id, incarnation: u64, number: u64) -> Source {
        if !self.lives(id, incarnation, number) {
            return Source::None;
        }
        let Some(group) = self.groups.get(&number) else {
            return Source::None;
        };
        let held = self.servers[id].disk.gtid_executed.clone();
        let donors: Vec<Id> = group
            .online
            .iter()
            .copied()
            .filter(|other| *other != id && self.active(*other, number) && self.linked(id, *other))
            .collect();
        let lacking = |donor: Id| self.servers[donor].disk.gtid_executed.subtract(&held);
        let whole: Vec<Id> = donors
            .iter()
            .copied()
            .filter(|donor| {
                lacking(*donor)
                    .intersect(&self.servers[*donor].disk.gtid_purged)
                    .is_empty()
            })
            .collect();
        if donors.is_empty() {
            return Source::Nobody;
        }
        let place = self.rng.below(whole.len() as u64);
        let Some(&donor) = usize::try_from(place).ok().and_then(|place| whole.get(place)) else {
            return Source::Purged;
        };
        let lacking = self.servers[donor].disk.gtid_executed.subtract(&held);
        Source::Donor(donor, u64::try_from(lacking.count()).unwrap_or(u64::MAX))
    }

    /// False: the donor went away meanwhile.
    fn copy(&mut self, id: Id, donor: Id, number: u64) -> bool {
        if !self.active(donor, number) || !self.linked(id, donor) {
            return false;
        }
        let held = self.servers[id].disk.gtid_executed.clone();
        let from = &self.servers[donor].disk;
        let lacking: Vec<Arc<Trx>> = from
            .binlog
            .iter()
            .filter(|trx| {
                let gtid = one(&trx.source, trx.number);
                !held.contains(&gtid) && !from.gtid_purged.contains(&gtid)
            })
            .cloned()
            .collect();
        for trx in lacking {
            self.servers[id].disk.commit(&trx);
        }
        true
    }

    fn declare_online(&mut self, id: Id, number: u64) {
        let Some(group) = self.groups.get_mut(&number) else {
            return;
        };
        group.online.insert(id);
        group.log.push(Event::Online(id));
        let leads = group
            .primary
            .is_some_and(|primary| BTreeSet::contains(&group.online, &primary));
        if !leads {
            self.elect(number);
        }
    }
}
