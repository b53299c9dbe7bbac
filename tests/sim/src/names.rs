//! Names and fixed ids of the simulated world: the same in every seed.

use clusterctl_proto::ids::{ClusterName, HostName};
use uuid::Uuid;

/// The members' hosts.
pub const NODES: [&str; 3] = ["node1", "node2", "node3"];
/// Id of the coordinator group.
pub const COORDINATORS: Uuid = Uuid::from_u128(0x0c20_0000_0000_4000_8000_0000_0000_0001);
/// `cluster_id`.
pub const CLUSTER_ID: Uuid = Uuid::from_u128(0x0c20_0000_0000_4000_8000_0000_0000_0002);
/// `group_replication_group_name`.
pub const GROUP_NAME: Uuid = Uuid::from_u128(0x0c20_0000_0000_4000_8000_0000_0000_0003);

/// The cluster.
pub fn prod() -> ClusterName {
    "prod".parse().expect("a name")
}

/// A host's name.
pub fn host(name: &str) -> HostName {
    name.parse().expect("a name")
}

/// `server_uuid` of a member.
pub fn server_uuid(node: usize) -> Uuid {
    Uuid::from_u128(0x0c20_0000_0000_4000_9000_0000_0000_0000 + node as u128)
}

/// `server_id` of a member.
pub fn server_id(node: usize) -> u32 {
    1001 + u32::try_from(node).unwrap_or_default()
}
