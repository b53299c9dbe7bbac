//! One seed's world: three members' hosts, coordinators, links, clients; and the truth about it, which no program knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clusterctl_coordinator::leader::Leader;
use tokio::time::Instant;

use crate::centre::Centre;
use crate::chance::Chance;
use crate::founding;
use crate::mysqld::{Formed, Lineage, Made, Net};
use crate::names::{CLUSTER_ID, GROUP_NAME, NODES, server_id, server_uuid};
use crate::raft::{Log, Way};
use crate::site::{Common, Site};
use crate::story::{Mark, Story};
use crate::tap::Messages;

/// The world.
pub struct World {
    /// Servers and links.
    pub net: Arc<Net>,
    /// The coordinators' log.
    pub log: Log,
    /// Hosts of members.
    pub sites: Vec<Arc<Site>>,
    /// Coordinators.
    pub centres: Vec<Arc<Centre>>,
    /// Random numbers.
    pub chance: Chance,
    /// What happens.
    pub story: Arc<Story>,
    /// What passed between agents and coordinators.
    pub messages: Arc<Messages>,
    truth: Mutex<Truth>,
    rows: AtomicU64,
    calm: AtomicBool,
}

/// What is true and nobody knows.
#[derive(Default)]
pub struct Truth {
    /// Rows that a client was told to be stored.
    pub acknowledged: BTreeSet<u64>,
    /// Of these, what a person gave up: by a bootstrap by hand of less, by a forced recovery with its code, by a new disk for the only
    /// member that held them.
    pub given_up: BTreeSet<u64>,
    /// Members that a person told a forced recovery to abandon.
    pub abandoned: BTreeSet<String>,
    /// Members on which a person made the server take writes although it is in no group.
    pub opened: BTreeSet<String>,
    /// Lineages that were seen, and who began them.
    pub origins: BTreeMap<u64, Origin>,
    /// Members that a person, or mysqld alone, has let in with something else in them.
    pub let_in: BTreeSet<String>,
    /// A member got a new disk.
    pub new_disk: bool,
    /// Members that have forgotten what they gave to others: with their ledger, or with their data.
    pub forgot: BTreeSet<String>,
    /// Since when a second lineage takes writes that began inside the documented window.
    pub inside_window: bool,
}

/// Who began a lineage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The lineage.
    pub lineage: Lineage,
    /// A person did.
    pub by_person: bool,
    /// On this host.
    pub host: String,
    /// When it was first seen.
    pub at: Instant,
}

impl World {
    /// As [`founding`] makes it, with one coordinator or three; nothing runs yet but the servers.
    pub fn new(seed: u64) -> Arc<Self> {
        crate::clock::begin();
        let chance = Chance::new(seed);
        let story = Story::new();
        let net = Net::new(chance.below(u64::MAX));
        let ids: Vec<u64> = if chance.one_in(3) { vec![1, 2, 3] } else { vec![1] };
        let delays = chance.clone();
        let log = Log::new(
            ids.iter().copied(),
            Box::new(move |way| match way {
                Way::Store => delays.ms(1, 8),
                Way::Ask | Way::Reply => delays.ms(0, 2),
            }),
        );
        founding::write(&log);
        // A coordinator often runs on a member's host; the log's other voters have hosts of their own.
        let beside = chance.one_in(2);
        let centre = |id: &u64| {
            let own = format!("control{id}");
            let host = if *id == 1 && beside { NODES[0] } else { own.as_str() };
            Centre::new(*id, host, log.clone(), chance.clone())
        };
        let centres: Vec<Arc<Centre>> = ids.iter().map(centre).collect();
        let messages = Messages::new(Arc::clone(&story));
        let servers = NODES.iter().enumerate().map(|(n, node)| {
            let server = net.add(node, &server_uuid(n).to_string());
            ((*node).to_owned(), server)
        });
        let servers: Arc<BTreeMap<_, _>> = Arc::new(servers.collect());
        let common = Arc::new(Common {
            net: Arc::clone(&net),
            servers: Arc::clone(&servers),
            centres: centres.clone(),
            chance: chance.clone(),
            tap: messages.clone(),
            ports: AtomicU16::new(1024),
        });
        let made: Vec<Made<'_>> = (0..NODES.len())
            .map(|n| Made {
                host: NODES[n],
                uuid: server_uuid(n).to_string(),
                id: server_id(n),
            })
            .collect();
        let accounts: Vec<(&str, String)> = made.iter().map(|made| (made.host, made.account())).collect();
        let accounts: Vec<(&str, &str)> = accounts.iter().map(|(host, user)| (*host, user.as_str())).collect();
        for server in servers.values() {
            server.equip(&GROUP_NAME.to_string(), &accounts);
        }
        net.form(&Formed {
            name: "prod",
            cluster_id: CLUSTER_ID.to_string(),
            group_name: GROUP_NAME.to_string(),
            members: &made,
        });
        let sites = servers
            .iter()
            .map(|(node, server)| Site::new(node, Arc::clone(server), Arc::clone(&common)));
        Arc::new(Self {
            sites: sites.collect(),
            net,
            log,
            centres,
            chance,
            story,
            messages,
            truth: Mutex::default(),
            rows: AtomicU64::new(0),
            calm: AtomicBool::new(false),
        })
    }

    /// Everything is switched on.
    pub fn start(&self) {
        self.sites.iter().for_each(|site| site.unit.boot());
        self.centres.iter().for_each(|centre| centre.start());
        self.sites.iter().for_each(|site| site.start_agent());
    }

    /// Every host: of members, and of coordinators.
    pub fn hosts(&self) -> Vec<String> {
        let sites = self.sites.iter().map(|site| site.name.clone());
        let centres = self.centres.iter().map(|centre| centre.host.clone());
        let mut all: Vec<String> = sites.chain(centres).collect();
        all.sort();
        all.dedup();
        all
    }

    /// A host.
    pub fn site(&self, name: &str) -> &Arc<Site> {
        let site = self.sites.iter().find(|site| site.name == name);
        site.expect("a host of this world")
    }

    /// The coordinator that leads in truth, if it runs.
    pub fn leader(&self) -> Option<Arc<Leader>> {
        let id = self.log.leader()?;
        self.centres.iter().find(|centre| centre.id == id)?.leader()
    }

    /// Faults are over: people leave it alone.
    pub fn calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Faults are over.
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// A new row's number.
    pub fn next_row(&self) -> u64 {
        self.rows.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Members whose server takes writes of clients into a group, with its lineage.
    pub fn writable(&self) -> Vec<(Arc<Site>, Lineage)> {
        let writable = self.sites.iter().filter_map(|site| {
            let lineage = site.server.writes_into()?;
            Some((Arc::clone(site), lineage))
        });
        writable.collect()
    }

    /// Every member is ONLINE in one group that takes writes.
    pub fn is_whole(&self) -> bool {
        let [(_, lineage)] = &self.writable()[..] else {
            return false;
        };
        let inside = |site: &Arc<Site>| site.server.online_in().as_ref() == Some(lineage) && site.agent_works();
        self.sites.iter().all(inside)
    }

    /// Nobody has any group that lives.
    pub fn nobody_lives(&self) -> bool {
        self.net.lineages().is_empty()
    }

    /// The truth.
    pub fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was acknowledged, was not given up, and is not on this server.
    pub fn missing_on(&self, site: &Site) -> Vec<u64> {
        let truth = self.truth();
        let mut missing = site.server.lacks(&truth.acknowledged);
        missing.retain(|row| !truth.given_up.contains(row));
        missing
    }

    /// A person makes this server's data count, whatever others hold.
    pub fn give_up_all_but(&self, site: &Site) {
        self.give_up(self.missing_on(site));
    }

    /// A person abandons members: what is not on this server, and nobody else holds, goes with them.
    pub fn give_up_only_on(&self, abandoned: &BTreeSet<String>, site: &Site) {
        let mut missing = self.missing_on(site);
        let others = self.sites.iter().filter(|other| !abandoned.contains(&other.name));
        let others: Vec<&Arc<Site>> = others.collect();
        missing.retain(|row| !others.iter().any(|other| other.server.holds(*row)));
        self.give_up(missing);
    }

    /// What no disk holds any more was lost with the one that was replaced.
    pub fn give_up_what_nobody_holds(&self) {
        let truth = self.truth();
        let wanted = truth.acknowledged.difference(&truth.given_up).copied();
        let nowhere = |row: &u64| !self.sites.iter().any(|site| site.server.holds(*row));
        let lost: Vec<u64> = wanted.filter(nowhere).collect();
        drop(truth);
        self.give_up(lost);
    }

    fn give_up(&self, rows: Vec<u64>) {
        if rows.is_empty() {
            return;
        }
        self.story
            .tell(format!("rows that only others held are given up: {rows:?}"));
        self.mark(Mark::GivenUp);
        self.truth().given_up.extend(rows);
    }

    /// Counts.
    pub fn mark(&self, mark: Mark) {
        self.story.mark(mark);
    }
}
