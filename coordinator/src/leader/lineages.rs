//! What agents have recorded of lineages goes into the log, and what is known of them back to the agents.
//!
//! Called by the loop on each tick, before anything is planned, and before each question. What is new is decided by `planner::lineage`.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::wire::agent;

use super::Leader;
use super::sessions::Lessons;
use crate::machine::Change;
use crate::planner::{lineage, vouch};

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

    /// What a host's agent is told of its cluster's data.
    pub(super) fn lessons_for(&self, host: &HostName) -> Lessons {
        self.look(|world| {
            let Some(cluster) = world.model.cluster_of(host) else {
                return Lessons::default();
            };
            let known = Some(&cluster.lineages).filter(|lineages| !lineages.is_empty());
            let stays = vouch::stays(world, cluster).into_iter().map(|stay| agent::Stay {
                address: stay.address,
                lineage: stay.id.into(),
                since: stay.span.since,
                until: stay.span.until,
            });
            Lessons {
                // A tree of plain names and sets has a JSON form; were it not so, nothing is told, and the agent lets nobody in by it.
                lineages_json: known
                    .and_then(|known| serde_json::to_vec(known).ok())
                    .unwrap_or_default(),
                stays: stays.collect(),
            }
        })
    }
}
