//! One seed: a cluster comes to life, faults come, faults end, and the world must become whole or say why not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_coordinator::leader::status;

use crate::faults;
use crate::names::{host, prod};
use crate::people;
use crate::story::{Coverage, Mark};
use crate::watch;
use crate::world::World;

/// A cluster of which nothing is wrong is whole within this virtual time after its start.
const FORMS: Duration = Duration::from_secs(180);
/// So is one after its faults have ended: Group Replication alone needs minutes for some of them (docs/mysql-facts.md).
const HEALS: Duration = Duration::from_secs(900);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// A world that is whole stays so.
const STAYS: Duration = Duration::from_secs(5);

/// What became of a seed.
pub struct Outcome {
    /// What broke a rule; none: nothing did.
    pub wrong: Option<String>,
    /// Its story.
    pub lines: Vec<String>,
    /// What was seen in it, and how often.
    pub marks: BTreeMap<Mark, u64>,
    /// Virtual time that passed.
    pub virtual_time: Duration,
}

/// Runs a seed to its end.
pub fn seed(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    fastrand::seed(seed);
    runtime.block_on(async {
        let begun = tokio::time::Instant::now();
        let world = World::new(seed);
        live(&world).await;
        Outcome {
            wrong: world.story.first_wrong(),
            lines: world.story.lines(),
            marks: world.story.marks(),
            virtual_time: begun.elapsed(),
        }
    })
}

async fn live(world: &Arc<World>) {
    world.start();
    tokio::spawn(watch::run(Arc::clone(world)));
    if !whole_within(world, FORMS).await {
        return world.story.wrong(format!("the cluster did not come to life: {}", seen(world)));
    }
    tokio::spawn(crate::client::run(Arc::clone(world)));
    faults::rough(world).await;
    if world.story.first_wrong().is_some() {
        return;
    }
    faults::undo(world);
    people::pause(world, false).await;
    let whole = whole_within(world, HEALS).await;
    if world.story.first_wrong().is_some() || world.truth().inside_window {
        return;
    }
    if whole {
        world.mark(Mark::Whole);
    } else if explained(world) {
        world.mark(Mark::Explained);
    } else {
        return world.story.wrong(format!("not whole, and no reason is told: {}", seen(world)));
    }
    at_the_end(world);
    for (sql, times) in world.net.unknown() {
        world.story.wrong(format!("the simulated mysqld does not know ({times} times): {sql}"));
    }
}

/// Everything that was acknowledged is where clients read, on every member that is inside.
fn at_the_end(world: &Arc<World>) {
    for site in &world.sites {
        if site.server.online_in().is_none() || world.truth().let_in.contains(&site.name) {
            continue;
        }
        let missing = world.missing_on(site);
        if !missing.is_empty() {
            world.story.wrong(format!("acknowledged rows are not on {}: {missing:?}", site.name));
        }
    }
}

async fn whole_within(world: &Arc<World>, longest: Duration) -> bool {
    let mut waited = Duration::ZERO;
    let mut whole = Duration::ZERO;
    while waited < longest {
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
        if world.story.first_wrong().is_some() {
            return false;
        }
        whole = if world.is_whole() && ok(world) { whole + LOOK } else { Duration::ZERO };
        if whole >= STAYS {
            return true;
        }
    }
    false
}

/// Status says so, too.
fn ok(world: &World) -> bool {
    world.leader().is_some_and(|leader| {
        let told = leader.look(|world| status::clusters(world, Some(&prod())));
        told.first().is_some_and(|told| told.state == "ok")
    })
}

/// For every member that is out, or for the cluster as a whole, a rule is named that forbids to bring it in.
fn explained(world: &World) -> bool {
    let Some(leader) = world.leader() else { return false };
    let why = |site: Option<&str>| {
        let host = site.map(host);
        let told = leader.look(|world| status::explain(world, Some(&prod()), host.as_ref()));
        told.iter().flat_map(|told| &told.troubles).any(|trouble| trouble.state == "blocked" && !trouble.unlock.is_empty())
    };
    let out = world.sites.iter().filter(|site| site.server.online_in().is_none() || world.truth().let_in.contains(&site.name));
    let mut out = out.peekable();
    out.peek().is_some() && out.all(|site| why(Some(&site.name)) || why(None))
}

/// What status and why say, for a story's end.
fn seen(world: &World) -> String {
    let inside = world.sites.iter().map(|site| format!("{}: {:?}", site.name, site.server.online_in().map(|l| l.number)));
    let truth: Vec<String> = inside.collect();
    let told = world.leader().map(|leader| leader.look(|world| {
        let verdict = status::clusters(world, Some(&prod())).into_iter().map(|told| told.verdict);
        let why = status::explain(world, Some(&prod()), None).into_iter().flat_map(|told| told.troubles);
        let why = why.map(|trouble| format!("{}: {} ({}: {})", trouble.subject, trouble.wrong, trouble.state, trouble.doing));
        verdict.chain(why).collect::<Vec<_>>().join("; ")
    }));
    format!("{}; {}", truth.join(", "), told.unwrap_or_else(|| "no coordinator leads".to_owned()))
}

/// Adds a seed's marks to those of others.
pub fn count(all: &mut Coverage, marks: &BTreeMap<Mark, u64>) {
    for mark in marks.keys() {
        *all.entry(*mark).or_default() += 1;
    }
}
