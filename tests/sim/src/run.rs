//! One seed: a cluster comes to life, faults come, faults end, and the world must become whole or say why not.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use clusterctl_coordinator::leader::status;
use clusterctl_coordinator::model::StepState;
use clusterctl_proto::step::StepResult;

use crate::faults;
use crate::names::prod;
use crate::site::Site;
use crate::story::{Coverage, Mark};
use crate::watch;
use crate::world::World;

/// A cluster of which nothing is wrong is whole within this virtual time after its start.
const FORMS: Duration = Duration::from_secs(180);
/// So is one after its faults have ended: Group Replication alone needs minutes for some of them (docs/mysql-facts.md).
const HEALS: Duration = Duration::from_secs(1800);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// A reason is told for so long, all in all.
const TOLD: Duration = Duration::from_secs(60);
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

thread_local! {
    /// Panics on this thread. Those of spawned tasks are nobody's else: the runtime swallows them, and whoever panicked does nothing more.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}

/// Runs a seed to its end.
pub fn seed(seed: u64) -> Outcome {
    count_panics();
    let panics = PANICS.get();
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
        if PANICS.get() > panics {
            world.story.wrong("a part of this world panicked");
        }
        Outcome {
            wrong: world.story.first_wrong(),
            lines: world.story.lines(),
            marks: world.story.marks(),
            virtual_time: begun.elapsed(),
        }
    })
}

async fn live(world: &Arc<World>) {
    faults::clocks(world);
    world.start();
    let watch = tokio::spawn(watch::run(Arc::clone(world)));
    tokio::spawn(faults::elections(Arc::clone(world)));
    if !comes_to_life(world).await {
        return world
            .story
            .wrong(format!("the cluster did not come to life: {}", seen(world)));
    }
    // How it came to life says nothing of what it withstands.
    world.story.count_from_now();
    tokio::spawn(crate::client::run(Arc::clone(world)));
    faults::rough(world).await;
    if world.story.first_wrong().is_some() {
        return;
    }
    faults::undo(world);
    let end = converges(world).await;
    if watch.is_finished() {
        world.story.wrong("nobody watches any more");
    }
    if world.story.first_wrong().is_some() || world.truth().inside_window {
        return;
    }
    world.story.tell(format!("at the end: {}", seen(world)));
    match end {
        Some(mark) => world.mark(mark),
        None => {
            return world
                .story
                .wrong(format!("not whole, and no reason is told: {}", seen(world)));
        }
    }
    at_the_end(world);
    count_plans(world);
    for (sql, times) in world.net.unknown() {
        world
            .story
            .wrong(format!("the simulated mysqld does not know ({times} times): {sql}"));
    }
}

/// Faults are over: the world becomes whole, or a rule forbids it and is named, for a while. None: neither, in time.
async fn converges(world: &Arc<World>) -> Option<Mark> {
    let (mut waited, mut whole, mut told) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    while waited < HEALS && world.story.first_wrong().is_none() {
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
        let well = is_well(world);
        whole = if well { whole + LOOK } else { Duration::ZERO };
        if whole >= STAYS {
            return Some(Mark::Whole);
        }
        // Not in a row: an answer that is late for a moment is no other reason.
        if !well && explained(world) {
            told += LOOK;
        }
        if told >= TOLD {
            return Some(Mark::Explained);
        }
    }
    None
}

/// What became of plans is in the log.
fn count_plans(world: &World) {
    world.log.state().read(|model| {
        let steps = model.plans.values().flat_map(|plan| &plan.draft.steps);
        for step in steps {
            let StepState::Ended { outcome, .. } = &step.state else {
                continue;
            };
            let StepResult::Failed { failure } = &outcome.result else {
                continue;
            };
            match failure.code.as_str() {
                "evidence_changed" | "evidence_missing" => world.mark(Mark::EvidenceChanged),
                "paused" => world.mark(Mark::StoppedByPause),
                _ => {}
            }
        }
    });
}

/// Everything that was acknowledged is where clients read, on every member that is inside.
fn at_the_end(world: &Arc<World>) {
    for site in &world.sites {
        if site.server.online_in().is_none() || world.truth().let_in.contains(&site.name) {
            continue;
        }
        let missing = world.missing_on(site);
        if let Some(row) = missing.first() {
            for other in &world.sites {
                let rows = other.server.rows();
                let gtid = rows
                    .iter()
                    .find(|(_, known)| known.row == Some(*row))
                    .map(|(gtid, _)| gtid);
                world.story.tell(format!(
                    "row {row} on {}: {gtid:?}; it has executed {}",
                    other.name,
                    other.server.gtid_executed()
                ));
            }
            world
                .story
                .wrong(format!("acknowledged rows are not on {}: {missing:?}", site.name));
        }
    }
}

async fn comes_to_life(world: &Arc<World>) -> bool {
    let mut waited = Duration::ZERO;
    while waited < FORMS && world.story.first_wrong().is_none() {
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
        if is_well(world) {
            return true;
        }
    }
    false
}

/// The world is whole in truth, and status says so.
fn is_well(world: &World) -> bool {
    world.is_whole() && ok(world)
}

/// Status says so, too.
fn ok(world: &World) -> bool {
    world.leader().is_some_and(|leader| {
        let told = leader.look(|world| status::clusters(world, Some(&prod())));
        told.first().is_some_and(|told| told.state == "ok")
    })
}

/// Of a world that is not well: for every member that is out, or for the cluster as a whole, a rule is named that forbids to bring it in.
fn explained(world: &World) -> bool {
    let Some(leader) = world.leader() else { return false };
    let told = leader.look(|world| status::explain(world, Some(&prod()), None));
    // A rule that keeps one member out explains no other.
    let blocked = |subject: &str| {
        let mut troubles = told.iter().flat_map(|told| &told.troubles);
        troubles.any(|trouble| trouble.subject == subject && trouble.state == "blocked" && !trouble.unlock.is_empty())
    };
    let cluster = blocked(prod().as_str());
    let site = |site: &Arc<Site>| blocked(&site.name);
    let let_in = world.truth().let_in.clone();
    let out = |site: &&Arc<Site>| site.server.online_in().is_none() || let_in.contains(&site.name);
    // Where nobody is unproven by himself, inside or out, every donor vouches, sooner or later, unless it has forgotten what it gave.
    let says = |what: &str, but: &dyn Fn(&str) -> bool| {
        let mut troubles = told.iter().flat_map(|told| &told.troubles);
        troubles.any(|trouble| trouble.doing.contains(what) && !but(&trouble.doing))
    };
    let none_is = let_in.is_empty() && !says("nothing proves that its data are the group's", &|_| false);
    let forgot = world.truth().forgot.clone();
    let forgotten = |doing: &str| forgot.iter().any(|name| doing.contains(&format!("{name}:3306")));
    if none_is && says("got what it lacked from", &forgotten) {
        return false;
    }
    (cluster || world.sites.iter().any(site)) && world.sites.iter().filter(out).all(|one| cluster || site(one))
}

/// What status and why say, for a story's end.
pub(crate) fn seen(world: &World) -> String {
    let inside = world
        .sites
        .iter()
        .map(|site| format!("{}: {:?}", site.name, site.server.online_in().map(|l| l.number)));
    let truth: Vec<String> = inside.collect();
    let told = world.leader().map(|leader| {
        leader.look(|world| {
            let verdict = status::clusters(world, Some(&prod()))
                .into_iter()
                .map(|told| told.verdict);
            let why = status::explain(world, Some(&prod()), None)
                .into_iter()
                .flat_map(|told| told.troubles);
            let why = why.map(|trouble| {
                format!(
                    "{}: {} ({}: {})",
                    trouble.subject, trouble.wrong, trouble.state, trouble.doing
                )
            });
            verdict.chain(why).collect::<Vec<_>>().join("; ")
        })
    });
    format!(
        "{}; {}",
        truth.join(", "),
        told.unwrap_or_else(|| "no coordinator leads".to_owned())
    )
}

/// Adds a seed's marks to those of others.
pub fn count(all: &mut Coverage, marks: &BTreeMap<Mark, u64>) {
    for mark in marks.keys() {
        *all.entry(*mark).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::seed;

    #[test]
    fn the_same_seed_is_the_same_run() {
        for number in [17, 1089] {
            let (one, two) = (seed(number), seed(number));
            let differs = one.lines.iter().zip(&two.lines).find(|(one, two)| one != two);
            assert_eq!(differs, None, "seed {number}");
            assert_eq!(one.lines.len(), two.lines.len(), "seed {number}");
            assert!(one.lines.len() > 50, "a story: {}", one.lines.len());
        }
    }
}
