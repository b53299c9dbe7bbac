//! What goes wrong: one fault after another, at random moments, each undone some time later or at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::centre::Centre;
use crate::people;
use crate::site::Site;
use crate::story::Mark;
use crate::world::World;

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
    match world.chance.below(38) {
        0 | 1 => power(world, &site),
        2 => outage(world),
        3..=5 => world.sites.iter().for_each(|site| on(world, site)),
        6..=8 => kill_server(world, &site),
        9 => restart_all(world),
        10 => freeze_server(world, &site),
        11 => freeze_host(world, &site),
        12 => freeze_agent(world, &site),
        13 => kill_agent(world, &site),
        14 => kill_centre(world, &centre),
        15 => freeze_centre(world, &centre),
        16 => elect(world, &centre),
        17 => cut(world, false),
        18 => cut(world, true),
        19 => isolate(world, &site),
        20 => heal_links(world),
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
        31 => lose_ledger(world, &site),
        32..=34 => purge(world),
        35 | 36 => in_background(world, |world| async move { people::force(&world).await }),
        _ => old_disk(world),
    }
}

/// Something goes wrong just when a host was ordered to enter a group, or to promise that it does not.
async fn at_the_deed(world: &Arc<World>, host: &str) {
    let site = Arc::clone(world.site(host));
    let centre = Arc::clone(world.chance.pick(&world.centres));
    match world.chance.below(14) {
        0 => power(world, &site),
        1 => kill_server(world, &site),
        2 | 3 => freeze_server(world, &site),
        4 => freeze_host(world, &site),
        5 => freeze_agent(world, &site),
        6 => kill_agent(world, &site),
        7 => kill_centre(world, &centre),
        8 => freeze_centre(world, &centre),
        9 => elect(world, &centre),
        10 => isolate(world, &site),
        11 => in_background(world, |world| async move { people::cancel(&world).await }),
        12 => in_background(world, |world| async move {
            people::pause(&world, true).await;
            tokio::time::sleep(world.chance.ms(1000, 20_000)).await;
            people::pause(&world, false).await;
        }),
        _ => in_background(world, |world| async move { people::bootstrap(&world).await }),
    }
}

/// A host is about to ask the others whether a group lives: one of them does not answer, and meanwhile a person bootstraps.
fn while_it_asks(world: &Arc<World>, host: &str) {
    let others: Vec<Arc<Site>> = world.sites.iter().filter(|site| site.name != host).cloned().collect();
    freeze_server(world, world.chance.pick(&others));
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

fn power(world: &World, site: &Arc<Site>) {
    if site.is_on() {
        world.story.tell(format!("{} loses power", site.name));
        world.mark(Mark::PowerLost);
        site.power_off();
        all_dark(world);
    }
}

fn all_dark(world: &World) {
    if world.sites.iter().all(|site| !site.is_on()) {
        world.mark(Mark::CompleteOutage);
    }
}

fn outage(world: &World) {
    world.story.tell("every member loses power");
    world.sites.iter().for_each(|site| site.power_off());
    all_dark(world);
}

fn on(world: &World, site: &Arc<Site>) {
    if !site.is_on() {
        world.story.tell(format!("{} has power again", site.name));
        site.power_on();
    }
}

fn kill_server(world: &World, site: &Arc<Site>) {
    world.story.tell(format!("mysqld on {} is killed", site.name));
    world.mark(Mark::ServerKilled);
    site.server.kill9();
}

fn restart_all(world: &World) {
    world.sites.iter().for_each(|site| kill_server(world, site));
}

fn freeze_server(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("mysqld on {} stands still", site.name));
    world.mark(Mark::ServerFrozen);
    site.server.freeze();
    let site = Arc::clone(site);
    later(world, 500, 30_000, move |world| {
        world.story.tell(format!("mysqld on {} goes on", site.name));
        site.server.thaw();
    });
}

fn freeze_host(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("{} stands still", site.name));
    world.mark(Mark::AgentGone);
    site.freeze(true);
    let site = Arc::clone(site);
    later(world, 500, 40_000, move |world| {
        world.story.tell(format!("{} goes on", site.name));
        site.freeze(false);
    });
}

fn freeze_agent(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("the agent of {} stands still", site.name));
    world.mark(Mark::AgentGone);
    site.freeze_agent(true);
    let site = Arc::clone(site);
    later(world, 500, 30_000, move |world| {
        world.story.tell(format!("the agent of {} goes on", site.name));
        site.freeze_agent(false);
    });
}

fn kill_agent(world: &Arc<World>, site: &Arc<Site>) {
    world.story.tell(format!("the agent of {} is killed", site.name));
    world.mark(Mark::AgentGone);
    site.kill_agent();
    let site = Arc::clone(site);
    later(world, 100, 5000, move |_| site.start_agent());
}

fn kill_centre(world: &Arc<World>, centre: &Arc<Centre>) {
    world.story.tell(format!("coordinator {} is killed", centre.id));
    world.mark(Mark::CoordinatorGone);
    centre.kill();
    let centre = Arc::clone(centre);
    let longest = if world.chance.one_in(3) { 60_000 } else { 4000 };
    later(world, 100, longest, move |world| begin(world, &centre));
}

/// A coordinator starts, if its host has power.
fn begin(world: &World, centre: &Centre) {
    let dark = world.sites.iter().any(|site| site.name == centre.host && !site.is_on());
    if !dark && !centre.runs() {
        world.story.tell(format!("coordinator {} starts", centre.id));
        centre.start();
    }
}

fn freeze_centre(world: &Arc<World>, centre: &Arc<Centre>) {
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
fn elect(world: &Arc<World>, centre: &Arc<Centre>) {
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

/// Two hosts do not reach each other, in one direction or in both.
fn cut(world: &Arc<World>, both: bool) {
    let mut hosts: Vec<String> = world.sites.iter().map(|site| site.name.clone()).collect();
    hosts.extend(world.centres.iter().map(|centre| centre.host.clone()));
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
fn isolate(world: &Arc<World>, site: &Arc<Site>) {
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
    let sites = world.sites.iter().map(|site| site.name.clone());
    let centres = world.centres.iter().map(|centre| centre.host.clone());
    let mut all: Vec<String> = sites.chain(centres).filter(|other| other != name).collect();
    all.sort();
    all.dedup();
    all
}

fn heal_links(world: &World) {
    world.story.tell("all links are up");
    let mut hosts: Vec<String> = others(world, "");
    hosts.dedup();
    for from in &hosts {
        for to in &hosts {
            world.net.cut(from, to, false);
        }
    }
}

fn stop_one(world: &Arc<World>, site: Arc<Site>) {
    in_background(world, |world| async move { people::stop(&world, &site).await });
}

fn lose_ledger(world: &Arc<World>, site: &Arc<Site>) {
    if !world.chance.one_in(3) || !site.is_on() {
        return;
    }
    // The price that ARCHITECTURE names (After a loss of the ledger): that a person let other data in here is forgotten with it.
    if world.truth().let_in.contains(&site.name) {
        return;
    }
    world.story.tell(format!("the agent of {} loses its ledger", site.name));
    world.mark(Mark::LedgerLost);
    site.lose_ledger();
    world.messages.forget(&site.name);
    site.start_agent();
}

/// Binary logs are purged: who is behind needs a clone.
fn purge(world: &World) {
    let out = world.sites.iter().any(|site| site.server.online_in().is_none());
    if out && !world.writable().is_empty() {
        world.story.tell("binary logs are purged everywhere");
        world.sites.iter().for_each(|site| site.server.purge_binlogs());
    }
}

/// An old copy of the only coordinator's disk is put back.
fn old_disk(world: &Arc<World>) {
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

/// Everything that is off is switched on, and everything that is cut is joined.
pub fn undo(world: &Arc<World>) {
    world.story.tell("all faults end");
    heal_links(world);
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
    world.calm();
    // Whoever paused something ends that, too.
    in_background(world, |world| async move {
        for _ in 0..30 {
            people::pause(&world, false).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
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
