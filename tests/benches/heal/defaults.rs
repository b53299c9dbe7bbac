//! The same hosts without our programs, as MySQL Shell would leave a cluster that it made with its defaults.

use std::time::Duration;

use anyhow::Result;

use crate::cluster::{Cluster, NODES};

/// Agents and coordinator are stopped, the hand-over is away, the settings are the defaults. A member whose state action differs
/// would not return by itself the way it does there.
const SETTINGS: &str = "SET PERSIST group_replication_member_expel_timeout = 5; SET PERSIST group_replication_start_on_boot = ON; \
    SET PERSIST group_replication_autorejoin_tries = 3; SET PERSIST group_replication_unreachable_majority_timeout = 0";

/// Sets them.
pub fn set(cluster: &Cluster) -> Result<()> {
    for host in NODES.into_iter().chain(["router1"]) {
        cluster.lab().sh(
            host,
            "systemctl disable -q --now clusterctl-agent; systemctl disable -q --now clusterctl-coordinator 2>/dev/null; \
             drop=/etc/systemd/system/mysql.service.d/clusterctl.conf; if [ -e $drop ]; then mv $drop /root/; systemctl daemon-reload; fi",
        )?;
    }
    for host in NODES {
        cluster.sql(host, SETTINGS)?;
    }
    cluster.whole(Duration::from_secs(60))
}
