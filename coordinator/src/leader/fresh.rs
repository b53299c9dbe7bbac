//! What a plan did is seen before anything else is decided: answers asked before it ended do not count after it.
//!
//! When a plan has settled, every host of its cluster is asked at once. Until those with a stream have answered that, the cluster's
//! operations are not planned and requests wait: else a primary that has just moved would be seen twice. A host
//! that stays silent holds nobody up for longer than its older answer would count as certain.

use std::collections::BTreeSet;
use std::time::Duration;

use clusterctl_proto::ids::{ClusterName, HostName, PlanId};
use tokio::time::Instant;

use super::Leader;
use crate::machine::plans;

/// As long as an answer is certain.
const LONGEST: Duration = Duration::from_secs(3);

impl Leader {
    /// A step of this plan has ended. If it was the last one, its cluster is looked at anew.
    pub(super) fn ask_after(&self, plan: PlanId) {
        let settled = self.node.state().read(|model| {
            let plan = model.plans.get(&plan).filter(|plan| plans::is_settled(plan))?;
            let mut hosts: BTreeSet<HostName> = plan.draft.steps.iter().map(|step| step.host.clone()).collect();
            if let Some(cluster) = model.clusters.get(&plan.draft.cluster) {
                hosts.extend(cluster.members.keys().chain(cluster.routers.keys()).cloned());
            }
            Some((plan.draft.cluster.clone(), hosts))
        });
        let Some((cluster, hosts)) = settled else { return };
        let now = Instant::now();
        for host in &hosts {
            let hands_off = self.hands_off(host);
            self.sessions().ask(host, now, false, Vec::new(), hands_off);
        }
        self.settled().insert(cluster, (now, hosts));
    }

    /// Clusters whose last plan has ended so recently that not every host was seen since.
    pub(super) fn unseen(&self, now: Instant) -> BTreeSet<ClusterName> {
        let (sessions, seen) = (self.sessions(), self.seen());
        let mut settled = self.settled();
        settled.retain(|_, (since, hosts)| {
            let old = |host: &HostName| seen.asked(host).is_none_or(|asked| asked < *since);
            now.saturating_duration_since(*since) < LONGEST
                && hosts.iter().any(|host| sessions.current(host).is_some() && old(host))
        });
        settled.keys().cloned().collect()
    }

    /// Returns when every host with a stream has answered at least once, or a second has passed: an agent that has just come is
    /// not told as one that never did.
    pub async fn until_met(&self) {
        let mut answers = self.answers.subscribe();
        let met = async {
            loop {
                answers.borrow_and_update();
                let strangers = {
                    let sessions = self.sessions();
                    let seen = self.seen();
                    sessions.hosts().iter().any(|host| seen.asked(host).is_none())
                };
                if !strangers || answers.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), met).await;
    }

    /// Returns when what the cluster's last plan did has been seen, or will not be in time.
    pub async fn until_seen(&self, cluster: &ClusterName) {
        self.until(|unseen| !unseen.contains(cluster)).await;
    }

    /// The same for every cluster: what a command has just done is not told as it was before.
    pub async fn until_all_seen(&self) {
        self.until(BTreeSet::is_empty).await;
    }

    async fn until(&self, enough: impl Fn(&BTreeSet<ClusterName>) -> bool) {
        let mut answers = self.answers.subscribe();
        let seen = async {
            loop {
                answers.borrow_and_update();
                if enough(&self.unseen(Instant::now())) || answers.changed().await.is_err() {
                    return;
                }
            }
        };
        // Whoever stays silent is not certain any more by then.
        let _ = tokio::time::timeout(LONGEST, seen).await;
    }
}
