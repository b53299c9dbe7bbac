//! Router is stopped and disabled, its configuration for this cluster and our unit are removed; the package stays.

use std::path::Path;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::observe::UnitState;

use super::router_files::{self, CA, DROP_IN, MARK, OWN_UNIT, UNIT, folder};
use super::{Context, Done, router_half};
use crate::host::systemd;

/// Looks, removes.
pub async fn ensure(cluster: &ClusterName, cx: &Context) -> Result<Done, Failure> {
    let host = &*cx.host;
    let mut changes = Vec::new();
    // a Router of another cluster on this host is not ours to stop
    let other = router_files::cluster(host)
        .await?
        .is_some_and(|found| found != *cluster);
    if !other {
        let seen = systemd::unit(host, UNIT).await?;
        if !matches!(seen.state, UnitState::Absent | UnitState::Stopped | UnitState::Failed) {
            systemd::stop(host, UNIT).await?;
            changes.push(format!("stopped {UNIT}"));
        }
        if seen.enabled {
            systemd::disable(host, UNIT).await?;
        }
        // an earlier run may have been killed after it removed them
        let mut units = seen.outdated;
        for path in [OWN_UNIT, DROP_IN] {
            let ours = host
                .read(Path::new(path))
                .await?
                .is_some_and(|text| text.starts_with(MARK.as_bytes()));
            if ours && host.remove(Path::new(path)).await? {
                units = true;
                changes.push(format!("removed {path}"));
            }
        }
        if units {
            systemd::daemon_reload(host).await?;
        }
        host.remove(Path::new(CA)).await?;
    }
    if router_half::clear(cx, cluster).await? {
        changes.push(format!("removed {}", folder(cluster).display()));
    }
    router_half::end(cx).await?;
    Ok(Done::from_changes(changes))
}
