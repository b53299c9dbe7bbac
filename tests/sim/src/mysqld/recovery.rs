//! Distributed recovery: a member that entered gets what it lacks, by numbers, from a donor's binary log, then applies what came meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_proto::gtid::GtidSet;

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
    /// Everybody else has left: recovery is given up.
    Alone,
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
        self.apply_backlog(id, incarnation, number).await?;
        let mut wanted: Option<(Id, GtidSet)> = None;
        loop {
            let asked = wanted.as_ref().map(|(donor, _)| *donor);
            let source = self.lock().donor((id, incarnation), number, asked);
            let (donor, missing) = match source {
                Source::None => return None,
                Source::Nobody => {
                    self.pause(id, incarnation, LOOK).await?;
                    continue;
                }
                Source::Alone => {
                    let mut world = self.lock();
                    world.log(
                        id,
                        "Error",
                        "MY-011574",
                        "All donors left. Aborting group replication incremental recovery.",
                    );
                    self.leave(&mut world, id, Why::Recovery);
                    return None;
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
            if asked != Some(donor) {
                self.lock().log_donor(id, donor);
            }
            let time = self.draw(100, 300) + Duration::from_micros(300) * u32::try_from(missing).unwrap_or(u32::MAX);
            self.pause(id, incarnation, time).await?;
            let mut world = self.lock();
            // What the donor had received when it was asked first: it may not have applied all of it.
            let whole = match wanted.take().filter(|(from, _)| *from == donor) {
                Some((_, whole)) => whole,
                None => world.servers[donor].disk.held(),
            };
            if world.copy(id, donor, number) && world.servers[id].disk.gtid_executed.contains(&whole) {
                break;
            }
            wanted = Some((donor, whole));
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
    /// One that was asked before stays the donor.
    fn donor(&mut self, (id, incarnation): (Id, u64), number: u64, asked: Option<Id>) -> Source {
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
            .filter(|other| {
                self.delivered(*other) >= self.process(id).and_then(|p| p.gr.member()).map_or(0, |m| m.entered)
            })
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
        if donors.is_empty() && group.config.len() == 1 {
            return Source::Alone;
        }
        if donors.is_empty() {
            return Source::Nobody;
        }
        let place = self.rng.below(whole.len() as u64);
        let drawn = usize::try_from(place).ok().and_then(|place| whole.get(place));
        let Some(&donor) = asked.as_ref().filter(|asked| whole.contains(asked)).or(drawn) else {
            return Source::Purged;
        };
        let lacking = self.servers[donor].disk.gtid_executed.subtract(&held);
        Source::Donor(donor, u64::try_from(lacking.count()).unwrap_or(u64::MAX))
    }

    fn log_donor(&mut self, id: Id, donor: Id) {
        let from = &self.servers[donor].name;
        let line = format!(
            "'CHANGE REPLICATION SOURCE TO FOR CHANNEL 'group_replication_recovery' executed'. Previous state source_host='', source_port= 0, \
             source_log_file='', source_log_pos= 4, source_bind=''. New state source_host='{from}', source_port= 3306, source_log_file='', \
             source_log_pos= 4, source_bind=''."
        );
        self.log(id, "System", "MY-010597", &line);
    }

    fn delivered(&self, id: Id) -> usize {
        self.process(id)
            .and_then(|process| process.gr.member())
            .map_or(0, |member| member.delivered)
    }

    /// False: the donor went away meanwhile.
    fn copy(&mut self, id: Id, donor: Id, number: u64) -> bool {
        if !self.active(donor, number) || !self.linked(id, donor) {
            return false;
        }
        let own = &self.servers[id].disk.executed;
        let from = &self.servers[donor].disk;
        let purged =
            |trx: &Trx| !from.gtid_purged.is_empty() && from.gtid_purged.contains(&one(&trx.source, trx.number));
        let lacks = |trx: &&Arc<Trx>| !own.contains_key(&(trx.source.clone(), trx.number)) && !purged(trx);
        let lacking: Vec<Arc<Trx>> = from.binlog.iter().filter(lacks).cloned().collect();
        for trx in lacking {
            self.servers[id].disk.commit(&trx);
        }
        true
    }

    pub(super) fn declare_online(&mut self, id: Id, number: u64) {
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
