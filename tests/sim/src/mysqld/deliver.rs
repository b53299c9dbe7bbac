//! What the group agreed on comes to its members, in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::group::Event;
use super::member::View;
use super::net::Net;
use super::world::{Id, World};

impl Net {
    pub(crate) fn deliver_soon(self: &Arc<Self>, world: &mut World, number: u64) {
        let time = world.rng.ms(1, 4);
        self.later(time, move |net, world| net.deliver(world, number));
    }

    /// To every member that takes part in the majority.
    pub(crate) fn deliver(self: &Arc<Self>, world: &mut World, number: u64) {
        for id in world.quorum(number).unwrap_or_default() {
            self.deliver_to(world, id, number);
        }
    }

    /// All that this member has not got yet.
    pub(crate) fn deliver_to(self: &Arc<Self>, world: &mut World, id: Id, number: u64) {
        let (Some(group), Some(member)) = (world.groups.get(&number), world.process(id).and_then(|p| p.gr.member()))
        else {
            return;
        };
        if member.group != number || member.delivered >= group.log.len() {
            return;
        }
        let events = group.log[member.delivered..].to_vec();
        if let Some(member) = world.process_mut(id).and_then(|process| process.gr.member_mut()) {
            member.delivered += events.len();
        }
        for event in events {
            self.handle(world, id, event);
        }
        self.apply_soon(world, id);
    }

    fn handle(self: &Arc<Self>, world: &mut World, id: Id, event: Event) {
        match event {
            Event::View { counter, members } => world.install(id, counter, members),
            Event::Online(who) => world.recovered(id, who),
            Event::Primary(primary) => {
                let Some(process) = world.process_mut(id) else { return };
                let Some(member) = process.gr.member_mut() else { return };
                member.view.primary = primary;
                if primary == Some(id) {
                    let incarnation = process.incarnation;
                    self.open_soon(world, id, incarnation);
                } else {
                    process.vars.close();
                }
            }
            Event::Trx { trx, by } => {
                let Some(incarnation) = world.process(id).map(|process| process.incarnation) else {
                    return;
                };
                if by == (id, incarnation) {
                    world.servers[id].disk.commit(&trx);
                    let client = world
                        .process_mut(id)
                        .and_then(|process| process.waiting.remove(&trx.id));
                    if let Some(client) = client {
                        let _ = client.send(Ok(trx.gtid()));
                    }
                } else {
                    world.servers[id].disk.receive(&trx);
                }
            }
        }
    }

    /// The primary takes writes when it has applied what it had received.
    fn open_soon(self: &Arc<Self>, world: &mut World, id: Id, incarnation: u64) {
        let time = world.rng.ms(40, 150);
        self.later(time, move |net, world| net.open(world, id, incarnation));
    }

    fn open(self: &Arc<Self>, world: &mut World, id: Id, incarnation: u64) {
        let waits = !world.servers[id].disk.received.is_empty();
        let Some(process) = world.same(id, incarnation) else {
            return;
        };
        let Some(member) = process.gr.member() else { return };
        if member.view.primary != Some(id) {
            return;
        }
        if waits || process.frozen || !member.online {
            self.later(Duration::from_millis(50), move |net, world| {
                net.open(world, id, incarnation)
            });
            return;
        }
        process.vars.open();
    }
}

impl World {
    fn install(&mut self, id: Id, counter: u64, members: Vec<Id>) {
        let now = Instant::now();
        let Some(member) = self.process_mut(id).and_then(|process| process.gr.member_mut()) else {
            return;
        };
        for other in &members {
            member.heard.entry(*other).or_insert(now);
        }
        member.heard.retain(|other, _| members.contains(other));
        member.view.online.retain(|other| members.contains(other));
        member.view.counter = counter;
        member.view.members = members;
        self.log_view(id);
    }

    /// The line of the server's log that tells the view.
    pub fn log_view(&mut self, id: Id) {
        if let Some(member) = self.process(id).and_then(|process| process.gr.member()) {
            let view = member.view.clone();
            self.log_installed(id, &view);
        }
    }

    /// The same for a view of which the server was no member yet.
    pub fn log_installed(&mut self, id: Id, view: &View) {
        let names: Vec<String> = view
            .members
            .iter()
            .map(|other| format!("{}:3306", self.servers[*other].name))
            .collect();
        let line = format!(
            "Plugin group_replication reported: 'Group membership changed to {} on view {}.'",
            names.join(", "),
            view.id()
        );
        self.log(id, "System", "MY-011503", line);
    }

    fn recovered(&mut self, id: Id, who: Id) {
        let lineage = |world: &Self, group: u64| world.groups.get(&group).map(|group| group.lineage);
        let Some(member) = self.process_mut(id).and_then(|process| process.gr.member_mut()) else {
            return;
        };
        member.view.online.insert(who);
        if who == id {
            member.online = true;
            let group = member.group;
            self.servers[id].disk.lineage = lineage(self, group);
        }
    }

    /// Takes members out of a group; a lost primary is replaced. The caller knows that a majority agrees.
    pub fn remove_members(&mut self, number: u64, gone: &BTreeSet<Id>) {
        let Some(group) = self.groups.get_mut(&number) else {
            return;
        };
        group.drop_members(gone);
        group.install();
        if group.primary.is_none_or(|primary| gone.contains(&primary)) {
            self.elect(number);
        }
    }
}
