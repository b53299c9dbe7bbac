//! `clusterctl hosts`: every enrolled host and how it is.

use clusterctl_proto::clock::rfc3339;
use clusterctl_proto::ids::HostRole;
use clusterctl_proto::observe::UnitState;
use clusterctl_proto::wire::control;

use crate::machine::hosts::enrol_again;
use crate::model::{Host, MemberPhase, RouterPhase, UnixMs};
use crate::planner::{Doubt, Seen, World, heal, live};

/// Every enrolled host.
pub fn hosts(world: &World<'_>) -> Vec<control::Host> {
    world.model.hosts.values().map(|host| one(world, host)).collect()
}

fn one(world: &World<'_>, host: &Host) -> control::Host {
    let seen = world.sight.get(&host.name);
    let facts = seen.and_then(|seen| seen.host.as_ref());
    let observation = seen.map(|seen| &seen.observation);
    let mysql = observation.map(|observation| &observation.mysql);
    let running = mysql
        .and_then(|mysql| mysql.server.as_ref())
        .map(|server| server.version.clone());
    let agent = match seen {
        Some(seen) if seen.is_certain() => "connected",
        Some(Seen {
            doubt: Some(Doubt::Twins(_)),
            ..
        }) => "doubtful",
        Some(_) => "silent",
        None => "never",
    };
    control::Host {
        name: host.name.to_string(),
        roles: host.roles.iter().map(|role| role.to_string()).collect(),
        addresses: host.addresses.iter().map(ToString::to_string).collect(),
        agent: agent.to_owned(),
        last_seen: seen
            .map(|seen| time(world.now.saturating_sub(i64::try_from(seen.age_ms).unwrap_or(i64::MAX))))
            .unwrap_or_default(),
        agent_version: observation
            .map(|observation| observation.agent_version.clone())
            .unwrap_or_default(),
        os: facts.map(|facts| facts.os.clone()).unwrap_or_default(),
        cpus: facts.map_or(0, |facts| facts.cpus),
        memory_bytes: facts.map_or(0, |facts| facts.memory_bytes),
        mysql_version: running
            .or_else(|| mysql.and_then(|mysql| mysql.installed.clone()))
            .unwrap_or_default(),
        router_version: observation
            .and_then(|observation| observation.router.installed.clone())
            .unwrap_or_default(),
        cluster: world
            .model
            .cluster_of(&host.name)
            .map(|cluster| cluster.name.to_string())
            .unwrap_or_default(),
        health: health(world, host, seen),
        enrolled_at: time(host.enrolled_at),
        certificate_expires: time(host.certificate_expires),
    }
}

fn time(at: UnixMs) -> String {
    u64::try_from(at).map(rfc3339).unwrap_or_default()
}

/// One line: the worst first.
fn health(world: &World<'_>, host: &Host, seen: Option<&Seen>) -> String {
    let Some(seen) = seen else {
        return "its agent has not answered since this coordinator leads".to_owned();
    };
    if let Some(Doubt::Twins(speakers)) = &seen.doubt {
        return heal::two_machines(&host.name, speakers);
    }
    let expired = host.certificate_expires <= world.now;
    if let Some(why) = seen.why_uncertain() {
        return if expired {
            format!("{why}; its certificate has expired: {}", enrol_again(&host.name))
        } else {
            why
        };
    }
    let observation = &seen.observation;
    let mut wrong = Vec::new();
    if observation
        .mysql
        .server
        .as_ref()
        .is_some_and(|server| server.bootstrap_flag)
    {
        wrong.push("ALARM: bootstrap flag is ON".to_owned());
    }
    if expired {
        wrong.push("its agent's certificate has expired".to_owned());
    }
    if observation.ledger.unreadable.is_some() {
        wrong.push("its agent cannot read its ledger".to_owned());
    } else if !observation.ledger.known {
        wrong.push("its agent lost its ledger".to_owned());
    }
    if let Some(cluster) = world.model.cluster_of(&host.name) {
        let member = cluster
            .members
            .get(&host.name)
            .filter(|member| member.phase == MemberPhase::Member);
        if member.is_some() && live::out(world, &host.name) == live::Out::Yes {
            wrong.push(format!("mysqld is not in the group of {}", cluster.name));
        }
        let router = cluster
            .routers
            .get(&host.name)
            .filter(|router| router.phase == RouterPhase::Router);
        if router.is_some() && observation.router.unit != UnitState::Running {
            wrong.push("Router does not run".to_owned());
        }
    }
    if observation.mysql.unit == UnitState::Failed {
        wrong.push("mysqld failed".to_owned());
    }
    if host.roles.contains(&HostRole::Router) && observation.router.unit == UnitState::Failed {
        wrong.push("Router failed".to_owned());
    }
    if wrong.is_empty() {
        "healthy".to_owned()
    } else {
        wrong.join("; ")
    }
}
