//! The group as its members report it.

use std::collections::BTreeSet;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::{
    DataDirectory, GroupMember, GroupView, MemberRole, MemberState, MetadataCopy, ServerFacts, UnitState,
};
use uuid::Uuid;

use super::context::Context;
use super::world::{Planning, Seen, World};
use crate::machine::plans;
use crate::model::{Cluster, MemberPhase, Plan, StepState};

/// The member that takes writes, by its own certain report.
#[derive(Clone, Copy)]
pub(crate) struct Primary<'a> {
    /// Its name.
    pub host: &'a HostName,
    /// Its server.
    pub server: &'a ServerFacts,
    /// Its view of the group.
    pub view: &'a GroupView,
}

impl<'a> Primary<'a> {
    /// The row of a host in this view.
    pub fn row(&self, world: &World<'_>, host: &HostName) -> Option<&'a GroupMember> {
        row(self.view, world, host)
    }

    /// The state of a host in this view.
    pub fn state(&self, world: &World<'_>, host: &HostName) -> Option<MemberState> {
        self.row(world, host).map(|row| row.state)
    }
}

/// The row of a host in a view: by its server's uuid if that is known, else by name.
pub(crate) fn row<'v>(view: &'v GroupView, world: &World<'_>, host: &HostName) -> Option<&'v GroupMember> {
    let uuid = server(world, host).map(|server| server.server_uuid);
    let by_uuid = view.members.iter().find(|row| Some(row.server_uuid) == uuid);
    by_uuid.or_else(|| {
        view.members
            .iter()
            .find(|row| row.host.eq_ignore_ascii_case(host.as_str()))
    })
}

/// The server of a host, however old the answer.
pub(crate) fn server<'a>(world: &World<'a>, host: &HostName) -> Option<&'a ServerFacts> {
    world.sight.get(host)?.observation.mysql.server.as_ref()
}

/// The server is configured for this cluster's group.
pub(crate) fn is_ours(server: &ServerFacts, cluster: &Cluster) -> bool {
    same_group(&server.group_name, cluster)
}

/// This text is this cluster's group name.
pub(crate) fn same_group(name: &str, cluster: &Cluster) -> bool {
    name.parse() == Ok::<Uuid, uuid::Error>(cluster.group_name)
}

/// This server's own view, if it takes part in this cluster's group (on its way in or in trouble included).
pub(crate) fn view<'a>(server: &'a ServerFacts, cluster: &Cluster) -> Option<&'a GroupView> {
    server
        .group
        .as_ref()
        .filter(|view| is_ours(server, cluster) && !view.is_out())
}

/// Members that certainly report themselves ONLINE PRIMARY with a quorum. More than one: the group is split.
pub(crate) fn primaries<'a>(world: &World<'a>, cluster: &'a Cluster) -> Vec<Primary<'a>> {
    let reports = cluster.members.keys().filter_map(|host| {
        let seen = world.certain(host)?;
        let server = seen.observation.mysql.server.as_ref()?;
        let view = view(server, cluster)?;
        let leads = view.state == MemberState::Online && view.role == MemberRole::Primary && view.has_quorum();
        leads.then_some(Primary { host, server, view })
    });
    reports.collect()
}

/// The one primary, if there is one.
pub(crate) fn primary<'a>(world: &World<'a>, cluster: &'a Cluster) -> Option<Primary<'a>> {
    match primaries(world, cluster).as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}

/// The one primary, or why nothing can be done without.
pub(crate) fn need_primary<'a>(context: &Context<'a>, cluster: &'a Cluster) -> Planning<Primary<'a>> {
    let all = primaries(&context.world, cluster);
    if let [one] = all.as_slice() {
        return Ok(*one);
    }
    if !all.is_empty() {
        let hosts: Vec<&str> = all.iter().map(|primary| primary.host.as_str()).collect();
        return Err(Failure::refused(
            "split_group",
            format!("more than one member of {} calls itself primary", cluster.name),
        )
        .fact(format!("primaries: {}", hosts.join(", ")))
        .hint(format!(
            "nothing is changed before this is understood: clusterctl status {}",
            cluster.name
        ))
        .into());
    }
    let mut failure = Failure::new("no_primary", format!("{} has no primary that answers", cluster.name))
        .hint(format!("see: clusterctl status {}", cluster.name))
        .exit(ExitClass::Unreachable)
        .transient();
    for host in cluster.members.keys() {
        failure = failure.fact(format!("{host}: {}", describe(&context.world, cluster, host)));
    }
    Err(context.not_yet(failure))
}

/// Members that the primary sees ONLINE, itself included, by intent's order.
pub(crate) fn online<'a>(world: &World<'_>, cluster: &'a Cluster, primary: &Primary<'_>) -> Vec<&'a HostName> {
    let members = cluster.members.keys();
    members
        .filter(|host| primary.state(world, host) == Some(MemberState::Online))
        .collect()
}

/// How many members of this view count for tolerance: ONLINE and RECOVERING (docs/metadata.md, Status).
pub(crate) fn voters(view: &GroupView) -> usize {
    let counts = |state| matches!(state, MemberState::Online | MemberState::Recovering);
    view.members.iter().filter(|row| counts(row.state)).count()
}

/// How many failures a group of this many voters survives.
pub(crate) fn tolerance(voters: usize) -> usize {
    voters.saturating_sub(1) / 2
}

/// Whether a host is out of every group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Out {
    /// Certainly.
    Yes,
    /// Certainly not; what it says.
    No(String),
    /// It cannot be told; why.
    Unknown(String),
}

/// Whether a host is certainly out of every group (safety rules 1 and 4).
pub(crate) fn out(world: &World<'_>, host: &HostName) -> Out {
    let Some(seen) = world.sight.get(host) else {
        return Out::Unknown(format!("{host} has not answered"));
    };
    if !seen.is_certain() {
        return Out::Unknown(format!("the agent of {host} does not answer"));
    }
    out_as_seen(host, seen)
}

/// Whether a host is certainly out of every group, or its Group Replication serves nobody (in ERROR, or trying to rejoin by itself) and may
/// be stopped.
pub(crate) fn out_of_service(world: &World<'_>, host: &HostName) -> Out {
    let gave_up = |server: &ServerFacts| {
        let view = server.group.as_ref();
        view.is_some_and(|view| matches!(view.state, MemberState::Error | MemberState::Offline))
    };
    match out(world, host) {
        Out::No(_) if server(world, host).is_some_and(gave_up) => Out::Yes,
        told => told,
    }
}

fn out_as_seen(host: &HostName, seen: &Seen) -> Out {
    let mysql = &seen.observation.mysql;
    match &mysql.server {
        Some(server) => match &server.group {
            None => Out::Yes,
            Some(view) if view.is_out() => Out::Yes,
            Some(view) => Out::No(format!(
                "{host} is {} in group {}",
                state(view.state),
                server.group_name
            )),
        },
        None => match mysql.unit {
            UnitState::Absent | UnitState::Stopped | UnitState::Failed => Out::Yes,
            UnitState::Running | UnitState::Starting | UnitState::Stopping => {
                let why = mysql.error.as_deref().unwrap_or("it is starting or stopping");
                Out::Unknown(format!("mysqld on {host} does not answer its agent: {why}"))
            }
        },
    }
}

/// A host certainly stands in ERROR with nobody else in its view: it is in no group that lives.
pub(crate) fn serves_nobody(world: &World<'_>, host: &HostName) -> bool {
    let server = world
        .certain(host)
        .and_then(|seen| seen.observation.mysql.server.as_ref());
    let view = server.and_then(|server| server.group.as_ref());
    view.is_some_and(|view| view.state == MemberState::Error && view.members.len() <= 1)
}

/// A host where a step of the cluster's last plan, or of a copy, ended after it was asked: what it told is older than what was done. Only
/// answers that are certain otherwise are looked at. Times of steps are the leader's wall clock; one in the future says nothing.
pub(crate) fn outdated<'a>(world: &World<'a>, cluster: &Cluster) -> Option<&'a HostName> {
    let plans = world.model.plans.values();
    let mut plans = plans
        .filter(|plan| Some(plan.id) == cluster.last_plan || (plan.draft.side && plan.draft.cluster == cluster.name));
    plans.find_map(|plan| outdated_by(world, plan))
}

fn outdated_by<'a>(world: &World<'a>, plan: &'a Plan) -> Option<&'a HostName> {
    plan.draft.steps.iter().find_map(|step| {
        let StepState::Ended { at, .. } = &step.state else {
            return None;
        };
        let seen = world.certain(&step.host)?;
        let asked = world.now.saturating_sub(i64::try_from(seen.age_ms).unwrap_or(i64::MAX));
        (asked <= *at && *at <= world.now).then_some(&step.host)
    })
}

/// A host that certainly answers and takes orders of other plans: nothing runs there that they would have to wait for.
pub(crate) fn takes_orders(world: &World<'_>, cluster: &Cluster, host: &HostName) -> bool {
    world.certain(host).is_some() && !plans::busy_hosts(world.model, &cluster.name).contains_key(host)
}

/// Everything that a server holds or has received: `(executed, received)`, none when nobody can tell.
pub(crate) fn holds<'a>(seen: &'a Seen, nothing_there: &'a str) -> Option<(&'a str, &'a str)> {
    let mysql = &seen.observation.mysql;
    match (&mysql.server, &mysql.data) {
        (Some(server), _) => Some((&server.gtid_executed, &server.gtid_received)),
        (None, DataDirectory::Absent | DataDirectory::Pristine | DataDirectory::Ours { cluster: None }) => {
            Some((nothing_there, nothing_there))
        }
        (None, DataDirectory::Ours { cluster: Some(_) } | DataDirectory::Foreign { .. }) => None,
    }
}

/// The data directory of a member is the one that it had in the group; one that never was a member may have none. A member that any
/// copy of the metadata lists, or of whose data its agent has a record, has been in the group, however its join ended.
pub(crate) fn data_known(world: &World<'_>, cluster: &Cluster, host: &HostName, seen: &Seen) -> bool {
    let joined = cluster
        .members
        .get(host)
        .is_none_or(|member| member.phase != MemberPhase::Joining)
        || seen.observation.ledger.lineages.contains_key(&cluster.name)
        || copies(world, cluster).any(|copy| {
            copy.instances
                .iter()
                .any(|row| host_part(&row.address) == host.as_str())
        });
    let ours =
        |data: &DataDirectory| matches!(data, DataDirectory::Ours { cluster: Some(name) } if *name == cluster.name);
    !joined || ours(&seen.observation.mysql.data)
}

/// Members' own copies of this cluster's metadata, however old.
pub(crate) fn copies<'a>(world: &World<'a>, cluster: &'a Cluster) -> impl Iterator<Item = &'a MetadataCopy> {
    let members = world
        .sight
        .iter()
        .filter(|(host, _)| cluster.members.contains_key(*host));
    let copies = members.filter_map(|(_, seen)| seen.observation.mysql.server.as_ref()?.metadata.as_ref());
    copies.filter(|copy| same_group(&copy.group_name, cluster))
}

/// A member certainly shows its copy of this cluster's metadata: only that lists members that other tools have added.
pub(crate) fn metadata_known(world: &World<'_>, cluster: &Cluster) -> bool {
    let shows = |host: &HostName| {
        let seen = world.certain(host)?;
        let copy = seen.observation.mysql.server.as_ref()?.metadata.as_ref()?;
        Some(same_group(&copy.group_name, cluster))
    };
    cluster.members.keys().any(|host| shows(host) == Some(true))
}

/// Names of everyone who may be in this cluster's group: intent, every copy of its metadata on a member, every view of its group.
pub(crate) fn everyone(world: &World<'_>, cluster: &Cluster) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = cluster.members.keys().map(ToString::to_string).collect();
    for (host, seen) in world.sight {
        let Some(server) = &seen.observation.mysql.server else {
            continue;
        };
        // The copy of a host that was taken out is as old as its leaving.
        if let Some(copy) = &server.metadata
            && cluster.members.contains_key(host)
            && same_group(&copy.group_name, cluster)
        {
            all.extend(copy.instances.iter().map(|instance| host_part(&instance.address)));
        }
        // So is its view, once a member with a majority has seen the group without it.
        let counts = cluster.members.contains_key(host) || !seen.missed;
        if let Some(view) = view(server, cluster).filter(|_| counts) {
            all.extend(view.members.iter().map(|row| row.host.to_ascii_lowercase()));
        }
    }
    all.remove("");
    all
}

/// `node1` of `node1:3306`.
pub(crate) fn host_part(address: &str) -> String {
    address
        .rsplit_once(':')
        .map_or(address, |(host, _)| host)
        .to_ascii_lowercase()
}

/// `node1:3306`.
pub(crate) fn address(cluster: &Cluster, host: &HostName) -> String {
    let port = cluster.members.get(host).map_or(3306, |member| member.port);
    format!("{host}:{port}")
}

/// `ONLINE`.
pub(crate) fn state(state: MemberState) -> &'static str {
    match state {
        MemberState::Online => "ONLINE",
        MemberState::Recovering => "RECOVERING",
        MemberState::Offline => "OFFLINE",
        MemberState::Error => "ERROR",
        MemberState::Unreachable => "UNREACHABLE",
    }
}

/// What a member says of itself, for facts of a refusal.
pub(crate) fn describe(world: &World<'_>, cluster: &Cluster, host: &HostName) -> String {
    let Some(seen) = world.sight.get(host) else {
        return "has not answered".to_owned();
    };
    if let Some(why) = seen.why_uncertain() {
        return why;
    }
    match &seen.observation.mysql.server {
        None if seen.observation.mysql.installed.is_none() => "mysqld is not installed".to_owned(),
        None => "mysqld does not run or does not answer".to_owned(),
        Some(server) => match &server.group {
            Some(group) if is_ours(server, cluster) => {
                let role = match group.role {
                    MemberRole::Primary => " PRIMARY",
                    MemberRole::Secondary => " SECONDARY",
                    MemberRole::None => "",
                };
                let quorum = if group.is_out() || group.has_quorum() {
                    ""
                } else if group.has_stalled() {
                    ", in a group that agrees on nothing"
                } else {
                    ", without quorum"
                };
                format!("{}{role}{quorum}", state(group.state))
            }
            Some(group) if !group.is_out() => format!("{} in another group", state(group.state)),
            _ => "mysqld runs, out of any group".to_owned(),
        },
    }
}
