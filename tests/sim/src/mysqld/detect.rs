//! Failure detection: who is heard, who is expelled, who has lost the majority.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::leave::Why;
use super::net::Net;
use super::world::{Id, World};

/// Silence after which a member is UNREACHABLE.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);
/// From then until it is expelled, with an expel timeout of 0.
const EXPEL: Duration = Duration::from_millis(700);
/// How long a thawed member shows the view that the others have left.
const STALE: Duration = Duration::from_secs(2);

/// What the server's log tells of its majority.
#[derive(Clone, Copy)]
pub(crate) enum Majority {
    Lost,
    BackByItself,
    Forced,
}

impl Net {
    /// Every failure detector looks.
    pub(crate) fn tick(self: &Arc<Self>, world: &mut World) {
        let members: Vec<(Id, u64)> = (0..world.servers.len())
            .filter_map(|id| Some((id, world.process(id)?.gr.member()?.group)))
            .collect();
        for (id, group) in members {
            if world.active(id, group) {
                world.listen(id, group);
                self.judge_itself(world, id, group);
            }
        }
        let groups: Vec<u64> = world.groups.keys().copied().collect();
        for group in groups {
            world.fill_sockets(group);
            world.try_to_agree(group);
            self.expel(world, group);
            self.deliver(world, group);
        }
        world.forget_groups();
    }

    /// A member that hears no majority for too long leaves, and so does one that learns that it was expelled.
    fn judge_itself(self: &Arc<Self>, world: &mut World, id: Id, number: u64) {
        let now = Instant::now();
        let patience = world.process(id).map_or(0, |process| {
            process.vars.number("group_replication_unreachable_majority_timeout")
        });
        let unreachable = world.unreachable(id);
        let is_out = world.is_out(id, number) && world.hears_the_group(id, number);
        let Some(member) = world.process_mut(id).and_then(|process| process.gr.member_mut()) else {
            return;
        };
        if member.forcing {
            return;
        }
        if is_out {
            let since = *member.expelled.get_or_insert(now);
            if now.duration_since(since) >= STALE {
                self.leave(world, id, Why::Expelled);
            }
            return;
        }
        member.expelled = None;
        let heard = member.view.members.len().saturating_sub(unreachable.len());
        if heard * 2 > member.view.members.len() {
            if member.alone.take().is_some() {
                world.log_majority(id, Majority::BackByItself);
            }
            return;
        }
        let since = match member.alone {
            Some(since) => since,
            None => {
                member.alone = Some(now);
                world.log_majority(id, Majority::Lost);
                now
            }
        };
        if patience > 0 && now.duration_since(since) >= Duration::from_secs(patience) {
            self.leave(world, id, Why::Alone);
        }
    }

    /// The first member that hears a majority has the silent ones taken out.
    fn expel(self: &Arc<Self>, world: &mut World, number: u64) {
        let Some(quorum) = world.quorum(number) else {
            return;
        };
        let Some(group) = world.groups.get(&number) else {
            return;
        };
        let first = group.config.iter().map(|(id, _)| *id).find(|id| quorum.contains(id));
        let Some(member) = first.and_then(|id| world.process(id)?.gr.member()) else {
            return;
        };
        let now = Instant::now();
        let timeout = first.and_then(|id| world.process(id)).map_or(0, |process| {
            process.vars.number("group_replication_member_expel_timeout")
        });
        // The thread that looks at suspicions sleeps for 15 s between looks, unless the timeout is 0.
        let patience = if timeout == 0 { EXPEL } else { Duration::from_secs(15) };
        let silent = |id: &Id| {
            member
                .heard
                .get(id)
                .is_some_and(|heard| now.duration_since(*heard) >= SILENCE + patience)
        };
        let gone: BTreeSet<Id> = group
            .config
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| !quorum.contains(id) && silent(id))
            .collect();
        if gone.is_empty() {
            return;
        }
        world.remove_members(number, &gone);
        self.deliver_soon(world, number);
        self.agree_soon(world, number);
    }
}

impl World {
    /// Each member has something to tell the others each moment: it is agreed on, or tried again.
    fn try_to_agree(&mut self, number: u64) {
        let quorum = self.quorum(number).unwrap_or_default();
        let config = self.groups.get(&number).map(|group| group.config.clone());
        for (id, _) in config.unwrap_or_default() {
            let now = self.micros(id);
            if !self.active(id, number) {
                continue;
            }
            let Some(member) = self.process_mut(id).and_then(|process| process.gr.member_mut()) else {
                continue;
            };
            if quorum.contains(&id) {
                member.agreed = now;
            } else {
                member.tried += 1;
            }
        }
    }

    /// As measured (docs/lineages.md): by itself it is back only after another one was reached again.
    pub fn log_majority(&mut self, id: Id, majority: Majority) {
        let lines: &[(&str, &str)] = match majority {
            Majority::Lost => &[(
                "MY-011496",
                "This server is not able to reach a majority of members in the group.",
            )],
            Majority::BackByItself => &[
                ("MY-011494", "A member is reachable again."),
                (
                    "MY-011498",
                    "The member has resumed contact with a majority of the members in the group.",
                ),
            ],
            Majority::Forced => &[(
                "MY-011498",
                "The member has resumed contact with a majority of the members in the group.",
            )],
        };
        for (code, line) in lines {
            let line = format!("Plugin group_replication reported: '{line}'");
            self.log(id, "Warning", code, line);
        }
    }

    /// Members that this one does not hear any more.
    pub fn unreachable(&self, id: Id) -> BTreeSet<Id> {
        let Some(member) = self.process(id).and_then(|process| process.gr.member()) else {
            return BTreeSet::new();
        };
        let now = Instant::now();
        let heard = |other: &Id| member.heard.get(other).copied().unwrap_or(now);
        let others = member.view.members.iter().copied().filter(|other| *other != id);
        others
            .filter(|other| now.duration_since(heard(other)) >= SILENCE)
            .collect()
    }

    fn listen(&mut self, id: Id, group: u64) {
        let now = Instant::now();
        let Some(member) = self.process(id).and_then(|process| process.gr.member()) else {
            return;
        };
        let heard: Vec<Id> = member
            .view
            .members
            .iter()
            .copied()
            .filter(|other| *other == id || self.active(*other, group) && self.linked(id, *other))
            .filter(|other| *other == id || self.is_same_incarnation(*other, group))
            .collect();
        if let Some(member) = self.process_mut(id).and_then(|process| process.gr.member_mut()) {
            for other in heard {
                member.heard.insert(other, now);
            }
        }
    }

    fn is_same_incarnation(&self, id: Id, number: u64) -> bool {
        let Some(group) = self.groups.get(&number) else {
            return false;
        };
        let known = group.config.iter().find(|(member, _)| *member == id);
        known.is_some_and(|(_, incarnation)| self.lives(id, *incarnation, number))
    }

    /// The group went on without it.
    fn is_out(&self, id: Id, number: u64) -> bool {
        let incarnation = self.process(id).map_or(0, |process| process.incarnation);
        let group = self.groups.get(&number);
        group.is_none_or(|group| !group.config.contains(&(id, incarnation)))
    }

    fn hears_the_group(&self, id: Id, number: u64) -> bool {
        let Some(group) = self.groups.get(&number) else {
            return true;
        };
        let mut others = group.config.iter().map(|(other, _)| *other);
        others.any(|other| self.active(other, number) && self.linked(id, other))
    }

    /// What waits for a majority comes into the sockets of frozen members.
    fn fill_sockets(&mut self, number: u64) {
        let Some(group) = self.groups.get(&number) else {
            return;
        };
        if group.pending.is_empty() {
            return;
        }
        let reached: Vec<BTreeSet<Id>> = group
            .pending
            .iter()
            .map(|proposal| {
                let config = group.config.iter().filter(|(id, inc)| self.lives(*id, *inc, number));
                let all = config.map(|(id, _)| *id);
                all.filter(|id| self.linked(*id, proposal.by.0)).collect()
            })
            .collect();
        if let Some(group) = self.groups.get_mut(&number) {
            for (proposal, reached) in group.pending.iter_mut().zip(reached) {
                proposal.reached.extend(reached);
            }
        }
    }
}
