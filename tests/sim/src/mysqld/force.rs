//! `SET GLOBAL group_replication_force_members`, as measured: with the others dead a new view of the same prefix; with the others only
//! out of reach no view, the waiting transactions committed on this side alone, and the member leaves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::detect::Majority;
use super::group::Group;
use super::leave::Why;
use super::net::Net;
use super::session::SqlError;
use super::truth::Lineage;
use super::world::{Id, World};

impl Net {
    pub(crate) async fn force(self: &Arc<Self>, id: Id, incarnation: u64, value: &str) -> Result<(), SqlError> {
        if value.is_empty() {
            return self.set_force(id, incarnation, "");
        }
        let (number, dead) = {
            let mut world = self.lock();
            let (number, dead) = world.may_force(id, value)?;
            let process = world.same(id, incarnation).ok_or_else(SqlError::lost)?;
            process.statistics_wait = true;
            if let Some(member) = process.gr.member_mut() {
                member.forcing = true;
            }
            (number, dead)
        };
        let answer = if dead {
            let time = self.draw(5000, 7000);
            self.pause(id, incarnation, time).await.ok_or_else(SqlError::lost)?;
            let mut world = self.lock();
            world.fork(id, incarnation, number, value);
            let forced = world
                .process(id)
                .and_then(|process| process.gr.member())
                .map(|member| member.group);
            if let Some(forced) = forced {
                self.deliver_soon(&mut world, forced);
            }
            Ok(())
        } else {
            self.forced_in_vain(id, incarnation, number).await
        };
        {
            let mut world = self.lock();
            let process = world.same(id, incarnation).ok_or_else(SqlError::lost)?;
            process.statistics_wait = false;
            if let Some(member) = process.gr.member_mut() {
                member.forcing = false;
                member.alone = None;
            }
        }
        self.woken();
        answer?;
        self.set_force(id, incarnation, value)
    }

    async fn forced_in_vain(self: &Arc<Self>, id: Id, incarnation: u64, number: u64) -> Result<(), SqlError> {
        let wait = self.draw(29_000, 47_000);
        let first = Duration::from_secs(2);
        self.pause(id, incarnation, first).await.ok_or_else(SqlError::lost)?;
        {
            let mut world = self.lock();
            self.commit_forced(&mut world, id, incarnation, number);
        }
        self.pause(id, incarnation, wait - first)
            .await
            .ok_or_else(SqlError::lost)?;
        let mut world = self.lock();
        self.leave(&mut world, id, Why::Forced);
        Ok(())
    }

    /// What waits here is committed here, and nowhere else.
    fn commit_forced(self: &Arc<Self>, world: &mut World, id: Id, incarnation: u64, number: u64) {
        let Some(group) = world.groups.get_mut(&number) else {
            return;
        };
        let mine = (id, incarnation);
        let (forced, kept) = std::mem::take(&mut group.pending)
            .into_iter()
            .partition(|p| p.by == mine);
        group.pending = kept;
        // The others do not know of these numbers.
        let mut side = group.clone();
        side.pending = forced;
        let begin = side.log.len();
        let lineage = world.fresh_forced(&side, side.counter);
        side.lineage = lineage;
        let proposals = std::mem::take(&mut side.pending);
        let side_number = lineage.number;
        world.groups.insert(side_number, side);
        for proposal in proposals {
            world.certify(side_number, proposal);
        }
        let Some(side) = world.groups.remove(&side_number) else {
            return;
        };
        for event in &side.log[begin..] {
            let super::group::Event::Trx { trx, .. } = event else {
                continue;
            };
            world.servers[id].disk.commit(trx);
            world.servers[id].disk.lineage = Some(lineage);
            if let Some(client) = world
                .same(id, incarnation)
                .and_then(|process| process.waiting.remove(&trx.id))
            {
                let _ = client.send(Ok(trx.gtid()));
            }
        }
    }

    fn set_force(&self, id: Id, incarnation: u64, value: &str) -> Result<(), SqlError> {
        let mut world = self.lock();
        let process = world.same(id, incarnation).ok_or_else(SqlError::lost)?;
        process.vars.set_running("group_replication_force_members", value);
        Ok(())
    }
}

impl World {
    /// The group, and whether all who are to be left behind are dead.
    fn may_force(&self, id: Id, value: &str) -> Result<(u64, bool), SqlError> {
        let refused = |why: &str| {
            SqlError::new(
                1231,
                format!("Variable 'group_replication_force_members' cannot be set: {why}"),
            )
        };
        let Some(process) = self.process(id) else {
            return Err(SqlError::lost());
        };
        let Some(member) = process.gr.member() else {
            return Err(refused("Member is OFFLINE"));
        };
        let number = member.group;
        if self.unreachable(id).len() * 2 < member.view.members.len() {
            return Err(SqlError::new(4118, "No majority is missing: the variable is refused."));
        }
        let named = self.named(value);
        if !named.contains(&id) {
            return Err(refused("this member is not in it"));
        }
        let group = self.groups.get(&number).ok_or_else(SqlError::lost)?;
        let mut others = group.config.iter().filter(|(other, _)| !named.contains(other));
        let dead = others.all(|(other, incarnation)| {
            let lives = self
                .process(*other)
                .is_some_and(|process| process.incarnation == *incarnation);
            !lives || !self.servers[*other].powered
        });
        Ok((number, dead))
    }

    fn named(&self, value: &str) -> BTreeSet<Id> {
        let hosts = value
            .split(',')
            .map(|address| address.trim().split(':').next().unwrap_or_default());
        hosts.filter_map(|host| self.names.get(host).copied()).collect()
    }

    fn fresh_forced(&mut self, group: &Group, counter: u64) -> Lineage {
        Lineage {
            number: self.fresh(),
            prefix: group.lineage.prefix,
            forced: Some(counter),
            parent: Some(group.lineage.number),
        }
    }

    /// The group goes on with the named members, as another lineage of the same prefix.
    fn fork(&mut self, id: Id, incarnation: u64, number: u64, value: &str) {
        let named = self.named(value);
        let Some(old) = self.groups.get(&number) else {
            return;
        };
        let mut group = old.clone();
        if !group.config.contains(&(id, incarnation)) {
            return;
        }
        group.lineage = self.fresh_forced(&group, group.counter + 1);
        let forced = group.lineage;
        let gone: BTreeSet<Id> = group
            .config
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| !named.contains(id))
            .collect();
        self.groups.insert(forced.number, group);
        self.count("forced");
        self.remove_members(forced.number, &gone);
        for member in named {
            let Some(process) = self.process_mut(member) else {
                continue;
            };
            if let Some(state) = process.gr.member_mut().filter(|state| state.group == number) {
                state.group = forced.number;
                let was_noticed = state.alone.take().is_some();
                if !was_noticed {
                    self.log_majority(member, Majority::Lost);
                }
                self.log_majority(member, Majority::Forced);
                self.servers[member].disk.lineage = Some(forced);
            }
        }
        if let Some(group) = self.groups.get_mut(&forced.number) {
            let pending = std::mem::take(&mut group.pending);
            for proposal in pending {
                if self.lives(proposal.by.0, proposal.by.1, forced.number) {
                    self.certify(forced.number, proposal);
                }
            }
        }
    }
}
