//! What goes wrong: one fault after another, at random moments, each undone some time later or at the end.
//!
//! Here stands what comes when; `hosts`, `links`, `coordinators` and `data` do it.

mod coordinators;
mod data;
mod hosts;
mod links;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::people;
use crate::site::Site;
use crate::story::Mark;
use crate::world::World;

pub use coordinators::elections;
pub use data::clocks;

/// Faults come for so long.
pub const ROUGH: (u64, u64) = (40_000, 160_000);

/// Lets things go wrong for a while.
pub async fn rough(world: &Arc<World>) {
    let end = Instant::now() + world.chance.ms(ROUGH.0, ROUGH.1);
    while Instant::now() < end {
        tokio::select! {
            biased;
            (host, bootstraps) = world.messages.moment() => {
                if bootstraps && world.chance.one_in(5) {
                    while_it_asks(world, &host);
                } else if world.chance.one_in(3) {
                    tokio::time::sleep(world.chance.ms(0, 2500)).await;
                    at_the_deed(world, &host).await;
                }
            }
            host = world.net.second_enters() => {
                if world.chance.one_in(4) {
                    as_it_enters(world, &host);
                }
            }
            () = tokio::time::sleep(pause(world)) => one(world).await,
        }
        if world.story.first_wrong().is_some() {
            return;
        }
    }
}

/// Sometimes the next fault meets what the last one has begun.
fn pause(world: &World) -> Duration {
    match world.chance.below(4) {
        0 => world.chance.ms(20, 600),
        1 => world.chance.ms(500, 3000),
        _ => world.chance.ms(2000, 15_000),
    }
}

async fn one(world: &Arc<World>) {
    let site = Arc::clone(world.chance.pick(&world.sites));
    let centre = Arc::clone(world.chance.pick(&world.centres));
    match world.chance.below(48) {
        0 | 1 => hosts::power(world, &site),
        2 => hosts::outage(world),
        3..=5 => world.sites.iter().for_each(|site| hosts::on(world, site)),
        6..=8 => hosts::kill_server(world, &site),
        9 => hosts::restart_all(world),
        10 => hosts::freeze_server(world, &site),
        11 => hosts::freeze_host(world, &site),
        12 => hosts::freeze_agent(world, &site),
        13 => hosts::kill_agent(world, &site),
        14 => coordinators::kill_centre(world, &centre),
        15 => coordinators::freeze_centre(world, &centre),
        16 => coordinators::elect(world, &centre),
        17 => links::cut(world, false),
        18 => links::cut(world, true),
        19 => links::isolate(world, &site),
        20 => links::heal_links(world),
        21 => in_background(world, |world| async move { people::bootstrap(&world).await }),
        22 => stop_one(world, site),
        23 => in_background(world, |world| async move {
            for site in &world.sites {
                people::stop(&world, site).await;
            }
        }),
        24 => in_background(world, |world| async move {
            let up = people::out_and_up(&world);
            if !up.is_empty() {
                let site = Arc::clone(world.chance.pick(&up));
                people::start(&world, &site).await;
            }
        }),
        25 => in_background(world, |world| async move { people::write_alone(&world).await }),
        26 | 27 => in_background(world, |world| async move { people::switchover(&world).await }),
        28 => in_background(world, |world| async move { people::recover(&world).await }),
        29 => in_background(world, |world| async move {
            people::pause(&world, true).await;
            tokio::time::sleep(world.chance.ms(1000, 20_000)).await;
            people::pause(&world, false).await;
        }),
        30 => in_background(world, |world| async move { people::cancel(&world).await }),
        31 => hosts::lose_ledger(world, &site),
        32..=34 => data::purge(world),
        35 | 36 => in_background(world, |world| async move { people::force(&world).await }),
        37 => coordinators::old_disk(world),
        38 | 39 => data::lag(world, &site),
        40 | 41 => data::slow_copies(world),
        42 | 43 => data::broken_applier(world, &site),
        44 => data::new_disk(world, &site),
        45 => data::unreadable_metadata(world, &site),
        _ => data::set_clock(world),
    }
}

/// Something goes wrong just when a host was ordered to enter a group, or to promise that it does not.
async fn at_the_deed(world: &Arc<World>, host: &str) {
    let site = Arc::clone(world.site(host));
    let centre = Arc::clone(world.chance.pick(&world.centres));
    match world.chance.below(14) {
        0 => hosts::power(world, &site),
        1 => hosts::kill_server(world, &site),
        2 | 3 => hosts::freeze_server(world, &site),
        4 => hosts::freeze_host(world, &site),
        5 => hosts::freeze_agent(world, &site),
        6 => hosts::kill_agent(world, &site),
        7 => coordinators::kill_centre(world, &centre),
        8 => coordinators::freeze_centre(world, &centre),
        9 => coordinators::elect(world, &centre),
        10 => links::isolate(world, &site),
        11 => in_background(world, |world| async move { people::cancel(&world).await }),
        12 => in_background(world, |world| async move {
            people::pause(&world, true).await;
            tokio::time::sleep(world.chance.ms(1000, 20_000)).await;
            people::pause(&world, false).await;
        }),
        _ => in_background(world, |world| async move { people::bootstrap(&world).await }),
    }
}

/// A joiner dies, or is not heard, when the group of one that lets it in does not know it yet.
fn as_it_enters(world: &Arc<World>, host: &str) {
    let site = Arc::clone(world.site(host));
    world.mark(Mark::DiedAtTheDoor);
    match world.chance.below(4) {
        0 => hosts::power(world, &site),
        1 => hosts::kill_server(world, &site),
        2 => hosts::freeze_server(world, &site),
        _ => links::isolate(world, &site),
    }
}

/// A host is about to ask the others whether a group lives: one of them does not answer, and meanwhile a person bootstraps.
fn while_it_asks(world: &Arc<World>, host: &str) {
    let others: Vec<Arc<Site>> = world.sites.iter().filter(|site| site.name != host).cloned().collect();
    hosts::freeze_server(world, world.chance.pick(&others));
    later(world, 100, 2500, |world| {
        in_background(world, |world| async move { people::bootstrap(&world).await });
    });
}

/// A fault that takes its own time.
fn in_background<F>(world: &Arc<World>, work: impl FnOnce(Arc<World>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(work(Arc::clone(world)));
}

/// Undone after a while.
fn later(world: &Arc<World>, from: u64, to: u64, undo: impl FnOnce(&Arc<World>) + Send + 'static) {
    let (world, time) = (Arc::clone(world), world.chance.ms(from, to));
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        undo(&world);
    });
}

fn stop_one(world: &Arc<World>, site: Arc<Site>) {
    in_background(world, |world| async move { people::stop(&world, &site).await });
}

/// Everything that is off is switched on, and everything that is cut is joined.
pub fn undo(world: &Arc<World>) {
    world.story.tell("all faults end");
    links::heal_links(world);
    for site in &world.sites {
        site.power_on();
        site.freeze(false);
        site.start_agent();
        if !site.server.is_running() {
            site.unit.boot();
        }
    }
    for centre in &world.centres {
        centre.freeze(false);
        centre.start();
    }
    data::mend(world);
    world.calm();
    // Whoever paused something ends that, too.
    in_background(world, |world| async move {
        for _ in 0..30 {
            people::pause(&world, false).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
}
