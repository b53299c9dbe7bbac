//! What an operation wants, written into the model in the change that stores it.
//!
//! Refuses what contradicts the intent that is there; whether it can be *done* is the planner's question.

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::{ClusterName, HostName, OperationId, ServerId};
use clusterctl_proto::step::RouterPorts;

use super::hosts;
use super::operations::FreshIds;
use crate::model::{
    AccountIntent, Cluster, Member, MemberPhase, Model, Operation, OperationKind, RouterIntent, RouterPhase,
};

const MYSQL_PORT: u16 = 3306;
/// Feature level from which a member that is leaving remembers what it was: operations that brought it in may be forgotten by then.
const LEFT_AS_LEVEL: u32 = 3;

/// Writes it, all or nothing.
pub(super) fn write(
    model: &mut Model,
    id: OperationId,
    operation: &Operation,
    ids: &FreshIds<'_>,
) -> Result<(), Failure> {
    let name = &operation.cluster;
    if !matches!(operation.kind, OperationKind::Create { .. }) && !model.clusters.contains_key(name) {
        return Err(no_cluster(name));
    }
    match &operation.kind {
        OperationKind::Create {
            primary,
            with,
            routers,
            buffer_pool_bytes,
            ..
        } => {
            let members: Vec<&HostName> = std::iter::once(primary).chain(with).collect();
            create(model, id, name, &members, routers, *buffer_pool_bytes, ids)
        }
        OperationKind::Join { host, .. } => join(model, name, host, ids.server_ids),
        OperationKind::Remove { host, .. } => remove(model, name, host),
        OperationKind::AddRouter { host, .. } => add_router(model, name, host),
        OperationKind::RemoveRouter { host, .. } => remove_router(model, name, host),
        OperationKind::CreateAccount { account } => {
            let key = format!("{}@{}", account.user, account.from);
            let accounts = &mut find(model, name)?.accounts;
            match accounts.get(&key) {
                Some(known) if known.account != *account => Err(Failure::new(
                    "account_exists",
                    format!("account {key} exists already, for something else"),
                )
                .hint(format!(
                    "choose another name, or drop it first: clusterctl account drop {} --from '{}'",
                    account.user, account.from
                ))
                .exit(ExitClass::Conflict)),
                Some(_) => Ok(()),
                None => {
                    accounts.insert(
                        key,
                        AccountIntent {
                            account: account.clone(),
                            made: false,
                        },
                    );
                    Ok(())
                }
            }
        }
        OperationKind::DropAccount { .. }
        | OperationKind::Switchover { .. }
        | OperationKind::Verify
        | OperationKind::Rejoin { .. }
        | OperationKind::Recover { .. }
        | OperationKind::StartRouter { .. }
        | OperationKind::Forget { .. } => Ok(()),
    }
}

fn create(
    model: &mut Model,
    id: OperationId,
    name: &ClusterName,
    members: &[&HostName],
    routers: &[HostName],
    buffer_pool_bytes: Option<u64>,
    ids: &FreshIds<'_>,
) -> Result<(), Failure> {
    if let Some(known) = model.clusters.get(name) {
        let same = known.members.len() == members.len()
            && members.iter().all(|host| known.members.contains_key(*host))
            && routers.iter().all(|host| known.routers.contains_key(host));
        return if same { Ok(()) } else { Err(exists(known)) };
    }
    for host in members.iter().copied().chain(routers) {
        if !model.hosts.contains_key(host) {
            return Err(hosts::unknown(host));
        }
        if let Some(other) = model.cluster_of(host) {
            return Err(elsewhere(host, other));
        }
    }
    let fresh = fresh_server_ids(model, ids.server_ids, members.len())?;
    let new = |server_id| Member {
        server_id,
        port: MYSQL_PORT,
        phase: MemberPhase::Joining,
        left_as: None,
        begun: false,
        maintenance: None,
    };
    let adding = || RouterIntent {
        ports: RouterPorts::default(),
        phase: RouterPhase::Adding,
        maintenance: None,
    };
    let cluster = Cluster {
        name: name.clone(),
        cluster_id: ids.cluster_id,
        group_name: ids.group_name,
        formed: false,
        gtid_set_is_complete: true,
        members: members
            .iter()
            .map(|host| (*host).clone())
            .zip(fresh.into_iter().map(new))
            .collect(),
        routers: routers.iter().map(|host| (host.clone(), adding())).collect(),
        accounts: std::collections::BTreeMap::new(),
        buffer_pool_bytes,
        last_plan: None,
        last_copy: None,
        created_by: id,
        paused: None,
        lineages: Default::default(),
        lineage: None,
        led_at: 0,
        left_out: std::collections::BTreeMap::new(),
        duties: std::collections::BTreeMap::new(),
        accounts_dropped: std::collections::BTreeSet::new(),
    };
    model.clusters.insert(name.clone(), cluster);
    Ok(())
}

fn join(model: &mut Model, name: &ClusterName, host: &HostName, candidates: &[ServerId]) -> Result<(), Failure> {
    if !model.hosts.contains_key(host) {
        return Err(hosts::unknown(host));
    }
    match model.cluster_of(host) {
        Some(other) if other.name != *name => return Err(elsewhere(host, other)),
        _ => {}
    }
    match find(model, name)?.members.get(host).map(|member| member.phase) {
        Some(MemberPhase::Leaving) => {
            return Err(opposite(host, "is being removed", &format!("clusterctl remove {host}")));
        }
        Some(MemberPhase::Joining | MemberPhase::Member) => return Ok(()),
        None => {}
    }
    let server_id = fresh_server_ids(model, candidates, 1)?
        .first()
        .copied()
        .ok_or_else(no_server_ids)?;
    let member = Member {
        server_id,
        port: MYSQL_PORT,
        phase: MemberPhase::Joining,
        left_as: None,
        begun: false,
        maintenance: None,
    };
    find(model, name)?.members.insert(host.clone(), member);
    Ok(())
}

fn remove(model: &mut Model, name: &ClusterName, host: &HostName) -> Result<(), Failure> {
    nothing_runs_for(model, name, host)?;
    let remembers = model.feature_level >= LEFT_AS_LEVEL;
    if let Some(member) = find(model, name)?.members.get_mut(host) {
        if remembers && member.phase != MemberPhase::Leaving {
            member.left_as = Some(member.phase);
        }
        member.phase = MemberPhase::Leaving;
    }
    Ok(())
}

fn add_router(model: &mut Model, name: &ClusterName, host: &HostName) -> Result<(), Failure> {
    if !model.hosts.contains_key(host) {
        return Err(hosts::unknown(host));
    }
    match model.cluster_of(host) {
        Some(other) if other.name != *name => return Err(elsewhere(host, other)),
        _ => {}
    }
    let routers = &mut find(model, name)?.routers;
    match routers.get(host).map(|router| router.phase) {
        Some(RouterPhase::Removing) => Err(opposite(
            host,
            "is being removed as a router",
            &format!("clusterctl router remove {host}"),
        )),
        Some(RouterPhase::Adding | RouterPhase::Router) => Ok(()),
        None => {
            routers.insert(
                host.clone(),
                RouterIntent {
                    ports: RouterPorts::default(),
                    phase: RouterPhase::Adding,
                    maintenance: None,
                },
            );
            Ok(())
        }
    }
}

fn remove_router(model: &mut Model, name: &ClusterName, host: &HostName) -> Result<(), Failure> {
    nothing_runs_for(model, name, host)?;
    if let Some(router) = find(model, name)?.routers.get_mut(host) {
        router.phase = RouterPhase::Removing;
    }
    Ok(())
}

/// An operation that brings this host in, or takes it out, must end before another takes it out.
fn nothing_runs_for(model: &Model, name: &ClusterName, host: &HostName) -> Result<(), Failure> {
    let about = |kind: &OperationKind| match kind {
        OperationKind::Create {
            primary, with, routers, ..
        } => primary == host || with.contains(host) || routers.contains(host),
        OperationKind::Join { host: other, .. }
        | OperationKind::Remove { host: other, .. }
        | OperationKind::AddRouter { host: other, .. }
        | OperationKind::RemoveRouter { host: other, .. } => other == host,
        _ => false,
    };
    match model
        .active_operations()
        .find(|op| op.cluster == *name && about(&op.kind))
    {
        None => Ok(()),
        Some(running) => Err(Failure::new(
            "operation_running",
            format!(
                "operation {} ({}) is about {host} and has not ended",
                running.id,
                running.kind.name()
            ),
        )
        .hint(format!(
            "clusterctl ops watch {0}; or stop it: clusterctl ops cancel {0}",
            running.id
        ))
        .exit(ExitClass::Conflict)
        .transient()),
    }
}

/// The first candidates that no member has.
fn fresh_server_ids(model: &Model, candidates: &[ServerId], wanted: usize) -> Result<Vec<ServerId>, Failure> {
    let taken = |id: &ServerId| {
        model
            .clusters
            .values()
            .any(|cluster| cluster.members.values().any(|m| m.server_id == *id))
    };
    let mut fresh: Vec<ServerId> = Vec::new();
    for id in candidates {
        if fresh.len() < wanted && id.0 != 0 && !taken(id) && !fresh.contains(id) {
            fresh.push(*id);
        }
    }
    if fresh.len() < wanted {
        Err(no_server_ids())
    } else {
        Ok(fresh)
    }
}

fn no_server_ids() -> Failure {
    Failure::new("no_server_id", "no unused server id among those drawn")
        .hint("type the command again")
        .transient()
}

fn find<'a>(model: &'a mut Model, name: &ClusterName) -> Result<&'a mut Cluster, Failure> {
    model.clusters.get_mut(name).ok_or_else(|| no_cluster(name))
}

/// No such cluster.
pub fn no_cluster(name: &ClusterName) -> Failure {
    Failure::new("unknown_cluster", format!("there is no cluster {name}"))
        .hint(format!(
            "make it: clusterctl create {name} --primary HOST; or list what there is: clusterctl status"
        ))
        .exit(ExitClass::Usage)
}

fn exists(known: &Cluster) -> Failure {
    let names = |keys: Vec<&HostName>| keys.iter().map(|host| host.as_str()).collect::<Vec<_>>().join(", ");
    let mut failure = Failure::new(
        "cluster_exists",
        format!("cluster {} exists already, with other members", known.name),
    )
    .fact(format!("members: {}", names(known.members.keys().collect())));
    if !known.routers.is_empty() {
        failure = failure.fact(format!("routers: {}", names(known.routers.keys().collect())));
    }
    failure
        .hint("add members and routers to it: clusterctl join HOST, clusterctl router add HOST; or choose another name")
        .exit(ExitClass::Conflict)
}

fn elsewhere(host: &HostName, other: &Cluster) -> Failure {
    let role = if other.routers.contains_key(host) {
        "router "
    } else {
        ""
    };
    Failure::new(
        "host_in_other_cluster",
        format!("{host} belongs to cluster {}", other.name),
    )
    .hint(format!(
        "take it out there first: clusterctl {role}remove {host} --cluster {}",
        other.name
    ))
    .exit(ExitClass::Conflict)
}

fn opposite(host: &HostName, what: &str, finish: &str) -> Failure {
    Failure::new("host_leaving", format!("{host} {what}"))
        .hint(format!("let that end first: {finish}"))
        .exit(ExitClass::Conflict)
}
