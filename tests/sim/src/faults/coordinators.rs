//! Coordinators: their processes, their terms, their disks.

use std::sync::Arc;

use super::later;
use crate::centre::Centre;
use crate::story::Mark;
use crate::world::World;

pub(super) fn kill_centre(world: &Arc<World>, centre: &Arc<Centre>) {
    world.story.tell(format!("coordinator {} is killed", centre.id));
    world.mark(Mark::CoordinatorGone);
    centre.kill();
    let centre = Arc::clone(centre);
    let longest = if world.chance.one_in(3) { 60_000 } else { 4000 };
    later(world, 100, longest, move |world| begin(world, &centre));
}

/// A coordinator starts, if its host has power.
pub(super) fn begin(world: &World, centre: &Centre) {
    let dark = world.sites.iter().any(|site| site.name == centre.host && !site.is_on());
    if !dark && !centre.runs() {
        world.story.tell(format!("coordinator {} starts", centre.id));
        centre.start();
    }
}

pub(super) fn freeze_centre(world: &Arc<World>, centre: &Arc<Centre>) {
    world.story.tell(format!("coordinator {} stands still", centre.id));
    world.mark(Mark::CoordinatorGone);
    centre.freeze(true);
    let centre = Arc::clone(centre);
    later(world, 300, 30_000, move |world| {
        world.story.tell(format!("coordinator {} goes on", centre.id));
        centre.freeze(false);
    });
}

/// Another term: the leader before learns it later.
pub(super) fn elect(world: &Arc<World>, centre: &Arc<Centre>) {
    let old = world.log.leader();
    if !centre.runs() || centre.is_frozen() {
        return;
    }
    let kept = usize::try_from(world.chance.below(3)).unwrap_or(0);
    if world.log.elect(centre.id, kept).is_none() {
        return;
    }
    world.story.tell(format!("coordinator {} is elected", centre.id));
    if old.is_some_and(|old| old != centre.id) {
        world.mark(Mark::Deposed);
    }
}

/// An old copy of the only coordinator's disk is put back.
pub(super) fn old_disk(world: &Arc<World>) {
    let [centre] = &world.centres[..] else { return };
    if !world.chance.one_in(3) {
        return;
    }
    let back = world.chance.below(60);
    let index = world.log.committed().saturating_sub(back);
    // What was written before the simulation began is on every copy.
    if index < 10 {
        return;
    }
    centre.kill();
    if world.log.restore(centre.id, index) {
        world.story.tell(format!(
            "an old copy of the coordinator's disk is put back: {back} entries are gone"
        ));
        world.mark(Mark::OldDisk);
    }
    begin(world, centre);
    // An operator raises the epoch when he is told to.
    let log = world.log.clone();
    let centre = Arc::clone(centre);
    later(world, 15_000, 40_000, move |world| {
        world.story.tell("an operator raises the epoch");
        centre.kill();
        crate::founding::raise_epoch(&log);
        begin(world, &centre);
    });
}

/// What raft does by itself: whoever lost its leader elects another, and a deposed one hears of it some time later.
pub async fn elections(world: Arc<World>) {
    loop {
        tokio::time::sleep(world.chance.ms(300, 900)).await;
        for centre in &world.centres {
            if world.chance.one_in(3) {
                world.log.tell(centre.id);
            }
        }
        let leads = world.log.leader();
        let works = |centre: &&Arc<Centre>| centre.runs() && !centre.is_frozen();
        let is_led = world
            .centres
            .iter()
            .filter(works)
            .any(|centre| Some(centre.id) == leads);
        if is_led || world.chance.one_in(2) {
            continue;
        }
        let candidates: Vec<Arc<Centre>> = world.centres.iter().filter(works).cloned().collect();
        if !candidates.is_empty() {
            elect(&world, world.chance.pick(&candidates));
        }
    }
}
