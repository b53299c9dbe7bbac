//! `clusterctl status` and `clusterctl hosts`, told from intent and observations. Pure.

use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::wire::control;

use crate::planner::World;

/// Status of this cluster, or of every one.
pub fn clusters(world: &World<'_>, which: Option<&ClusterName>) -> Vec<control::ClusterStatus> {
    let wanted = world.model.clusters.values().filter(|cluster| which.is_none_or(|name| *name == cluster.name));
    wanted
        .map(|cluster| control::ClusterStatus {
            name: cluster.name.to_string(),
            state: "unknown".to_owned(),
            verdict: format!("{} is unknown", cluster.name),
            group_name: cluster.group_name.to_string(),
            ..Default::default()
        })
        .collect()
}

/// Every enrolled host.
pub fn hosts(world: &World<'_>) -> Vec<control::Host> {
    world
        .model
        .hosts
        .values()
        .map(|host| control::Host { name: host.name.to_string(), ..Default::default() })
        .collect()
}
