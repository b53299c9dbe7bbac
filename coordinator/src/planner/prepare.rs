//! Steps that make a bare host ready: names, packages, certificate, server. Hosts are prepared side by side.

use std::collections::BTreeSet;

use clusterctl_proto::ids::{HostName, HostRole, StepNumber};
use clusterctl_proto::observe::{DataDirectory, HostEntry, HostFacts};
use clusterctl_proto::step::Step;

use super::builder::Builder;
use super::context::Context;
use super::world::{Planning, Seen};
use super::{live, settings};
use crate::model::{Cluster, Member};

/// What a host is prepared for.
#[derive(Clone, Copy)]
pub(crate) struct Purpose {
    /// To be a member.
    pub member: bool,
    /// To be a router.
    pub router: bool,
}

/// Where the preparation of a host ends.
#[derive(Clone, Default)]
pub(crate) struct Prepared {
    /// Names are known there.
    pub names: Vec<StepNumber>,
    /// Packages are there.
    pub packages: Vec<StepNumber>,
    /// mysqld runs with our settings (members only).
    pub server: Vec<StepNumber>,
}

/// Names that every host of a cluster must know: members, routers, and coordinators' hosts.
pub(crate) fn entries(context: &Context<'_>, cluster: &Cluster) -> Vec<HostEntry> {
    let hosts = context.world.model.hosts.values();
    let wanted = hosts.filter(|host| cluster.has(&host.name) || host.roles.contains(&HostRole::Coordinator));
    let entries = wanted.filter(|host| !host.addresses.is_empty()).map(|host| HostEntry {
        name: host.name.clone(),
        addresses: host.addresses.clone(),
    });
    entries.collect()
}

/// Names and packages.
pub(crate) fn base(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    host: &HostName,
    purpose: Purpose,
) -> Planning<Prepared> {
    let (seen, facts) = context.with_facts(host)?;
    if let Some(other) = copied_from(context, host, seen, facts) {
        builder.step(
            host,
            Step::MachineId {
                not: facts.machine_id.clone(),
            },
            format!("give {host} a machine-id of its own: it has that of {other}"),
            &[],
        );
    }
    let names = builder.step(
        host,
        Step::HostsFile {
            entries: entries(context, cluster),
        },
        format!("write the cluster's names into /etc/hosts on {host}"),
        &[],
    );
    let (required, optional) = packages(facts, purpose);
    let packages = builder.step(
        host,
        Step::Packages {
            required: required.clone(),
            optional,
        },
        format!("install {} on {host}", required.join(", ")),
        &[],
    );
    Ok(Prepared {
        names: vec![names],
        packages: vec![packages],
        server: Vec::new(),
    })
}

/// Another host with the same machine-id, if it is this one that should change: of copies the first by name keeps it, and so does
/// one that holds a cluster's data.
fn copied_from<'a>(context: &Context<'a>, host: &HostName, seen: &Seen, facts: &HostFacts) -> Option<&'a HostName> {
    let holds_data = |seen: &Seen| matches!(seen.observation.mysql.data, DataDirectory::Ours { .. });
    if facts.machine_id.is_empty() || holds_data(seen) {
        return None;
    }
    let others = context.world.sight.iter().filter(|(name, _)| *name != host);
    let mut same = others.filter(|(_, other)| {
        other
            .host
            .as_ref()
            .is_some_and(|theirs| theirs.machine_id == facts.machine_id)
    });
    same.find(|(name, other)| *name < host || holds_data(other))
        .map(|(name, _)| name)
}

/// Certificate and server, after names and packages.
pub(crate) fn server(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    host: &HostName,
    member: &Member,
    prepared: &mut Prepared,
) -> Planning<()> {
    let (_, facts) = context.with_facts(host)?;
    let enrolled = context.host(host)?;
    // The key belongs to the mysql user, whom the package makes; and the server must find it at its (only) restart.
    let certificate = builder.step(
        host,
        Step::ServerCertificate {
            host: host.clone(),
            addresses: enrolled.addresses.clone(),
        },
        format!("give mysqld on {host} a certificate"),
        &prepared.packages,
    );
    let carries_router = enrolled.roles.contains(&HostRole::Router);
    let (pool, why) = settings::buffer_pool(cluster.buffer_pool_bytes, facts.memory_bytes, carries_router);
    builder.note(format!("buffer pool of {host}: {why}"));
    let after: Vec<StepNumber> = prepared
        .names
        .iter()
        .chain(&prepared.packages)
        .copied()
        .chain([certificate])
        .collect();
    let server = builder.step(
        host,
        Step::Server {
            config: settings::server(cluster, host, member, pool),
        },
        format!("configure and start mysqld on {host}"),
        &after,
    );
    prepared.server = vec![server];
    Ok(())
}

/// Names on the hosts of the cluster but one, which is prepared or leaves; those that do not answer are left out and named.
pub(crate) fn names_elsewhere(
    builder: &mut Builder,
    context: &Context<'_>,
    cluster: &Cluster,
    but: &HostName,
    after: &[StepNumber],
) -> Vec<StepNumber> {
    let entries = entries(context, cluster);
    let hosts: BTreeSet<&HostName> = cluster.members.keys().chain(cluster.routers.keys()).collect();
    let mut steps = Vec::new();
    for host in hosts.into_iter().filter(|host| *host != but) {
        if !live::takes_orders(&context.world, cluster, host) {
            builder.note(format!(
                "{host} does not answer or is busy: its /etc/hosts is left as it is"
            ));
            continue;
        }
        steps.push(builder.best_effort(
            host,
            Step::HostsFile {
                entries: entries.clone(),
            },
            format!("write the cluster's names into /etc/hosts on {host}"),
            after,
        ));
    }
    steps
}

fn packages(facts: &HostFacts, purpose: Purpose) -> (Vec<String>, Vec<String>) {
    let mut required = Vec::new();
    let mut optional = Vec::new();
    if purpose.member {
        required.extend(facts.packages.server.iter().cloned());
        optional.extend(facts.packages.optional.iter().cloned());
    }
    if purpose.router {
        required.extend(facts.packages.router.iter().cloned());
    }
    let mut seen = BTreeSet::new();
    required.retain(|name| seen.insert(name.clone()));
    optional.retain(|name| seen.insert(name.clone()));
    (required, optional)
}
