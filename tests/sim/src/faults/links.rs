//! Hosts that do not reach each other.

use std::sync::Arc;

use super::later;
use crate::site::Site;
use crate::story::Mark;
use crate::world::World;

/// Two hosts do not reach each other, in one direction or in both.
pub(super) fn cut(world: &Arc<World>, both: bool) {
    let hosts = world.hosts();
    let (from, to) = (world.chance.pick(&hosts).clone(), world.chance.pick(&hosts).clone());
    if from == to {
        return;
    }
    world.story.tell(format!(
        "{from} does not reach {to}{}",
        if both { ", nor back" } else { "" }
    ));
    world.mark(Mark::Partition);
    world.net.cut(&from, &to, true);
    if both {
        world.net.cut(&to, &from, true);
    }
    later(world, 500, 40_000, move |world| {
        world.story.tell(format!("{from} reaches {to} again"));
        world.net.cut(&from, &to, false);
        world.net.cut(&to, &from, false);
    });
}

/// One host reaches nobody.
pub(super) fn isolate(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("{} is cut off from everybody", site.name));
    world.mark(Mark::Partition);
    if site.server.takes_writes() {
        world.mark(Mark::QuorumLost);
    }
    for other in others(world, &site.name) {
        world.net.cut(&site.name, &other, true);
        world.net.cut(&other, &site.name, true);
    }
    let name = site.name.clone();
    later(world, 1000, 60_000, move |world| {
        world.story.tell(format!("{name} is reached again"));
        for other in others(world, &name) {
            world.net.cut(&name, &other, false);
            world.net.cut(&other, &name, false);
        }
    });
}

fn others(world: &World, name: &str) -> Vec<String> {
    let hosts = world.hosts().into_iter();
    hosts.filter(|other| other != name).collect()
}

pub(super) fn heal_links(world: &World) {
    world.story.tell("all links are up");
    let hosts = world.hosts();
    for from in &hosts {
        for to in &hosts {
            world.net.cut(from, to, false);
        }
    }
}
