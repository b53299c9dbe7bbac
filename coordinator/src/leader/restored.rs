//! Notices an old copy of this coordinator's disk by what agents have received: judges each answer's ledger, and holds back orders.
//!
//! What a ledger means is decided in `planner::restored`; the signatures are verified by [`Proofs`], which `serve` provides.

use std::collections::BTreeSet;
use std::sync::Arc;

use clusterctl_proto::ids::{ClusterName, Generation, HostName};
use clusterctl_proto::observe::LedgerFacts;
use clusterctl_proto::tls::SharedCredentials;

use super::Leader;
use crate::model::Model;
use crate::planner::World;
use crate::planner::restored::{self, ForeignOrders};

/// The highest generation of a cluster for which a ledger holds a valid signature of a coordinator of this group.
pub type Proofs = Arc<dyn Fn(&LedgerFacts, &ClusterName) -> Option<Generation> + Send + Sync>;

/// For agents that keep no signatures.
pub fn nothing_proven() -> Proofs {
    Arc::new(|_, _| None)
}

/// What coordinators of this group have signed, by the CA of these credentials.
pub fn signed_by_coordinators(group: String, credentials: SharedCredentials) -> Proofs {
    Arc::new(move |ledger, cluster| {
        let generation = *ledger.generations.get(cluster)?;
        let proof = ledger.proofs.get(cluster)?;
        match proof.verify(credentials.current().ca(), &group, cluster, generation) {
            Ok(_) => Some(generation),
            Err(failure) => {
                tracing::warn!(%cluster, %generation, facts = ?failure.facts, "the signature in a ledger does not hold: {failure}");
                None
            }
        }
    })
}

/// What gets no orders.
pub(super) struct Withheld {
    /// Clusters that are not led.
    pub clusters: BTreeSet<ClusterName>,
    /// Hosts that are refused.
    pub hosts: BTreeSet<HostName>,
}

impl Leader {
    /// Orders in this ledger that are not of this log.
    pub(super) fn foreign(&self, ledger: &LedgerFacts) -> ForeignOrders {
        self.node.state().read(|model| {
            let applied = *self.node.state().changes().borrow();
            restored::foreign(ledger, model, applied, |cluster| (self.proofs)(ledger, cluster))
        })
    }

    /// What gets no orders now. Do not call it while holding a lock.
    pub(super) fn withheld(&self, model: &Model) -> Withheld {
        let sight = self.sight();
        let world = World {
            model,
            sight: &sight,
            now: super::proposer::now(),
            issuer: clusterctl_proto::identity::CA_ISSUER,
        };
        let lost = |name: &&ClusterName| restored::lost_log(&world, name).is_some();
        let refused = |name: &&HostName| restored::refused_host(&world, name).is_some();
        Withheld {
            clusters: model.clusters.keys().filter(lost).cloned().collect(),
            hosts: sight.keys().filter(refused).cloned().collect(),
        }
    }
}
