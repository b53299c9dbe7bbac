//! A majority agrees on what members propose: transactions, members that have recovered, the primary.

use std::sync::Arc;
use std::time::Duration;

use super::data::Trx;
use super::group::{Event, Proposal};
use super::net::Net;
use super::world::{Id, World};

/// While a member does not answer and is not expelled yet, each agreement takes this much longer (measured: four commits a second).
const MUTE: Duration = Duration::from_millis(250);

impl Net {
    /// Agreement takes a moment.
    pub(crate) fn agree_soon(self: &Arc<Self>, world: &mut World, number: u64) {
        let Some(group) = world.groups.get(&number) else {
            return;
        };
        if group.pending.is_empty() {
            return;
        }
        let mute = group.config.iter().any(|(id, _)| !world.active(*id, number));
        let time = world.rng.ms(1, 3) + if mute { MUTE } else { Duration::ZERO };
        self.later(time, move |net, world| net.agree(world, number));
    }

    fn agree(self: &Arc<Self>, world: &mut World, number: u64) {
        let Some(quorum) = world.quorum(number) else {
            return;
        };
        let Some(group) = world.groups.get_mut(&number) else {
            return;
        };
        let mut kept = Vec::new();
        for proposal in std::mem::take(&mut group.pending) {
            let (by, incarnation) = proposal.by;
            if quorum.contains(&by) && world.lives(by, incarnation, number) {
                world.certify(number, proposal);
            } else if world.lives(by, incarnation, number) && world.has_member(number, by) {
                kept.push(proposal);
            } else {
                // Its writer is gone. It may lie in enough sockets.
                let there = quorum.intersection(&proposal.reached).count();
                if there * 2 > quorum.len() && world.rng.percent(75) {
                    world.certify(number, proposal);
                }
            }
        }
        if let Some(group) = world.groups.get_mut(&number) {
            group.pending.append(&mut kept);
        }
        self.deliver_soon(world, number);
    }
}

impl World {
    fn has_member(&self, number: u64, id: Id) -> bool {
        self.groups.get(&number).is_some_and(|group| group.has(id))
    }

    /// The transaction gets its GTID and its place.
    pub fn certify(&mut self, number: u64, proposal: Proposal) {
        let origin = self.servers[proposal.by.0].name.clone();
        let Some(group) = self.groups.get_mut(&number) else {
            return;
        };
        let (source, place) = match proposal.gtid {
            Some((source, place)) => {
                if source == group.name {
                    group.numbers.add(place, place);
                }
                (source, place)
            }
            None => (group.name.clone(), group.next_number(proposal.by.0)),
        };
        let trx = Arc::new(Trx {
            id: proposal.id,
            source,
            number: place,
            origin,
            work: proposal.work,
        });
        group.log.push(Event::Trx { trx, by: proposal.by });
    }

    /// The ONLINE member with the highest weight leads; of equals, the one with the lowest server_uuid (manual, "Single-Primary Mode").
    pub fn elect(&mut self, number: u64) {
        let rank = |world: &Self, id: Id| {
            let weight = world
                .process(id)
                .map_or(0, |process| process.vars.number("group_replication_member_weight"));
            (std::cmp::Reverse(weight), world.servers[id].disk.uuid.clone())
        };
        let Some(group) = self.groups.get(&number) else {
            return;
        };
        let next = group.online.iter().copied().min_by_key(|id| rank(self, *id));
        self.count("elected");
        if let Some(group) = self.groups.get_mut(&number) {
            group.primary = next;
            group.log.push(Event::Primary(next));
        }
    }
}
