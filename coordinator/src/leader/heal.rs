//! Healing without anybody asking: on each tick the planner is asked what is wrong, and what is to be done is submitted as an operation
//! of this coordinator's own. From there on it is an operation as any other.
//!
//! It also keeps the story: what befell a cluster, who leads it now, what an agent did by itself. What was told already is remembered
//! in memory and, after a restart, looked up in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clusterctl_proto::ids::{ClusterName, HostName};
use tokio::time::Instant;
use uuid::Uuid;

use super::Leader;
use super::proposer;
use crate::machine::Change;
use crate::model::{Cluster, Event, HandsOff, Operation, OperationKind, UnixMs};
use crate::planner::heal::{self, Subject, Trouble};
use crate::planner::{Doubt, World, live};

/// A trouble is told when it has lasted so long: what passes at once is no story.
const LASTING: Duration = Duration::from_secs(3);
/// An agent that is away: it comes back seconds after a coordinator.
const SILENT: Duration = Duration::from_secs(15);
/// A deed of an agent and the line about it may differ so much, as clocks of hosts do.
const CLOCKS_MS: i64 = 60_000;

/// Looks at the journal, instead of at what this process remembers, only so long after its first look.
const RESTARTED: Duration = Duration::from_secs(30);

/// What was told, and what is about to be.
#[derive(Default)]
pub(super) struct Story {
    /// The first look.
    began: Option<Instant>,
    /// What is wrong with a cluster as a whole, or with one of its hosts.
    troubles: BTreeMap<(ClusterName, Option<HostName>), Chapter>,
    /// Who leads.
    primaries: BTreeMap<ClusterName, HostName>,
    /// Deeds of agents: host, time and text.
    deeds: BTreeSet<(HostName, i64, String)>,
    /// Hosts in no formed cluster under whose identity two machines speak.
    twins: BTreeSet<HostName>,
}

/// What is wrong with one subject.
struct Chapter {
    code: &'static str,
    since: Instant,
    /// This code was told.
    told: bool,
    /// Something was told of the subject since it was well.
    opened: bool,
}

impl Leader {
    /// What to propose now.
    pub(super) fn heal(&self, now: Instant) -> Vec<Change> {
        // Not held while the model is looked at; only this function uses it.
        let mut story = std::mem::take(&mut *self.story());
        // What the last plan did is to be seen first.
        let unseen = self.unseen(now);
        let changes = self.look(|world| {
            story.forget(world);
            let mut changes = own_deeds(world, &mut story);
            changes.extend(two_machines(world, &mut story));
            for cluster in world.model.clusters.values() {
                changes.extend(over(world, cluster));
                changes.extend(primary(world, cluster, &mut story));
                let troubles = heal::troubles(world, cluster);
                changes.extend(tell(cluster, &troubles, world, &mut story, now));
                if unseen.contains(&cluster.name) || live::outdated(world, cluster).is_some() {
                    continue;
                }
                let wanted = heal::needed(world, cluster, &troubles).into_iter();
                changes.extend(wanted.map(|kind| submit(cluster, kind, self.proposer.own_name(), (self.ids)())));
            }
            changes
        });
        *self.story() = story;
        changes
    }
}

impl Story {
    /// What befell a cluster that is not there any more.
    fn forget(&mut self, world: &World<'_>) {
        let lives = |name: &ClusterName| world.model.clusters.contains_key(name);
        self.troubles.retain(|(name, _), _| lives(name));
        self.primaries.retain(|name, _| lives(name));
    }
}

fn submit(cluster: &Cluster, kind: OperationKind, by: &str, request: Uuid) -> Change {
    Change::Submit {
        operation: Operation::wanted(request.to_string(), cluster.name.clone(), kind, by, proposer::now()),
        cluster_id: Uuid::nil(),
        group_name: Uuid::nil(),
        server_ids: Vec::new(),
    }
}

/// Pauses and maintenance that have ended by themselves are taken out of the intent, so that the journal says so.
fn over(world: &World<'_>, cluster: &Cluster) -> Vec<Change> {
    let ended = |said: &Option<HandsOff>| {
        let said = said.as_ref().filter(|said| !said.holds(world.now))?;
        Some(said.at)
    };
    let end = |host: Option<&HostName>, at: UnixMs| Change::HandsOff {
        cluster: cluster.name.clone(),
        host: host.cloned(),
        said: None,
        only: Some(at),
    };
    let members = cluster
        .members
        .iter()
        .map(|(host, member)| (host, ended(&member.maintenance)));
    let routers = cluster
        .routers
        .iter()
        .map(|(host, router)| (host, ended(&router.maintenance)));
    let hosts = members
        .chain(routers)
        .filter_map(|(host, at)| Some(end(Some(host), at?)));
    let whole = ended(&cluster.paused).map(|at| end(None, at));
    whole.into_iter().chain(hosts).collect()
}

fn note(cluster: &Cluster, host: Option<&HostName>, kind: &str, text: String) -> Change {
    Change::Note {
        kind: kind.to_owned(),
        cluster: Some(cluster.name.clone()),
        host: host.cloned(),
        text,
    }
}

/// The newest line about a cluster among those of this kind.
fn last_line<'a>(world: &World<'a>, cluster: &Cluster, like: impl Fn(&Event) -> bool) -> Option<&'a Event> {
    let mut events = world.model.events.iter().rev();
    events.find(|event| event.cluster.as_ref() == Some(&cluster.name) && like(event))
}

const PRIMARY_CHANGED: &str = "primary_changed";

/// Who leads, whenever it is another than before.
fn primary(world: &World<'_>, cluster: &Cluster, story: &mut Story) -> Option<Change> {
    let leads = live::primary(world, cluster).filter(|_| cluster.formed)?.host;
    // After a start of this coordinator the journal knows who led last.
    let told = || {
        last_line(world, cluster, |event| event.kind == PRIMARY_CHANGED)?
            .host
            .clone()
    };
    let before = story
        .primaries
        .insert(cluster.name.clone(), leads.clone())
        .or_else(told);
    if before.as_ref() == Some(leads) {
        return None;
    }
    let instead = before.map_or_else(String::new, |old| format!(" instead of {old}"));
    let text = format!("{leads} leads {}{instead}", cluster.name);
    Some(note(cluster, Some(leads), PRIMARY_CHANGED, text))
}

/// What is wrong for longer than a moment, and when it is over.
fn tell(cluster: &Cluster, troubles: &[Trouble], world: &World<'_>, story: &mut Story, now: Instant) -> Vec<Change> {
    let restarted = now.saturating_duration_since(*story.began.get_or_insert(now)) < RESTARTED;
    let mut changes = Vec::new();
    let mut there = BTreeSet::new();
    for trouble in troubles {
        let host = match &trouble.subject {
            Subject::Cluster => None,
            Subject::Host(host) => Some(host),
        };
        let key = (cluster.name.clone(), host.cloned());
        // Of several troubles of one host the first counts.
        if !there.insert(key.clone()) {
            continue;
        }
        let chapter = story.troubles.entry(key).or_insert(Chapter {
            code: trouble.code,
            since: now,
            told: false,
            opened: false,
        });
        if chapter.code != trouble.code {
            (chapter.code, chapter.since, chapter.told) = (trouble.code, now, false);
        }
        let lasting = if trouble.patient { SILENT } else { LASTING };
        if chapter.told || now.saturating_duration_since(chapter.since) < lasting {
            continue;
        }
        let about = |event: &Event| event.host.as_ref() == host && (event.kind == trouble.code || event.kind == OVER);
        let known = restarted
            && !chapter.opened
            && last_line(world, cluster, about).is_some_and(|event| event.kind == trouble.code);
        (chapter.told, chapter.opened) = (true, true);
        if known {
            continue;
        }
        let mut text = trouble.wrong.clone();
        if let heal::Care::Not(not) = &trouble.care {
            text.push_str(&format!("; {}", not.why));
        }
        changes.push(note(cluster, host, trouble.code, cut(&text)));
    }
    let gone: Vec<_> = story
        .troubles
        .iter()
        .filter(|(key, _)| key.0 == cluster.name && !there.contains(*key))
        .map(|(key, chapter)| (key.clone(), chapter.opened))
        .collect();
    for (key, opened) in gone {
        story.troubles.remove(&key);
        if opened {
            let who = key.1.as_ref().map_or(cluster.name.as_str(), |host| host.as_str());
            let host = key.1.as_ref().filter(|host| cluster.has(host));
            changes.push(note(cluster, host, OVER, format!("{who} is well again")));
        }
    }
    changes
}

/// Two machines with the identity of a host that is in no formed cluster: those of a cluster are among its troubles.
fn two_machines(world: &World<'_>, story: &mut Story) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut there = BTreeSet::new();
    for (host, seen) in world.sight {
        let cluster = world.model.cluster_of(host);
        let Some(Doubt::Twins(speakers)) = seen
            .doubt
            .as_ref()
            .filter(|_| cluster.is_none_or(|cluster| !cluster.formed))
        else {
            continue;
        };
        there.insert(host.clone());
        if !story.twins.contains(host) {
            changes.push(Change::Note {
                kind: heal::TWO_MACHINES.to_owned(),
                cluster: cluster.map(|cluster| cluster.name.clone()),
                host: Some(host.clone()),
                text: cut(&heal::two_machines(host, speakers)),
            });
        }
    }
    story.twins = there;
    changes
}

/// A set of transactions may be long.
fn cut(text: &str) -> String {
    text.chars().take(500).collect()
}

/// Kind of the line that ends a trouble.
const OVER: &str = "well_again";

/// What agents did without an order, while nobody could give them one.
fn own_deeds(world: &World<'_>, story: &mut Story) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut listed = BTreeSet::new();
    for (host, seen) in world.sight {
        for deed in &seen.observation.own_deeds {
            let key = (host.clone(), deed.at_ms, deed.text.clone());
            listed.insert(key.clone());
            if !story.deeds.insert(key) {
                continue;
            }
            let text = cut(&format!("{} (at {})", deed.text, time(deed.at_ms)));
            let known = |event: &Event| {
                event.host.as_ref() == Some(host)
                    && event.kind == deed.kind
                    && event.text == text
                    && event.at.saturating_add(CLOCKS_MS) >= deed.at_ms
            };
            if world.model.events.iter().rev().any(known) {
                continue;
            }
            changes.push(Change::Note {
                kind: deed.kind.chars().take(60).collect(),
                cluster: world.model.cluster_of(host).map(|cluster| cluster.name.clone()),
                host: Some(host.clone()),
                text,
            });
        }
    }
    story.deeds.retain(|deed| listed.contains(deed));
    changes
}

fn time(at_ms: i64) -> String {
    clusterctl_proto::clock::rfc3339(u64::try_from(at_ms).unwrap_or_default())
}

#[cfg(test)]
mod tests;
