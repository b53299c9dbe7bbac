//! Pre-flight: every condition that a host must meet, checked by name from what its agent tells.
//!
//! Called by `api` for `clusterctl check` and by the planner before it touches a host. A check that clusterctl itself
//! repairs at `create` or `join` only warns, with the fix [`AT_CREATE`].

mod identity;
mod machine;
mod mysql;
mod network;
mod result;

#[cfg(test)]
mod tests;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{HostName, HostRole};
use clusterctl_proto::observe::HostFacts;

use super::context::Context;
use super::world::{Planning, Seen, World};
use crate::machine::hosts;
use crate::model::{Cluster, Host};

pub use result::{CheckResult, HostChecks, Verdict, worst};

/// The fix of what clusterctl repairs by itself.
pub const AT_CREATE: &str = "at create";

/// One host that is looked at.
struct Subject<'a> {
    world: World<'a>,
    host: &'a Host,
    seen: &'a Seen,
    facts: &'a HostFacts,
    /// The cluster that it belongs to, or is to belong to.
    cluster: Option<&'a Cluster>,
    /// It is (to be) a member: mysqld runs here.
    db: bool,
    /// It is (to be) a router.
    router: bool,
    /// Hosts that it must find by name.
    peers: Vec<&'a Host>,
}

type Check = fn(&Subject<'_>) -> CheckResult;

/// For every host.
const ALL: [Check; 12] = [
    machine::os,
    machine::systemd,
    machine::package_manager,
    machine::packages_available,
    network::hostname,
    network::own_name_resolution,
    network::peer_resolution,
    network::address_conflict,
    machine::clock,
    machine::mandatory_access,
    identity::machine_id_unique,
    network::ports_free,
];

/// For a host that is (to be) a member.
const DB: [Check; 10] = [
    machine::disk_free,
    machine::memory,
    identity::server_uuid_unique,
    mysql::data_directory,
    mysql::other_cluster,
    mysql::mysql_version,
    mysql::primary_keys,
    mysql::storage_engines,
    mysql::replication_channels,
    mysql::bootstrap_flag,
];

/// Every check by name, as `--ignore-check` takes it.
pub const NAMES: [&str; 26] = [
    "enrolled",
    "role",
    "agent",
    "facts",
    "os",
    "systemd",
    "package_manager",
    "packages_available",
    "hostname",
    "own_name_resolution",
    "peer_resolution",
    "address_conflict",
    "clock",
    "mandatory_access",
    "machine_id_unique",
    "ports_free",
    "disk_free",
    "memory",
    "server_uuid_unique",
    "data_directory",
    "other_cluster",
    "mysql_version",
    "primary_keys",
    "storage_engines",
    "replication_channels",
    "bootstrap_flag",
];

/// Checks these hosts for the roles that they have. A check named in `ignore` is made, but does not count.
pub fn check(world: &World<'_>, hosts: &[HostName], ignore: &[String]) -> Vec<HostChecks> {
    let look = |name: &HostName| {
        let Some(host) = world.model.hosts.get(name) else {
            let fix =
                format!("clusterctl token create --role db, then on {name}: clusterctl-agent enroll --token-file -");
            let checks = vec![CheckResult::fail("enrolled", "is not enrolled", fix)];
            return HostChecks {
                host: name.clone(),
                checks,
            };
        };
        let cluster = world.model.cluster_of(name);
        let db = host.roles.contains(&HostRole::Db);
        let router = host.roles.contains(&HostRole::Router);
        let mut checks = vec![role(host, db || router)];
        let peers = hosts
            .iter()
            .filter(|peer| *peer != name)
            .filter_map(|peer| world.model.hosts.get(peer))
            .collect();
        checks.extend(examine(world, host, cluster, db, router, peers));
        ignored(
            HostChecks {
                host: name.clone(),
                checks,
            },
            ignore,
        )
    };
    hosts.iter().map(look).collect()
}

/// The refusal, if a host of a plan fails a check that is not ignored. Hosts have answered with facts by now.
pub(crate) fn demand(context: &Context<'_>, cluster: &Cluster, hosts: &[&HostName], ignore: &[String]) -> Planning<()> {
    let world = &context.world;
    let mut failed = Vec::new();
    for name in hosts {
        let host = context.host(name)?;
        let peers = world
            .model
            .hosts
            .values()
            .filter(|peer| peer.name != host.name && cluster.has(&peer.name))
            .collect();
        let db = cluster.members.contains_key(*name);
        let router = cluster.routers.contains_key(*name);
        let checks = examine(world, host, Some(cluster), db, router, peers);
        let checks = ignored(
            HostChecks {
                host: host.name.clone(),
                checks,
            },
            ignore,
        );
        failed.extend(checks.failed().map(|check| (host.name.clone(), check.clone())));
    }
    let [(first, worst), ..] = failed.as_slice() else {
        return Ok(());
    };
    let names: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
    // One check of one host has a code of its own, for scripts; several share one.
    let code = if failed.len() == 1 {
        worst.name
    } else {
        "preflight_failed"
    };
    let mut failure = Failure::refused(
        code,
        format!("pre-flight failed: {}", headline(first, worst, failed.len())),
    )
    .exit(ExitClass::Refused)
    .hint(format!(
        "see all: clusterctl check {}; leave one out at your own risk: --ignore-check {}",
        names.join(" "),
        worst.name
    ));
    for (host, check) in &failed {
        failure = failure.fact(format!("{host}: {}: {} (fix: {})", check.name, check.seen, check.fix));
    }
    Err(failure.into())
}

fn headline(host: &HostName, check: &CheckResult, all: usize) -> String {
    match all {
        1 => format!("{} on {host}: {}", check.name, check.seen),
        _ => format!("{all} checks, the first is {} on {host}: {}", check.name, check.seen),
    }
}

fn role(host: &Host, usable: bool) -> CheckResult {
    let roles: Vec<&str> = host.roles.iter().map(|role| role.as_str()).collect();
    if usable {
        return CheckResult::pass("role", roles.join(", "));
    }
    let seen = if roles.is_empty() {
        "none".to_owned()
    } else {
        format!("{} only", roles.join(", "))
    };
    let fix = format!(
        "enrol it anew: clusterctl host remove {0}, clusterctl token create --role db, then on {0}: clusterctl-agent enroll --force --token-file -",
        host.name
    );
    CheckResult::warn("role", seen, fix)
}

fn examine<'a>(
    world: &World<'a>,
    host: &'a Host,
    cluster: Option<&'a Cluster>,
    db: bool,
    router: bool,
    peers: Vec<&'a Host>,
) -> Vec<CheckResult> {
    let seen = world.sight.get(&host.name);
    let mut checks = vec![agent(world, host, seen)];
    let Some(seen) = seen.filter(|seen| seen.is_certain()) else {
        return checks;
    };
    let Some(facts) = &seen.host else {
        checks.push(CheckResult::warn(
            "facts",
            "it has not told about itself yet",
            "run the check again in a few seconds",
        ));
        return checks;
    };
    let subject = Subject {
        world: *world,
        host,
        seen,
        facts,
        cluster,
        db,
        router,
        peers,
    };
    checks.extend(ALL.iter().map(|check| check(&subject)));
    if db {
        checks.extend(DB.iter().map(|check| check(&subject)));
    }
    checks
}

fn agent(world: &World<'_>, host: &Host, seen: Option<&Seen>) -> CheckResult {
    let fix = if host.certificate_expires <= world.now {
        format!("its certificate has expired: {}", hosts::enrol_again(&host.name))
    } else {
        format!("is the host up? on {}: systemctl status clusterctl-agent", host.name)
    };
    match seen {
        Some(seen) => match seen.why_uncertain() {
            None => CheckResult::pass("agent", format!("answers, version {}", seen.observation.agent_version)),
            Some(why) => CheckResult::fail("agent", why, fix),
        },
        None => CheckResult::fail("agent", "has not answered since this coordinator leads", fix),
    }
}

fn ignored(mut checks: HostChecks, ignore: &[String]) -> HostChecks {
    for check in &mut checks.checks {
        // Without an agent nothing can be done, and an alarm is no opinion.
        let must = matches!(
            check.name,
            "agent" | "enrolled" | "bootstrap_flag" | "other_cluster" | "data_directory"
        );
        if check.verdict != Verdict::Pass && !must && ignore.iter().any(|name| name == check.name) {
            check.verdict = Verdict::Ignored;
        }
    }
    checks
}
