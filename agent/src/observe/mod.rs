//! Answers a question of the leader: what this host is and what runs on it, as seen now.
//!
//! Asked once a second by `session/stream.rs`, so that path starts no process and opens no new connection to MySQL. An answer is
//! given within its time whatever hangs: a mysqld that does not answer is an answer, too.

mod facts;
mod lineage;
mod router;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use clusterctl_proto::ids::{ClusterName, HostName};
use clusterctl_proto::lineage::{Lineages, Span, Stay};
use clusterctl_proto::machine;
use clusterctl_proto::observe::{DataDirectory, HostFacts, LedgerFacts, MysqlFacts, Observation};
use clusterctl_proto::wire::agent::{self, Question};
use tokio::time::Instant;

use crate::config::Config;
use crate::deeds::Deeds;
use crate::host::Host;
use crate::host::packages::Versions;
use crate::ledger::Ledger;
use crate::mysql::Servers;
use crate::mysql::observe::{Looked, MysqlObserver};
use crate::mysql::standstill::Standstill;
use router::RouterWatch;

/// An answer that is older than 3 s when it arrives is worth nothing to the leader.
const PATIENCE: Duration = Duration::from_millis(2500);

/// The observer.
pub struct Observer {
    name: HostName,
    host: Arc<dyn Host>,
    config: Arc<Config>,
    ledger: Arc<Ledger>,
    deeds: Arc<Deeds>,
    boot_id: String,
    /// The address by which the coordinators are reached.
    preferred: Option<IpAddr>,
    mysql: MysqlObserver,
    router: RouterWatch,
    candidates: Arc<Mutex<Versions>>,
    last: Mutex<Option<(Instant, MysqlFacts)>>,
    /// The newest look that the record of the lineage has taken into account.
    noted: tokio::sync::Mutex<u64>,
    untold: Mutex<BTreeMap<ClusterName, Lineages>>,
}

impl Observer {
    /// Nothing seen yet.
    pub fn new(
        (host, servers): (Arc<dyn Host>, Arc<dyn Servers>),
        config: Arc<Config>,
        ledger: Arc<Ledger>,
        deeds: Arc<Deeds>,
        boot_id: String,
        preferred: Option<IpAddr>,
        name: HostName,
    ) -> Arc<Self> {
        Arc::new(Self {
            mysql: MysqlObserver::new(Arc::clone(&host), servers, Arc::clone(&config)),
            router: RouterWatch::new(),
            candidates: Arc::default(),
            host,
            config,
            ledger,
            deeds,
            last: Mutex::default(),
            noted: tokio::sync::Mutex::default(),
            untold: Mutex::default(),
            boot_id,
            preferred,
            name,
        })
    }

    /// `/proc/sys/kernel/random/boot_id`.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// For how long the group of this host's server has agreed on nothing, by this observer's looks.
    pub fn standstill(&self) -> Arc<Standstill> {
        self.mysql.standstill()
    }

    /// A step has ended on this host.
    pub fn acted(&self) {
        *lock(&self.last) = None;
        self.mysql.acted();
        self.router.acted();
    }

    /// Looks now.
    pub async fn observe(&self, question: &Question) -> Observation {
        self.learn(question).await;
        let (host, mysql, router) = tokio::join!(
            self.host_facts(question),
            self.look(question.full),
            self.router.facts(&*self.host, &self.config),
        );
        self.ledger.refresh().await;
        Observation {
            boot_id: self.boot_id.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            ledger: LedgerFacts {
                untold: lock(&self.untold).clone(),
                ..self.ledger.facts()
            },
            host,
            mysql,
            router,
            own_deeds: self.deeds.list(),
        }
    }

    /// The server as it was seen lately, or is now: while a leader asks once a second, the agent itself asks nothing.
    pub async fn server(&self, oldest: Duration) -> MysqlFacts {
        let last = lock(&self.last).clone();
        match last {
            Some((at, facts)) if at.elapsed() <= oldest => facts,
            _ => self.look(false).await,
        }
    }

    async fn look(&self, full: bool) -> MysqlFacts {
        let at = Instant::now();
        let (facts, looked) = self.mysql.observe(full, PATIENCE).await;
        self.note(&facts, looked).await;
        *lock(&self.last) = Some((at, facts.clone()));
        facts
    }

    /// Looks are taken into account in the order in which they read the server: the keeper's and a leader's may be under way at the same
    /// time, and what an earlier one saw is not true any more.
    async fn note(&self, facts: &MysqlFacts, looked: Looked) {
        let mut noted = self.noted.lock().await;
        if looked.number > *noted {
            *noted = looked.number;
            lineage::note(self, facts, looked).await;
        }
    }

    /// What the coordinator knows of lineages is kept for the time without one.
    async fn learn(&self, question: &Question) {
        let known = lock(&self.last).as_ref().and_then(|(_, facts)| cluster(facts));
        if let Some(cluster) = known.clone().filter(|_| !question.lineages_json.is_empty()) {
            let untold = lineage::learn(self, &cluster, &question.lineages_json).await;
            *lock(&self.untold) = untold.into_iter().map(|untold| (cluster.clone(), untold)).collect();
        }
        if let Some(cluster) = known {
            self.vouched(&cluster, stays(question)).await;
        }
    }

    /// Who vouches for what they gave to others, perhaps to this member.
    pub async fn vouched(&self, cluster: &ClusterName, stays: Vec<Stay>) {
        lineage::vouched(self, cluster, stays).await;
    }

    async fn host_facts(&self, question: &Question) -> Option<HostFacts> {
        if !question.full {
            return None;
        }
        let asked: Vec<String> = question.names.iter().map(|name| name.name.clone()).collect();
        let (mut facts, ()) = tokio::join!(
            facts::collect(&*self.host, &self.config, &asked, self.preferred),
            self.refresh_candidates(),
        );
        facts.candidates = lock(&self.candidates).clone();
        Some(facts)
    }

    /// apt may need seconds on a cold cache: what it finds then is in the next answer.
    async fn refresh_candidates(&self) {
        let (host, config, store) = (
            Arc::clone(&self.host),
            Arc::clone(&self.config),
            Arc::clone(&self.candidates),
        );
        let look = machine::spawn(async move {
            if let Some(versions) = facts::candidates(&*host, &config).await {
                *lock(&store) = versions;
            }
        });
        let _ = tokio::time::timeout(PATIENCE - Duration::from_millis(500), look).await;
    }
}

/// Whose data the server has.
fn cluster(facts: &MysqlFacts) -> Option<ClusterName> {
    match &facts.data {
        DataDirectory::Ours { cluster } => cluster.clone(),
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Who vouches, by the leader's word.
fn stays(question: &Question) -> Vec<Stay> {
    let stay = |stay: &agent::Stay| {
        let (since, until) = (stay.since, stay.until);
        Some(Stay {
            address: stay.address.clone(),
            id: stay.lineage.parse().ok()?,
            span: Span { since, until },
        })
    };
    question.stays.iter().filter_map(stay).collect()
}

#[cfg(test)]
mod tests;
