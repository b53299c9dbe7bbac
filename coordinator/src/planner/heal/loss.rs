//! What a break-glass would risk, as a short code: it stands for exactly what was shown. If anything of it changes, the code does,
//! too, and the approval is worth nothing.

use std::collections::BTreeMap;

use clusterctl_proto::gtid::GtidSet;
use clusterctl_proto::ids::HostName;

use crate::model::Cluster;

/// Eight hexadecimal digits over the cluster, who is left out, and what everybody else holds.
pub(super) fn code(cluster: &Cluster, without: &[HostName], held: &BTreeMap<HostName, GtidSet>) -> String {
    let mut without: Vec<&str> = without.iter().map(HostName::as_str).collect();
    without.sort_unstable();
    let mut text = format!("{} {}\n", cluster.cluster_id, without.join(","));
    for (host, set) in held {
        text.push_str(&format!("{host} {set}\n"));
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest
        .as_ref()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The command that does it.
pub(super) fn command(cluster: &Cluster, without: &[HostName], code: &str) -> String {
    let names: Vec<&str> = without.iter().map(HostName::as_str).collect();
    format!(
        "clusterctl recover {} --without {} --accept-loss {code} --expires 15m",
        cluster.name,
        names.join(",")
    )
}
