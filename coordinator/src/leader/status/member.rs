//! One member: role, state, mode, and how surely that is known (docs/metadata.md, Status).

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::{GroupMember, MemberRole, MemberState, ServerFacts, UnitState};
use clusterctl_proto::wire::control;

use super::{Witness, issues};
use crate::model::{Cluster, Member};
use crate::planner::heal::Trouble;
use crate::planner::{Seen, World, live};

/// Every member of the intent.
pub(super) fn all(
    world: &World<'_>,
    cluster: &Cluster,
    witness: Option<&Witness<'_>>,
    troubles: &[Trouble],
) -> Vec<control::MemberStatus> {
    let trouble = |host: &HostName| troubles.iter().find(|trouble| trouble.is_of(host));
    cluster
        .members
        .iter()
        .map(|(host, member)| one(world, cluster, witness, (host, member), trouble(host)))
        .collect()
}

fn one(
    world: &World<'_>,
    cluster: &Cluster,
    witness: Option<&Witness<'_>>,
    (host, member): (&HostName, &Member),
    trouble: Option<&Trouble>,
) -> control::MemberStatus {
    let seen = world.sight.get(host);
    let server = seen.and_then(|seen| seen.observation.mysql.server.as_ref());
    let row = witness.and_then(|witness| live::row(witness.view, world, host));
    let told = told_by_group(witness, row).or_else(|| told_by_itself(cluster, seen));
    let (state, role) = told.unwrap_or(("UNKNOWN", "NONE"));
    let installed = seen.and_then(|seen| seen.observation.mysql.installed.clone());
    let version = server
        .map(|server| server.version.clone())
        .or_else(|| row.map(|row| row.version.clone()))
        .or(installed);
    let uuid = server
        .map(|server| server.server_uuid)
        .or_else(|| row.map(|row| row.server_uuid));
    control::MemberStatus {
        host: host.to_string(),
        address: live::address(cluster, host),
        role: role.to_owned(),
        state: state.to_owned(),
        mode: mode(witness, row, seen, server).to_owned(),
        version: version.unwrap_or_default(),
        server_uuid: uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
        server_id: member.server_id.0,
        queue: server.map_or(0, |server| server.queue),
        uptime_seconds: server.map_or(0, |server| server.uptime_seconds),
        gtid_executed: server.map(|server| server.gtid_executed.clone()).unwrap_or_default(),
        certainty: certainty(seen, row.is_some()).to_owned(),
        age_ms: seen.map_or(0, |seen| seen.age_ms),
        issues: issues::of_member(world, cluster, witness, (host, member), trouble),
        maintenance: member
            .maintenance
            .as_ref()
            .filter(|said| said.holds(world.now))
            .map(|said| super::left_alone("in maintenance, put", said))
            .unwrap_or_default(),
    }
}

/// As the group sees it: that counts before what the member says of itself.
fn told_by_group(witness: Option<&Witness<'_>>, row: Option<&GroupMember>) -> Option<(&'static str, &'static str)> {
    let witness = witness?;
    match row {
        Some(row) => Some((live::state(row.state), role(row.role))),
        // Whoever has lost the quorum cannot tell who left.
        None if witness.view.has_quorum() => Some(("(MISSING)", "NONE")),
        None => None,
    }
}

fn told_by_itself(cluster: &Cluster, seen: Option<&Seen>) -> Option<(&'static str, &'static str)> {
    let seen = seen.filter(|seen| seen.is_certain())?;
    match &seen.observation.mysql.server {
        // Without a server there is no member; whether it stopped or was never there, an issue tells. One that runs and does not
        // answer may be one.
        None => match seen.observation.mysql.unit {
            UnitState::Absent | UnitState::Stopped | UnitState::Failed => Some(("OFFLINE", "NONE")),
            UnitState::Running | UnitState::Starting | UnitState::Stopping => None,
        },
        Some(server) => match server.group.as_ref().filter(|_| live::is_ours(server, cluster)) {
            Some(view) => Some((live::state(view.state), role(view.role))),
            None => Some(("OFFLINE", "NONE")),
        },
    }
}

fn role(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Primary => "PRIMARY",
        MemberRole::Secondary => "SECONDARY",
        MemberRole::None => "NONE",
    }
}

/// What a client gets there.
fn mode(
    witness: Option<&Witness<'_>>,
    row: Option<&GroupMember>,
    seen: Option<&Seen>,
    server: Option<&ServerFacts>,
) -> &'static str {
    let online = row.is_some_and(|row| row.state == MemberState::Online);
    let certain = seen.is_some_and(Seen::is_certain);
    match (witness, server) {
        (Some(witness), Some(server)) if online && certain && !server.offline_mode => {
            if server.super_read_only || !witness.view.has_quorum() {
                "R/O"
            } else {
                "R/W"
            }
        }
        _ => "n/a",
    }
}

fn certainty(seen: Option<&Seen>, in_view: bool) -> &'static str {
    match seen {
        Some(seen) if seen.is_certain() => "certain",
        // Its agent is silent, but another member sees it.
        _ if in_view => "certain",
        Some(_) => "stale",
        None => "unknown",
    }
}
