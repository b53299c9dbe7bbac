//! What agents have recorded of lineages goes into the log.
//!
//! Called by the loop on each tick, before anything is planned. What is new is decided by `planner::lineage`.

use clusterctl_proto::ids::HostName;

use super::Leader;
use crate::machine::Change;
use crate::planner::lineage;

impl Leader {
    /// Changes to propose.
    pub(super) fn lineages(&self) -> Vec<Change> {
        self.look(|world| {
            let clusters = world.model.clusters.values();
            let told = clusters.flat_map(|cluster| {
                lineage::unrecorded(world, cluster)
                    .into_iter()
                    .map(|told| Change::Lineage {
                        cluster: cluster.name.clone(),
                        id: told.id,
                        branch: told.branch,
                        leads: told.leads,
                    })
            });
            told.collect()
        })
    }

    /// What a host's agent is told of the lineages of its cluster, as JSON; empty: nothing is known.
    pub(super) fn lineages_of(&self, host: &HostName) -> Vec<u8> {
        self.node.state().read(|model| {
            let cluster = model.cluster_of(host);
            let known = cluster
                .map(|cluster| &cluster.lineages)
                .filter(|lineages| !lineages.is_empty());
            // A tree of plain names and sets has a JSON form; were it not so, nothing is told, and the agent lets nobody in by it.
            known
                .and_then(|lineages| serde_json::to_vec(lineages).ok())
                .unwrap_or_default()
        })
    }
}
