//! Pre-flight: every condition that a host must meet, checked by name from what its agent tells.
//!
//! Called by `api` for `clusterctl check` and by the planner before it touches a host.

mod result;

use clusterctl_proto::ids::HostName;

use super::World;

pub use result::{CheckResult, HostChecks, Verdict, worst};

/// Checks these hosts for the roles that they have. A check in `ignore` is made, but does not count.
pub fn check(world: &World<'_>, hosts: &[HostName], ignore: &[String]) -> Vec<HostChecks> {
    let _ = ignore;
    hosts
        .iter()
        .map(|host| {
            let certain = world.sight.get(host).is_some_and(|seen| seen.is_certain());
            let agent = if certain {
                CheckResult::pass("agent", "answers")
            } else {
                CheckResult::fail("agent", "does not answer", "on the host: systemctl status clusterctl-agent")
            };
            HostChecks { host: host.clone(), checks: vec![agent] }
        })
        .collect()
}
