//! What a server holds and how fast it works: purged logs, lag, slow copies, a broken applier, unreadable metadata, a new disk; and clocks.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{hosts, later};
use crate::clock;
use crate::site::Site;
use crate::story::Mark;
use crate::world::World;

/// How long the applier of a server works on a transaction, and how long a clone copies, where nothing is wrong.
const APPLIES: Duration = Duration::from_millis(2);
const COPIES: Duration = Duration::from_secs(3);

/// Binary logs are purged: who is behind needs a clone.
pub(super) fn purge(world: &World) {
    let out = world.sites.iter().any(|site| site.server.online_in().is_none());
    if out && !world.writable().is_empty() {
        world.story.tell("binary logs are purged everywhere");
        world.sites.iter().for_each(|site| site.server.purge_binlogs());
    }
}

/// A server applies slowly for a while.
pub(super) fn lag(world: &Arc<World>, site: &Arc<Site>) {
    let lag = world.chance.ms(50, 1500);
    world.story.tell(format!("{} applies slowly: {lag:?} each", site.name));
    world.mark(Mark::Lag);
    site.server.set_lag(lag);
    let site = Arc::clone(site);
    later(world, 2000, 40_000, move |world| {
        world.story.tell(format!("{} applies as before", site.name));
        site.server.set_lag(APPLIES);
    });
}

/// From now on a clone takes minutes, as with much data.
pub(super) fn slow_copies(world: &World) {
    let time = world.chance.ms(10_000, 400_000);
    world.story.tell(format!("a clone would take {time:?} now"));
    world.mark(Mark::SlowCopy);
    world.sites.iter().for_each(|site| site.server.set_copy_time(time));
}

/// What a server would apply next cannot be applied, for a while.
pub(super) fn broken_applier(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("the applier of {} fails", site.name));
    world.mark(Mark::ApplierBroken);
    site.server.break_applier(true);
    let site = Arc::clone(site);
    later(world, 1000, 40_000, move |world| {
        world
            .story
            .tell(format!("the applier of {} would work again", site.name));
        site.server.break_applier(false);
    });
}

/// The tables of the metadata cannot be read on a server, for a while.
pub(super) fn unreadable_metadata(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("{} cannot read its metadata", site.name));
    world.mark(Mark::MetadataUnreadable);
    site.server.break_metadata(true);
    let site = Arc::clone(site);
    later(world, 2000, 60_000, move |world| {
        world.story.tell(format!("{} reads its metadata again", site.name));
        site.server.break_metadata(false);
    });
}

/// A secondary gets a new disk: its data are gone. Once in a seed, and while the others are inside: what all three held cannot be lost.
pub(super) fn new_disk(world: &Arc<World>, site: &Arc<Site>) {
    let [(primary, lineage)] = &world.writable()[..] else {
        return;
    };
    let all_inside = world
        .sites
        .iter()
        .all(|site| site.server.online_in().as_ref() == Some(lineage));
    if primary.name == site.name || !all_inside || world.truth().new_disk {
        return;
    }
    world.story.tell(format!("{} gets a new disk for its data", site.name));
    world.mark(Mark::NewDisk);
    world.truth().new_disk = true;
    world.truth().forgot.insert(site.name.clone());
    // A mysqld that holds nothing yet is open, as packages make it.
    world.truth().opened.insert(site.name.clone());
    site.power_off();
    let uuid = Uuid::from_u64_pair(world.chance.below(u64::MAX), world.chance.below(u64::MAX));
    site.lose_data(&uuid.to_string());
    world.give_up_what_nobody_holds();
    let site = Arc::clone(site);
    later(world, 1000, 30_000, move |world| hosts::on(world, &site));
}

/// Half of all worlds have hosts whose clocks differ from the beginning.
pub fn clocks(world: &World) {
    if world.chance.one_in(2) {
        return;
    }
    world.mark(Mark::ClocksDiffer);
    for host in world.hosts() {
        tell_clock(world, &host, clock::off_ms(&world.chance));
    }
}

/// Somebody, or time synchronisation, sets a clock: forward, or back.
pub(super) fn set_clock(world: &World) {
    let hosts = world.hosts();
    let host = world.chance.pick(&hosts);
    world.mark(Mark::ClockSet);
    tell_clock(world, host, clock::off_ms(&world.chance));
}

fn tell_clock(world: &World, host: &str, off_ms: i64) {
    world.story.tell(format!("the clock of {host} is off by {off_ms} ms"));
    for site in world.sites.iter().filter(|site| site.name == host) {
        site.set_clock(off_ms);
    }
    for centre in world.centres.iter().filter(|centre| centre.host == host) {
        centre.set_clock(off_ms);
    }
}

/// Everything here is as it should be, but for clocks: they stay as they are.
pub(super) fn mend(world: &World) {
    for site in &world.sites {
        site.server.set_lag(APPLIES);
        site.server.set_copy_time(COPIES);
        site.server.break_applier(false);
        site.server.break_metadata(false);
    }
}
