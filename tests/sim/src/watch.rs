//! The rules, looked at again and again while a seed runs: with the truth about every server, which no program of ours has.
//!
//! | rule | looked at |
//! | --- | --- |
//! | one lineage takes writes | with every event of a server, a link or a group |
//! | a bootstrap of ours holds everything that was acknowledged, or a person gave it up | when a lineage begins |
//! | a server in no group takes no writes | every look |
//! | nobody comes in by us with something else in it | when a member is ONLINE |
//! | nothing is entered below a promise | `tap`, with every outcome |
//! | nothing that only one member holds is cloned over, unless a person gave it up | with every event |
//! | what status calls OK is whole | twice a second |
//! | whoever takes writes holds everything that was acknowledged | twice a second |
//! | acknowledged rows are on the primary and on every member | at the end, `run` |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_coordinator::leader::status;
use clusterctl_coordinator::model::PlanState;
use tokio::time::Instant;

use crate::mysqld::{Lineage, Row, Who};
use crate::names::prod;
use crate::site::Site;
use crate::story::Mark;
use crate::world::{Origin, World};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at status: it costs a quarter of all else, and may be late by [`OK_FOR`].
const STATUS: Duration = Duration::from_millis(500);
/// A person who bootstraps within so long before or after a bootstrap of ours makes a second group: the documented window.
pub const WINDOW: Duration = Duration::from_secs(8);
/// A step that makes accounts on a server outside the group opens it for so long at most.
const ALONE: Duration = Duration::from_secs(5);
/// Status may call OK what has just ceased to be: what it was told is so old at most.
const OK_FOR: Duration = Duration::from_secs(10);

/// Looks for ever.
pub async fn run(world: Arc<World>) {
    let mut watch = Watch {
        online: BTreeMap::new(),
        alone: BTreeMap::new(),
        looked: Instant::now(),
        not_whole: None,
        told: String::new(),
    };
    loop {
        tokio::select! {
            biased;
            () = world.net.change() => watch.event(&world),
            () = tokio::time::sleep(LOOK) => watch.look(&world),
        }
    }
}

struct Watch {
    /// Who is ONLINE in which lineage.
    online: BTreeMap<String, Lineage>,
    /// Since when a server takes writes although it is in no group.
    alone: BTreeMap<String, Instant>,
    /// When status was looked at.
    looked: Instant,
    /// Since when the cluster is not whole although status says OK.
    not_whole: Option<Instant>,
    /// The last verdict.
    told: String,
}

impl Watch {
    /// What may be wrong for a moment only.
    fn event(&mut self, world: &Arc<World>) {
        self.lineages(world);
        self.one_writer(world);
        discarded(world);
    }

    fn look(&mut self, world: &Arc<World>) {
        self.event(world);
        self.members(world);
        self.outside(world);
        if self.looked.elapsed() >= STATUS {
            self.looked = Instant::now();
            self.status(world);
            primary(world);
            copies(world);
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
            let by_person = lineage.forced.is_some() || !matches!(site.server.started(), Some((Who::Agent, _)));
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
            if by_person {
                world.give_up_all_but(site);
            } else {
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
                    if matches!(site.server.started(), Some((Who::Itself, _))) {
                        world.mark(Mark::AutoRejoin);
                    }
                }
                None => {
                    self.online.remove(&site.name);
                }
                Some(_) => {}
            }
        }
    }

    /// A server in no group takes no writes: nothing would bring them to the others. What a person opened is his.
    fn outside(&mut self, world: &Arc<World>) {
        for site in &world.sites {
            if !site.server.takes_writes_alone() || world.truth().opened.contains(&site.name) || !site.agent_works() {
                self.alone.remove(&site.name);
                continue;
            }
            let since = *self.alone.entry(site.name.clone()).or_insert_with(Instant::now);
            if since.elapsed() > ALONE {
                self.alone.remove(&site.name);
                let what = format!("{} is in no group and takes writes for {ALONE:?}", site.name);
                world.story.wrong(what);
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

/// A copy that goes on beside another plan of the cluster.
fn copies(world: &Arc<World>) {
    let beside = world.log.state().read(|model| {
        let open = model.plans.values().filter(|plan| plan.state == PlanState::Running);
        let (side, others): (Vec<_>, Vec<_>) = open.partition(|plan| plan.draft.side);
        !side.is_empty() && !others.is_empty()
    });
    if beside {
        world.mark(Mark::CopyBeside);
    }
}

/// A clone drops the data of its host first, a reset of the applier's channel what it had not applied: what nobody else held is gone.
fn discarded(world: &Arc<World>) {
    for (host, row) in world.net.take_discarded() {
        let truth = world.truth();
        let gave_up = row.row.is_some_and(|row| truth.given_up.contains(&row));
        if gave_up || truth.inside_window || truth.let_in.contains(&host) {
            continue;
        }
        drop(truth);
        world
            .story
            .wrong(format!("a clone or a reset threw away what only {host} held: {row:?}"));
    }
}

/// An agent has bootstrapped.
fn bootstrapped(world: &Arc<World>, site: &Arc<Site>, lineage: &Lineage) {
    world.mark(Mark::Bootstrapped);
    let abandoned = world.messages.abandoned(&site.name);
    if !abandoned.is_empty() {
        world.mark(Mark::ForcedRecovery);
        if !abandoned.is_subset(&world.truth().abandoned) {
            let what = format!(
                "{} bootstrapped without {abandoned:?}, which no person wanted",
                site.name
            );
            world.story.wrong(what);
        }
        world.give_up_only_on(&abandoned, site);
    }
    // Two groups, and both did what they could, where a person did the same within the window that is documented, or while mysqld stood
    // still inside START, after it had set the flag ON. Before that its deadline guards it.
    let began = site.server.flag_on_for().unwrap_or_default();
    let by_hand = |origin: &Origin| origin.by_person && origin.at.elapsed() < began + WINDOW;
    let rival = world.truth().origins.values().any(by_hand);
    let missing = world.missing_on(site);
    if rival {
        world.mark(Mark::InsideWindow);
        world.story.tell(format!(
            "a person bootstrapped at the same moment, or while mysqld stood still inside START, which began {began:?} ago"
        ));
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
    let last = site.server.started();
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
    // Whose START no agent made gets its data from whomever Group Replication picks, also from one that was let in so before: then it
    // compares well with that one.
    let is_agents = matches!(last, Some((Who::Agent, _)));
    let beside = inside.iter().any(|peer| world.truth().let_in.contains(&peer.name));
    if !is_agents && beside && !world.missing_on(site).is_empty() {
        world.mark(Mark::LetIn);
        world
            .story
            .tell(format!("{} has its data from a member that was let in", site.name));
        world.truth().let_in.insert(site.name.clone());
        return;
    }
    // Mostly nothing differs, and then no row need be shown.
    let differing = site.server.diverges(&peer.server);
    let Some(other) = differing.and_then(|_| differs(&site.server.rows(), &peer.server.rows())) else {
        if matches!(last, Some((Who::Agent, _))) && world.leader().is_none() {
            world.mark(Mark::JoinedAlone);
        }
        return;
    };
    match last {
        Some((Who::Agent, _)) => world.story.wrong(format!(
            "{} was let in although {} has another transaction {other}",
            site.name, peer.name
        )),
        Some((Who::Person | Who::Itself, _)) | None => {
            world.mark(Mark::LetIn);
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
