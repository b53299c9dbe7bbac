//! Names from outside, read into types of the model; errors say what is known instead.

mod account;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, HostName};
use clusterctl_proto::wire::control as pb;
use clusterctl_proto::wire::control::submit_request::What;

use crate::machine::intent;
use crate::model::operation::RecoveryWish;
use crate::model::{Model, OperationKind, UnixMs};
use crate::planner::preflight;

pub(super) use account::secrets;

/// More names than any cluster has.
const MAX_NAMES: usize = 64;
/// A break-glass counts for so long unless said otherwise, and at most; seconds.
const DEFAULT_APPROVAL: u64 = 15 * 60;
const LONGEST_APPROVAL: u64 = 24 * 3600;

fn usage(code: &str, message: impl Into<String>) -> Failure {
    Failure::new(code, message).exit(ExitClass::Usage)
}

/// A valid host name.
pub(super) fn host_name(text: &str) -> Result<HostName, Failure> {
    text.parse()
        .map_err(|error: clusterctl_proto::ids::InvalidName| usage("bad_name", error.to_string()))
}

/// An enrolled host.
pub(super) fn host(model: &Model, text: &str) -> Result<HostName, Failure> {
    let name = host_name(text)?;
    if model.hosts.contains_key(&name) {
        return Ok(name);
    }
    let near = nearest(name.as_str(), model.hosts.keys().map(HostName::as_str));
    let enrol = format!(
        "to enrol it: clusterctl token create --role db, then on {name}: clusterctl-agent enroll --token-file -"
    );
    Err(match near {
        Some(near) => {
            usage("unknown_host", format!("no host {name} is enrolled")).hint(format!("did you mean {near}? {enrol}"))
        }
        None => usage("host_not_enrolled", format!("host {name} is not enrolled")).hint(enrol),
    })
}

/// A host that is in a cluster, or at least enrolled: for what takes out or moves, where enrolling is no help.
fn known_host(model: &Model, text: &str) -> Result<HostName, Failure> {
    host(model, text).map_err(|failure| {
        if failure.code != "host_not_enrolled" {
            return failure;
        }
        let names: Vec<&str> = model.hosts.keys().map(HostName::as_str).collect();
        failure
            .fact(format!("enrolled: {}", names.join(", ")))
            .hint("see what there is: clusterctl hosts, clusterctl status")
    })
}

/// Enrolled hosts, each once.
pub(super) fn hosts(model: &Model, texts: &[String]) -> Result<Vec<HostName>, Failure> {
    if texts.len() > MAX_NAMES {
        return Err(usage(
            "too_many",
            format!("{} hosts are more than {MAX_NAMES}", texts.len()),
        ));
    }
    let mut list: Vec<HostName> = Vec::new();
    for text in texts {
        let name = host(model, text)?;
        if list.contains(&name) {
            return Err(usage("named_twice", format!("host {name} is named twice")).hint("name each host once"));
        }
        list.push(name);
    }
    Ok(list)
}

/// The named cluster, or the only one.
pub(super) fn cluster(model: &Model, text: &str) -> Result<ClusterName, Failure> {
    if text.is_empty() {
        let mut names = model.clusters.keys();
        return match (names.next(), names.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => {
                Err(usage("no_cluster", "there is no cluster yet").hint("clusterctl create NAME --primary HOST"))
            }
            (Some(_), Some(_)) => {
                let all: Vec<&str> = model.clusters.keys().map(ClusterName::as_str).collect();
                Err(usage("which_cluster", "there are several clusters: name one")
                    .fact(format!("clusters: {}", all.join(", ")))
                    .hint("type the name as CLUSTER, or as --cluster NAME where --help shows that"))
            }
        };
    }
    let name = new_cluster(text)?;
    if model.clusters.contains_key(&name) {
        return Ok(name);
    }
    let near = nearest(name.as_str(), model.clusters.keys().map(ClusterName::as_str));
    Err(match near {
        Some(near) => {
            usage("unknown_cluster", format!("there is no cluster {name}")).hint(format!("did you mean {near}?"))
        }
        None => intent::no_cluster(&name),
    })
}

fn new_cluster(text: &str) -> Result<ClusterName, Failure> {
    text.parse()
        .map_err(|error: clusterctl_proto::ids::InvalidName| usage("bad_name", error.to_string()))
}

/// A name that looks much the same.
fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len())
        .min()
        .map(|(_, name)| name)
}

/// What is wanted, of which cluster.
pub(super) fn wanted(model: &Model, what: Option<What>, now: UnixMs) -> Result<(ClusterName, OperationKind), Failure> {
    match what {
        None => Err(usage("bad_request", "the request says nothing of what is wanted")
            .hint("is this clusterctl newer than the coordinator? compare: clusterctl version")),
        Some(What::Create(create)) => {
            let name = new_cluster(&create.cluster)?;
            let primary = host(model, &create.primary)?;
            let with = hosts(model, &create.with)?;
            let routers = hosts(model, &create.routers)?;
            if with.contains(&primary) {
                return Err(usage(
                    "named_twice",
                    format!("{primary} is the primary and named in --with"),
                ));
            }
            if let Some(both) = routers
                .iter()
                .find(|router| **router == primary || with.contains(router))
            {
                return Err(usage("named_twice", format!("{both} is named as member and as router"))
                    .hint("give Router a host of its own"));
            }
            let kind = OperationKind::Create {
                primary,
                with,
                routers,
                ignore_checks: checks(create.ignore_checks)?,
                buffer_pool_bytes: Some(create.buffer_pool_bytes).filter(|bytes| *bytes != 0),
            };
            Ok((name, kind))
        }
        Some(What::Join(join)) => {
            let recovery = match join.recovery.as_str() {
                "" | "auto" => RecoveryWish::Auto,
                "incremental" => RecoveryWish::Incremental,
                "clone" => RecoveryWish::Clone,
                other => {
                    return Err(usage("bad_recovery", format!("recovery {:?} is not known", cut(other)))
                        .hint("auto, incremental or clone"));
                }
            };
            let host = host(model, &join.host)?;
            let kind = OperationKind::Join {
                host,
                recovery,
                ignore_checks: checks(join.ignore_checks)?,
            };
            Ok((cluster(model, &join.cluster)?, kind))
        }
        Some(What::Remove(remove)) => {
            let host = host_name(&remove.host)?;
            let name = cluster_of(model, &remove.cluster, &host, &remove.host)?;
            Ok((
                name,
                OperationKind::Remove {
                    host,
                    force: remove.force,
                },
            ))
        }
        Some(What::AddRouter(add)) => {
            let kind = OperationKind::AddRouter {
                host: host(model, &add.host)?,
                ignore_checks: checks(add.ignore_checks)?,
            };
            Ok((cluster(model, &add.cluster)?, kind))
        }
        Some(What::RemoveRouter(remove)) => {
            let host = host_name(&remove.host)?;
            let name = cluster_of(model, &remove.cluster, &host, &remove.host)?;
            Ok((
                name,
                OperationKind::RemoveRouter {
                    host,
                    force: remove.force,
                },
            ))
        }
        Some(What::CreateAccount(create)) => {
            let account = account::account(&create)?;
            Ok((
                cluster(model, &create.cluster)?,
                OperationKind::CreateAccount { account },
            ))
        }
        Some(What::DropAccount(drop)) => {
            let kind = OperationKind::DropAccount {
                user: account::user(&drop.user)?,
                from: account::from(&drop.from)?,
            };
            Ok((cluster(model, &drop.cluster)?, kind))
        }
        Some(What::Switchover(switchover)) => {
            let to = if switchover.to.is_empty() {
                None
            } else {
                Some(known_host(model, &switchover.to)?)
            };
            Ok((cluster(model, &switchover.cluster)?, OperationKind::Switchover { to }))
        }
        Some(What::Recover(asked)) => Ok((cluster(model, &asked.cluster)?, recover(&asked, now)?)),
        Some(What::Verify(verify)) => Ok((cluster(model, &verify.cluster)?, OperationKind::Verify)),
    }
}

/// A break-glass is written with its end: it counts for a while only.
fn recover(recover: &pb::RecoverCluster, now: UnixMs) -> Result<OperationKind, Failure> {
    let without: Result<Vec<HostName>, Failure> = recover.without.iter().map(|text| host_name(text)).collect();
    let mut without = without?;
    without.sort();
    without.dedup();
    if without.len() > MAX_NAMES {
        return Err(usage("too_many", format!("more than {MAX_NAMES} hosts are named")));
    }
    let life = match recover.expires_seconds {
        0 => DEFAULT_APPROVAL,
        seconds if seconds <= LONGEST_APPROVAL => seconds,
        _ => {
            return Err(usage("too_long", "an approval may last a day at most").hint("--expires 15m"));
        }
    };
    let end = now.saturating_add(i64::try_from(life).unwrap_or(i64::MAX).saturating_mul(1000));
    Ok(OperationKind::Recover {
        expires_at: (!without.is_empty() || !recover.accept_loss.is_empty()).then_some(end),
        accept_loss: Some(cut(&recover.accept_loss)).filter(|code| !code.is_empty()),
        without,
    })
}

/// Where the host belongs, if no cluster is named: a host may be gone from the list of hosts, but not from its cluster.
fn cluster_of(model: &Model, named: &str, name: &HostName, text: &str) -> Result<ClusterName, Failure> {
    match model.cluster_of(name) {
        Some(of) if named.is_empty() => Ok(of.name.clone()),
        Some(_) => cluster(model, named),
        None => {
            // Known, but in no cluster: the planner says that nothing is to be done.
            known_host(model, text)?;
            cluster(model, named)
        }
    }
}

/// Names of pre-flight checks.
pub(super) fn checks(names: Vec<String>) -> Result<Vec<String>, Failure> {
    let known = preflight::NAMES;
    let Some(bad) = names.iter().find(|name| !known.contains(&name.as_str())) else {
        return Ok(names);
    };
    let bad = cut(bad);
    // A part of a name is more likely than a slip.
    let part = known
        .iter()
        .find(|name| !bad.is_empty() && name.contains(&bad))
        .copied();
    let near = part.or_else(|| nearest(&bad, known.iter().copied()));
    let meant = near.map_or_else(String::new, |near| format!("did you mean {near}? "));
    Err(usage("bad_check", format!("{bad:?} is no name of a check"))
        .hint(format!("{meant}names stand in: clusterctl check HOST")))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
