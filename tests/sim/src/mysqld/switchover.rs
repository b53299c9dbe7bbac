//! `group_replication_set_as_primary`.

use std::sync::Arc;

use super::group::Event;
use super::net::Net;
use super::session::SqlError;
use super::world::{Id, World};

impl Net {
    pub(crate) async fn set_as_primary(self: &Arc<Self>, id: Id, incarnation: u64, uuid: &str) -> Result<(), SqlError> {
        {
            let world = self.lock();
            world.may_move_primary(id, uuid)?;
        }
        let time = self.draw(30, 200);
        self.pause(id, incarnation, time).await.ok_or_else(SqlError::lost)?;
        let chosen = {
            let mut world = self.lock();
            let (group, chosen) = world.may_move_primary(id, uuid)?;
            if let Some(group) = world.groups.get_mut(&group) {
                group.primary = Some(chosen);
                group.log.push(Event::Primary(Some(chosen)));
            }
            self.deliver(&mut world, group);
            chosen
        };
        // The statement returns when the new primary leads; what it had received is applied first.
        loop {
            let time = self.draw(20, 60);
            self.pause(id, incarnation, time).await.ok_or_else(SqlError::lost)?;
            let world = self.lock();
            if world
                .process(chosen)
                .is_none_or(|process| process.vars.is_off("super_read_only"))
            {
                return Ok(());
            }
            if world.process(id).is_none_or(|process| process.gr.member().is_none()) {
                return Err(SqlError::function("The member has left the group."));
            }
        }
    }
}

impl World {
    fn may_move_primary(&self, id: Id, uuid: &str) -> Result<(u64, Id), SqlError> {
        let member = self.process(id).and_then(|process| process.gr.member());
        let Some(member) = member.filter(|member| member.online) else {
            return Err(SqlError::function(
                "Member must be ONLINE and in the majority partition.",
            ));
        };
        let number = member.group;
        if self.quorum(number).is_none_or(|quorum| !quorum.contains(&id)) {
            return Err(SqlError::function(
                "Member must be ONLINE and in the majority partition.",
            ));
        }
        let group = self.groups.get(&number);
        let mut online = group.into_iter().flat_map(|group| group.online.iter().copied());
        let chosen = online.find(|other| self.servers[*other].disk.uuid == uuid);
        chosen
            .filter(|chosen| self.active(*chosen, number))
            .map(|chosen| (number, chosen))
            .ok_or_else(|| SqlError::function("The requested uuid is not a member of the group."))
    }
}
