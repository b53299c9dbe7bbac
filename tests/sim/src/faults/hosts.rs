//! Power, processes and the ledger of members' hosts.

use std::sync::Arc;

use super::later;
use crate::site::Site;
use crate::story::Mark;
use crate::world::World;

pub(super) fn power(world: &World, site: &Arc<Site>) {
    if site.is_on() {
        world.story.tell(format!("{} loses power", site.name));
        world.mark(Mark::PowerLost);
        site.power_off();
        all_dark(world);
    }
}

pub(super) fn all_dark(world: &World) {
    if world.sites.iter().all(|site| !site.is_on()) {
        world.mark(Mark::CompleteOutage);
    }
}

pub(super) fn outage(world: &World) {
    world.story.tell("every member loses power");
    world.sites.iter().for_each(|site| site.power_off());
    all_dark(world);
}

pub(super) fn on(world: &World, site: &Arc<Site>) {
    if !site.is_on() {
        world.story.tell(format!("{} has power again", site.name));
        site.power_on();
    }
}

pub(super) fn kill_server(world: &World, site: &Arc<Site>) {
    world.story.tell(format!("mysqld on {} is killed", site.name));
    world.mark(Mark::ServerKilled);
    site.server.kill9();
}

pub(super) fn restart_all(world: &World) {
    world.sites.iter().for_each(|site| kill_server(world, site));
}

pub(super) fn freeze_server(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("mysqld on {} stands still", site.name));
    world.mark(Mark::ServerFrozen);
    site.server.freeze();
    let site = Arc::clone(site);
    later(world, 500, 30_000, move |world| {
        world.story.tell(format!("mysqld on {} goes on", site.name));
        site.server.thaw();
    });
}

pub(super) fn freeze_host(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("{} stands still", site.name));
    world.mark(Mark::AgentGone);
    site.freeze(true);
    let site = Arc::clone(site);
    later(world, 500, 40_000, move |world| {
        world.story.tell(format!("{} goes on", site.name));
        site.freeze(false);
    });
}

pub(super) fn freeze_agent(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("the agent of {} stands still", site.name));
    world.mark(Mark::AgentGone);
    site.freeze_agent(true);
    let site = Arc::clone(site);
    later(world, 500, 30_000, move |world| {
        world.story.tell(format!("the agent of {} goes on", site.name));
        site.freeze_agent(false);
    });
}

pub(super) fn kill_agent(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("the agent of {} is killed", site.name));
    world.mark(Mark::AgentGone);
    site.kill_agent();
    let site = Arc::clone(site);
    later(world, 100, 5000, move |_| site.start_agent());
}

pub(super) fn lose_ledger(world: &Arc<World>, site: &Arc<Site>) {
    if !world.chance.one_in(3) || !site.is_on() {
        return;
    }
    // The price that ARCHITECTURE names (After a loss of the ledger): that a person let other data in here is forgotten with it.
    if world.truth().let_in.contains(&site.name) {
        return;
    }
    world.story.tell(format!("the agent of {} loses its ledger", site.name));
    world.mark(Mark::LedgerLost);
    world.truth().forgot.insert(site.name.clone());
    site.lose_ledger();
    world.messages.forget(&site.name);
    site.start_agent();
}
