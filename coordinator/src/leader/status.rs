//! `clusterctl status` and `clusterctl hosts`, told from intent and observations. Pure: no IO, no clock, no async.
//!
//! Called by `api`. States follow AdminAPI's rules (docs/metadata.md, Status), the sentence says plainly what they mean: what
//! is not certainly known is never told as if it were.

mod hosts;
mod issues;
mod member;
mod paused;
mod router;
mod verdict;
mod why;

#[cfg(test)]
mod tests;

use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::observe::{GroupView, MemberState};
use clusterctl_proto::step::AccountKind;
use clusterctl_proto::wire::control;

use crate::model::{AccountIntent, Cluster, HandsOff};
use crate::planner::{World, heal, live};

pub use hosts::hosts;
pub use why::explain;

/// Status of this cluster, or of every one.
pub fn clusters(world: &World<'_>, which: Option<&ClusterName>) -> Vec<control::ClusterStatus> {
    let wanted = world
        .model
        .clusters
        .values()
        .filter(|cluster| which.is_none_or(|name| *name == cluster.name));
    wanted.map(|cluster| one(world, cluster)).collect()
}

fn one(world: &World<'_>, cluster: &Cluster) -> control::ClusterStatus {
    let witness = witness(world, cluster);
    let troubles = heal::troubles(world, cluster);
    let verdict = verdict::of(world, cluster, witness.as_ref(), &troubles);
    let operations = world.model.active_operations().filter(|op| op.cluster == cluster.name);
    let primary = witness
        .as_ref()
        .and_then(|witness| witness.primary(world, cluster))
        .unwrap_or_default();
    let metadata = cluster
        .members
        .keys()
        .filter_map(|host| live::server(world, host)?.metadata.as_ref());
    control::ClusterStatus {
        name: cluster.name.to_string(),
        verdict: verdict.sentence,
        state: verdict.state.to_owned(),
        tolerates: u32::try_from(verdict.tolerates).unwrap_or(u32::MAX),
        primary,
        members: member::all(world, cluster, witness.as_ref(), &troubles),
        routers: cluster
            .routers
            .iter()
            .map(|(host, intent)| router::one(world, cluster, host, intent))
            .collect(),
        operations: operations.map(|op| op.id.0).collect(),
        issues: issues::of_cluster(world, cluster, witness.as_ref()),
        group_name: cluster.group_name.to_string(),
        topology_mode: "Single-Primary".to_owned(),
        metadata_version: metadata.map(|copy| copy.version.clone()).next().unwrap_or_default(),
        accounts: cluster
            .accounts
            .values()
            .filter(|account| account.made)
            .map(account)
            .collect(),
        paused: cluster
            .paused_now(world.now)
            .map(|said| {
                let mut told = vec![left_alone(
                    if said.everything {
                        "paused with all operations"
                    } else {
                        "paused"
                    },
                    said,
                )];
                told.extend(paused::left_in_the_middle(world, cluster));
                told.join("; ")
            })
            .unwrap_or_default(),
    }
}

fn account(intent: &AccountIntent) -> control::AccountStatus {
    let account = &intent.account;
    let (kind, database) = match &account.kind {
        AccountKind::Application { database } => ("application", database.clone()),
        AccountKind::Monitor => ("monitor", String::new()),
        AccountKind::Admin => ("admin", String::new()),
        AccountKind::RouterBootstrap | AccountKind::Verify => ("internal", String::new()),
    };
    control::AccountStatus {
        name: format!("{}@{}", account.user, account.from),
        kind: kind.to_owned(),
        database,
    }
}

/// The member whose view of the group is believed.
struct Witness<'a> {
    host: &'a clusterctl_proto::ids::HostName,
    view: &'a GroupView,
}

impl Witness<'_> {
    /// The host that this view calls primary.
    fn primary(&self, world: &World<'_>, cluster: &Cluster) -> Option<String> {
        let row = self
            .view
            .members
            .iter()
            .find(|row| row.role == clusterctl_proto::observe::MemberRole::Primary)?;
        let known = cluster
            .members
            .keys()
            .find(|host| live::row(self.view, world, host).map(|r| r.server_uuid) == Some(row.server_uuid));
        Some(known.map_or_else(|| row.host.clone(), ToString::to_string))
    }
}

/// Of those that certainly answer and are in the group: one with quorum before one without, ONLINE before others, the primary
/// first.
fn witness<'a>(world: &World<'a>, cluster: &'a Cluster) -> Option<Witness<'a>> {
    let views = cluster.members.keys().filter_map(|host| {
        let seen = world.certain(host)?;
        let server = seen.observation.mysql.server.as_ref()?;
        // In ERROR, and OFFLINE while it starts or rejoins, a member sees itself only.
        let alone = |view: &&GroupView| !matches!(view.state, MemberState::Error | MemberState::Offline);
        let view = live::view(server, cluster).filter(alone)?;
        Some(Witness { host, view })
    });
    views.max_by_key(|witness| {
        let view = witness.view;
        let leads = view.role == clusterctl_proto::observe::MemberRole::Primary;
        // The first of equals, so that the answer does not jump.
        (
            view.has_quorum(),
            view.state == MemberState::Online,
            leads,
            std::cmp::Reverse(witness.host),
        )
    })
}

/// `paused by operator/alice since 2026-… until 2026-…: new disks`.
fn left_alone(what: &str, said: &HandsOff) -> String {
    let time = |at: i64| {
        u64::try_from(at)
            .map(clusterctl_proto::clock::rfc3339)
            .unwrap_or_default()
    };
    let until = said
        .until
        .map_or_else(String::new, |end| format!(" until {}", time(end)));
    let reason = if said.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", said.reason)
    };
    format!("{what} by {} since {}{until}{reason}", said.by, time(said.at))
}
