//! One router.

use clusterctl_proto::ids::HostName;
use clusterctl_proto::observe::UnitState;
use clusterctl_proto::wire::control;

use crate::model::{Cluster, RouterIntent, RouterPhase};
use crate::planner::{Seen, World, seconds};

pub(super) fn one(
    world: &World<'_>,
    cluster: &Cluster,
    host: &HostName,
    intent: &RouterIntent,
) -> control::RouterStatus {
    let seen = world.sight.get(host);
    let certain = seen.filter(|seen| seen.is_certain());
    let state = match certain.map(|seen| seen.observation.router.unit) {
        Some(UnitState::Running) => "running",
        Some(_) => "stopped",
        None => "unknown",
    };
    let ports = intent.ports;
    control::RouterStatus {
        host: host.to_string(),
        version: seen
            .and_then(|seen| seen.observation.router.installed.clone())
            .unwrap_or_default(),
        state: state.to_owned(),
        read_write_port: ports.read_write.into(),
        read_only_port: ports.read_only.into(),
        read_write_split_port: ports.split.into(),
        issues: issues(cluster, intent, seen, certain),
        maintenance: intent
            .maintenance
            .as_ref()
            .filter(|said| said.holds(world.now))
            .map(|said| super::left_alone("in maintenance, put", said))
            .unwrap_or_default(),
    }
}

fn issues(cluster: &Cluster, intent: &RouterIntent, seen: Option<&Seen>, certain: Option<&Seen>) -> Vec<String> {
    let mut issues = Vec::new();
    match intent.phase {
        RouterPhase::Router => {}
        RouterPhase::Adding => issues.push("not added yet".to_owned()),
        RouterPhase::Removing => issues.push("being removed".to_owned()),
    }
    let Some(certain) = certain else {
        issues.push(match seen {
            Some(seen) => format!("its agent answered last {} ago", seconds(seen.age_ms)),
            None => "its agent has not answered since this coordinator leads".to_owned(),
        });
        return issues;
    };
    let router = &certain.observation.router;
    if intent.phase != RouterPhase::Router {
        return issues;
    }
    match router.unit {
        UnitState::Running => {
            let ports = [intent.ports.read_write, intent.ports.read_only, intent.ports.split];
            let closed: Vec<String> = ports
                .iter()
                .filter(|port| !router.listening.contains(port))
                .map(u16::to_string)
                .collect();
            if !closed.is_empty() {
                issues.push(format!("it runs, but does not listen on {}", closed.join(", ")));
            }
        }
        _ => issues.push("mysqlrouter.service does not run".to_owned()),
    }
    match &router.cluster {
        Some(bootstrapped) if *bootstrapped == cluster.name => {}
        Some(other) => issues.push(format!("it is bootstrapped for {other}")),
        None => issues.push("it is not bootstrapped".to_owned()),
    }
    issues
}
