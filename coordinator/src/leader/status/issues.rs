//! What is wrong, a line each (docs/metadata.md, Status).

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::{MemberRole, MemberState, ServerFacts, UnitState};

use super::Witness;
use crate::machine::plans;
use crate::model::{Cluster, Member, MemberPhase, OperationKind};
use crate::planner::heal::{self, Care, Trouble};
use crate::planner::{Doubt, Seen, World, lineage, live, restored};

/// About the cluster as a whole.
pub(super) fn of_cluster(world: &World<'_>, cluster: &Cluster, witness: Option<&Witness<'_>>) -> Vec<String> {
    let mut issues = Vec::new();
    if let Some(failure) = restored::not_led(world, &cluster.name) {
        let facts = failure.facts.join("; ");
        issues.push(format!(
            "ALARM: {failure}: {facts}; {}",
            failure.hint.as_deref().unwrap_or_default()
        ));
    }
    let leaders = live::primaries(world, cluster);
    if leaders.len() > 1 {
        let hosts: Vec<&str> = leaders.iter().map(|primary| primary.host.as_str()).collect();
        issues.push(format!(
            "ALARM: {} call themselves primary, each with a quorum of its own: the group is split",
            hosts.join(" and ")
        ));
    }
    let flagged = cluster
        .members
        .keys()
        .filter(|host| live::server(world, host).is_some_and(|server| server.bootstrap_flag));
    for host in flagged {
        issues.push(format!(
            "ALARM: group_replication_bootstrap_group is ON on {host}: its next start would make a second group"
        ));
    }
    if let Some(primary) = live::primary(world, cluster).filter(|primary| !lineage::goes_on(world, cluster, primary)) {
        issues.push(format!(
            "ALARM: {} leads in a history that was abandoned: it may use numbers of transactions that others used, too",
            primary.host
        ));
    }
    if let Some(witness) = witness {
        for row in &witness.view.members {
            let known = cluster
                .members
                .keys()
                .any(|host| live::row(witness.view, world, host).map(|r| r.server_uuid) == Some(row.server_uuid));
            if !known {
                issues.push(format!(
                    "{}:{} is in the group, but no member that this coordinator knows",
                    row.host, row.port
                ));
            }
        }
    }
    let copies = plans::copies(world.model, &cluster.name);
    let busy = plans::busy_hosts(world.model, &cluster.name).into_iter();
    for (host, step) in busy.filter(|(host, _)| cluster.has(host)) {
        let text = plans::busy_text(world.model, host, step);
        if copies.contains_key(host) {
            issues.push(format!(
                "{text}: other plans leave it alone, and it enters the group when that has ended"
            ));
            continue;
        }
        issues.push(format!(
            "{host} is busy: {text}; nothing else is done there, and no group is bootstrapped meanwhile"
        ));
    }
    for op in world.model.active_operations().filter(|op| op.cluster == cluster.name) {
        if let crate::model::OperationState::Waiting { why } = &op.state {
            issues.push(format!("operation {} ({}) waits: {why}", op.id, op.kind.name()));
        }
    }
    issues
}

/// About one member.
pub(super) fn of_member(
    world: &World<'_>,
    cluster: &Cluster,
    witness: Option<&Witness<'_>>,
    (host, member): (&HostName, &Member),
    trouble: Option<&Trouble>,
) -> Vec<String> {
    let mut issues = Vec::new();
    if let Some(line) = phase(world, cluster, host, member) {
        issues.push(line);
    }
    let Some(seen) = world.sight.get(host) else {
        issues.push("its agent has not answered since this coordinator leads".to_owned());
        return issues;
    };
    if let Some(why) = seen.why_uncertain() {
        issues.push(match seen.doubt {
            Some(Doubt::Twins(_)) => format!("ALARM: {why}: nothing is ordered to it"),
            Some(Doubt::Contested) | None => format!("{why}: what is shown of it may be old"),
        });
    }
    match &seen.observation.mysql.server {
        None => issues.push(no_server(seen)),
        Some(server) => of_server(&mut issues, cluster, witness, host, member, server, world),
    }
    issues.extend(trouble.and_then(|trouble| care(world, cluster, trouble)));
    let ledger = &seen.observation.ledger;
    if let Some(why) = &ledger.unreadable {
        issues.push(format!("its agent cannot read its ledger and accepts no order: {why}"));
    } else if !ledger.known {
        issues.push("its agent lost its ledger: it accepts no order before it is rebuilt".to_owned());
    }
    issues
}

/// What is done about it, or why nothing is.
fn care(world: &World<'_>, cluster: &Cluster, trouble: &Trouble) -> Option<String> {
    match &trouble.care {
        Care::Act(kind) => {
            let title = crate::machine::describe::title(kind, cluster.name.as_str());
            let op = heal::running(world, cluster, kind)?;
            Some(super::why::doing(world, op, &title))
        }
        Care::Not(not) => Some(not.why.clone()),
    }
}

fn phase(world: &World<'_>, cluster: &Cluster, host: &HostName, member: &Member) -> Option<String> {
    let (what, command) = match member.phase {
        MemberPhase::Member => return None,
        MemberPhase::Joining if !cluster.formed => return None,
        MemberPhase::Joining => ("joining", format!("clusterctl join {host}")),
        MemberPhase::Leaving => ("leaving", format!("clusterctl remove {host}")),
    };
    let about = |kind: &OperationKind| kind.hosts().contains(&host);
    let running = world
        .model
        .active_operations()
        .find(|op| op.cluster == cluster.name && about(&op.kind));
    Some(match running {
        Some(op) => format!("{what} by operation {}", op.id),
        None => format!("stopped half-way while {what}; finish it: {command}"),
    })
}

fn no_server(seen: &Seen) -> String {
    let mysql = &seen.observation.mysql;
    if mysql.installed.is_none() {
        return "mysqld is not installed".to_owned();
    }
    match (mysql.unit, &mysql.error) {
        (_, Some(error)) => format!("mysqld does not answer: {error}"),
        (UnitState::Absent, None) => "mysqld has no unit".to_owned(),
        (UnitState::Stopped, None) => "mysqld is stopped".to_owned(),
        (UnitState::Failed, None) => "mysqld failed: journalctl -u mysql".to_owned(),
        (UnitState::Starting, None) => "mysqld is starting".to_owned(),
        (UnitState::Stopping, None) => "mysqld is stopping".to_owned(),
        (UnitState::Running, None) => "mysqld does not answer".to_owned(),
    }
}

fn of_server(
    issues: &mut Vec<String>,
    cluster: &Cluster,
    witness: Option<&Witness<'_>>,
    host: &HostName,
    member: &Member,
    server: &ServerFacts,
    world: &World<'_>,
) {
    let row = witness.and_then(|witness| live::row(witness.view, world, host));
    let in_group = row.is_some_and(|row| matches!(row.state, MemberState::Online | MemberState::Recovering));
    if let Some(row) = row
        && row.server_uuid != server.server_uuid
    {
        issues.push("its server_uuid is not the one that the group knows".to_owned());
    }
    if let Some(view) = &server.group {
        if in_group && view.is_out() {
            issues.push("it says it is OFFLINE, though the group still counts it".to_owned());
        }
        if let Some(witness) = witness
            && live::view(server, cluster).is_some_and(|own| own.state == MemberState::Online)
            && !view.has_quorum()
            && witness.view.has_quorum()
        {
            issues.push("it is cut off: it sees no quorum, the others have one".to_owned());
        }
        if view.auto_rejoin {
            issues.push("Group Replication is starting or stopping there, or trying to rejoin by itself".to_owned());
        }
        if let Some(error) = &view.channel_error {
            issues.push(format!("replication error: {error}"));
        }
        let secondary = view.role == MemberRole::Secondary && view.state == MemberState::Online;
        if secondary && !server.super_read_only {
            issues.push("a secondary that takes writes (super_read_only is OFF): they would diverge".to_owned());
        }
        if view.role == MemberRole::Primary && view.state == MemberState::Online && server.super_read_only {
            issues.push("the primary takes no writes (super_read_only is ON)".to_owned());
        }
    }
    if server.offline_mode {
        issues.push("offline_mode is ON: it refuses clients".to_owned());
    }
    if server.bootstrap_flag {
        issues.push("ALARM: group_replication_bootstrap_group is ON".to_owned());
    }
    if in_group && server.server_id != member.server_id {
        issues.push(format!(
            "its server_id is {}, {} was given to it",
            server.server_id, member.server_id
        ));
    }
    if !server.foreign_channels.is_empty() {
        issues.push(format!(
            "it replicates from elsewhere: {}",
            server.foreign_channels.join(", ")
        ));
    }
    metadata(issues, world, cluster, witness, host, in_group);
}

/// The primary's copy lists it.
fn metadata(
    issues: &mut Vec<String>,
    world: &World<'_>,
    cluster: &Cluster,
    witness: Option<&Witness<'_>>,
    host: &HostName,
    in_group: bool,
) {
    let copy = witness.and_then(|witness| live::server(world, witness.host)?.metadata.as_ref());
    let address = live::address(cluster, host);
    let listed = copy.is_some_and(|copy| {
        copy.instances
            .iter()
            .any(|instance| instance.address.eq_ignore_ascii_case(&address))
    });
    if in_group && witness.is_some() && !listed {
        issues.push(format!(
            "it is missing from the metadata, so Router does not know it: clusterctl join {host}"
        ));
    }
}
