//! The rules, looked at again and again while a seed runs: with the truth about every server, which no program of ours has.
//!
//! | rule | looked at |
//! | --- | --- |
//! | one lineage takes writes | every look |
//! | a bootstrap of ours holds everything that was acknowledged, or a person gave it up | when a lineage begins |
//! | nobody comes in by us with something else in it | when a member is ONLINE |
//! | nothing is entered below a promise | `tap`, with every outcome |
//! | nothing that only one member holds is cloned over | when a clone begins |
//! | what status calls OK is whole | twice a second |
//! | whoever takes writes holds everything that was acknowledged | twice a second |
//! | acknowledged rows are on the primary and on every member | at the end, `run` |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_coordinator::leader::status;
use tokio::time::Instant;

use crate::mysqld::{Lineage, Row};
use crate::names::prod;
use crate::site::Site;
use crate::starts::Who;
use crate::story::Mark;
use crate::world::{Origin, World};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at status: it costs a quarter of all else, and may be late by [`OK_FOR`].
const STATUS: Duration = Duration::from_millis(500);
/// A person who bootstraps within so long before or after a bootstrap of ours makes a second group: the documented window.
pub const WINDOW: Duration = Duration::from_secs(8);
/// Status may call OK what has just ceased to be: what it was told is so old at most.
const OK_FOR: Duration = Duration::from_secs(10);

/// Looks for ever.
pub async fn run(world: Arc<World>) {
    let mut watch = Watch {
        online: BTreeMap::new(),
        out: BTreeMap::new(),
        looked: Instant::now(),
        not_whole: None,
        told: String::new(),
    };
    loop {
        tokio::time::sleep(LOOK).await;
        watch.look(&world);
    }
}

struct Watch {
    /// Who is ONLINE in which lineage.
    online: BTreeMap<String, Lineage>,
    /// When a member was last seen to be out.
    out: BTreeMap<String, Instant>,
    /// When status was looked at.
    looked: Instant,
    /// Since when the cluster is not whole although status says OK.
    not_whole: Option<Instant>,
    /// The last verdict.
    told: String,
}

impl Watch {
    fn look(&mut self, world: &Arc<World>) {
        self.lineages(world);
        self.one_writer(world);
        self.members(world);
        if self.looked.elapsed() >= STATUS {
            self.looked = Instant::now();
            self.status(world);
            primary(world);
        }
    }

    /// New ones.
    fn lineages(&mut self, world: &Arc<World>) {
        for lineage in world.net.lineages() {
            if world.truth().origins.contains_key(&lineage.number) {
                continue;
            }
            let first = world.sites.iter().find(|site| site.server.takes_part_in(&lineage));
            let Some(site) = first else { continue };
            let by_hand = world.truth().by_hand.clone();
            let by_person = by_hand.is_some_and(|(host, _)| host == site.name)
                && !matches!(world.starts.last(&site.name), Some((Who::Agent, _)));
            let origin = Origin {
                lineage,
                by_person,
                host: site.name.clone(),
                at: Instant::now(),
            };
            world.truth().origins.insert(lineage.number, origin);
            world.mark(Mark::LineageChange);
            let who = if by_person { "a person" } else { "an agent" };
            world
                .story
                .tell(format!("{} begins lineage {} ({who})", site.name, lineage.number));
            if !by_person {
                bootstrapped(world, site, &lineage);
            }
        }
    }

    fn one_writer(&self, world: &Arc<World>) {
        let writable = world.writable();
        let mut lineages: Vec<Lineage> = writable.iter().map(|(_, lineage)| *lineage).collect();
        lineages.sort();
        lineages.dedup();
        if lineages.len() < 2 {
            return;
        }
        let truth = world.truth();
        let of = |lineage: &Lineage| truth.origins.get(&lineage.number).cloned();
        let origins: Vec<Origin> = lineages.iter().filter_map(of).collect();
        let newest = origins.iter().max_by_key(|origin| origin.at);
        let spread = origins
            .iter()
            .map(|origin| origin.at)
            .max()
            .zip(origins.iter().map(|origin| origin.at).min());
        let in_window = spread.is_some_and(|(last, first)| last - first < WINDOW);
        let by_person = origins.iter().any(|origin| origin.by_person);
        drop(truth);
        match newest {
            Some(_) if world.truth().inside_window => {}
            Some(newest) if newest.by_person || (in_window && by_person) => {
                world.mark(Mark::InsideWindow);
                world.truth().inside_window = true;
            }
            _ => world.story.wrong(format!("two lineages take writes: {origins:?}")),
        }
    }

    fn members(&mut self, world: &Arc<World>) {
        for site in &world.sites {
            let online = site.server.online_in();
            let before = self.online.get(&site.name).copied();
            match online {
                Some(lineage) if before != Some(lineage) => {
                    self.online.insert(site.name.clone(), lineage);
                    came_in(world, site, &lineage);
                    let left = self.out.get(&site.name).copied();
                    let started = world.starts.last(&site.name).map(|(_, ago)| ago);
                    if left.zip(started).is_some_and(|(left, ago)| ago > left.elapsed()) {
                        world.mark(Mark::AutoRejoin);
                    }
                }
                None => {
                    if self.online.remove(&site.name).is_some() {
                        self.out.insert(site.name.clone(), Instant::now());
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// What is told at this moment by the coordinator that leads.
    fn status(&mut self, world: &Arc<World>) {
        let Some(leader) = world.leader() else {
            self.not_whole = None;
            return;
        };
        let told = leader.look(|world| status::clusters(world, Some(&prod())));
        let Some(told) = told.first() else { return };
        // An age that grows is no news.
        let verdict: String = told.verdict.chars().filter(|c| !c.is_ascii_digit()).collect();
        if verdict != self.told {
            self.told = verdict;
            world.story.tell(format!("status: {}", told.verdict));
        }
        // Of whose agent is silent, it says that this is old.
        let admitted = |site: &Arc<Site>| told.verdict.contains(&format!("{}'s agent last answered", site.name));
        let inside = |site: &Arc<Site>| {
            site.server.online_in().is_some() && !world.truth().let_in.contains(&site.name) || admitted(site)
        };
        if told.state != "ok" || world.writable().len() == 1 && world.sites.iter().all(inside) {
            self.not_whole = None;
            return;
        }
        let since = *self.not_whole.get_or_insert_with(Instant::now);
        if since.elapsed() > OK_FOR {
            self.not_whole = None;
            world
                .story
                .wrong(format!("status says for {OK_FOR:?} what is not so: {}", told.verdict));
        }
    }
}

/// Who takes writes holds, executed or received, everything that was acknowledged and that nobody gave up.
fn primary(world: &Arc<World>) {
    let writable = world.writable();
    let [(site, lineage)] = &writable[..] else { return };
    if world.truth().inside_window || world.truth().let_in.contains(&site.name) {
        return;
    }
    let missing = world.missing_on(site);
    if !missing.is_empty() {
        world.story.wrong(format!(
            "{} takes writes in lineage {} without acknowledged rows {missing:?}",
            site.name, lineage.number
        ));
    }
}

/// An agent has bootstrapped.
fn bootstrapped(world: &Arc<World>, site: &Arc<Site>, lineage: &Lineage) {
    world.mark(Mark::Bootstrapped);
    if world.messages.forced(&site.name) {
        world.mark(Mark::ForcedRecovery);
        world.give_up_all_but(site);
    }
    // A person did the same within the window that is documented: two groups, and both did what they could.
    // So it is where mysqld stood still inside START, after it had read the flag.
    let slept = world.starts.last(&site.name).is_some_and(|(_, ago)| ago > WINDOW);
    let hand = world.truth().by_hand.clone();
    let by_hand = slept || hand.is_some_and(|(_, at)| at.elapsed() < WINDOW);
    let missing = world.missing_on(site);
    if by_hand {
        world.mark(Mark::InsideWindow);
        world
            .story
            .tell("a person bootstrapped at the same moment, or mysqld stood still inside START");
        world.truth().inside_window = true;
    } else if !missing.is_empty() {
        world.story.wrong(format!(
            "{} bootstrapped lineage {} without acknowledged rows {missing:?}",
            site.name, lineage.number
        ));
    }
}

/// A member is ONLINE.
fn came_in(world: &Arc<World>, site: &Arc<Site>, lineage: &Lineage) {
    let last = world.starts.last(&site.name);
    world.story.tell(format!(
        "{} is ONLINE in lineage {} ({last:?})",
        site.name, lineage.number
    ));
    world.truth().let_in.remove(&site.name);
    // Who leads says what the group has; a member that was let in past its agent says nothing.
    let peers = world.sites.iter().filter(|peer| peer.name != site.name);
    let in_it = |peer: &&Arc<Site>| peer.server.online_in().as_ref() == Some(lineage);
    let inside: Vec<&Arc<Site>> = peers.filter(in_it).collect();
    let leads = inside.iter().find(|peer| peer.server.takes_writes());
    let Some(peer) = leads.or(inside.first()).copied() else {
        return;
    };
    let Some(other) = differs(&site.server.rows(), &peer.server.rows()) else {
        if matches!(last, Some((Who::Agent, _))) && world.leader().is_none() {
            world.mark(Mark::JoinedAlone);
        }
        return;
    };
    match last {
        Some((Who::Agent, ago)) if ago < Duration::from_secs(120) => world.story.wrong(format!(
            "{} was let in although {} has another transaction {other}",
            site.name, peer.name
        )),
        _ => {
            world.story.tell(format!(
                "{} came in with another transaction {other}, past its agent",
                site.name
            ));
            world.truth().let_in.insert(site.name.clone());
        }
    }
}

/// The first GTID that both have with different transactions.
pub fn differs(one: &BTreeMap<String, Row>, other: &BTreeMap<String, Row>) -> Option<String> {
    let same = |(gtid, row): (&String, &Row)| other.get(gtid).is_none_or(|there| there.transaction == row.transaction);
    one.iter().find(|pair| !same(*pair)).map(|(gtid, _)| gtid.clone())
}
