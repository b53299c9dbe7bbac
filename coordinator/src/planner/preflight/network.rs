//! Checks of names, addresses and ports.

use std::net::IpAddr;

use clusterctl_proto::ids::HostName;
use clusterctl_proto::step::RouterPorts;

use super::{AT_CREATE, CheckResult, Subject};
use crate::planner::settings::X_PORT;

pub(super) fn hostname(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "hostname";
    let (name, said) = (subject.host.name.as_str(), subject.facts.hostname.as_str());
    let short = name.split('.').next().unwrap_or(name);
    if said.eq_ignore_ascii_case(name) || said.eq_ignore_ascii_case(short) {
        return CheckResult::pass(NAME, said);
    }
    let fix = format!("on the host: hostnamectl set-hostname {name}; or enrol it again under its new name");
    CheckResult::fail(NAME, format!("calls itself {said:?}, enrolled as {name}"), fix)
}

pub(super) fn own_name_resolution(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "own_name_resolution";
    let host = subject.host;
    match resolved(subject, &host.name) {
        None => CheckResult::pass(NAME, "not asked"),
        Some([]) => CheckResult::warn(NAME, format!("{} does not resolve here", host.name), AT_CREATE),
        Some(found) if found.iter().any(IpAddr::is_loopback) => {
            CheckResult::warn(NAME, format!("{} resolves to {}", host.name, list(found)), AT_CREATE)
        }
        Some(found) if found.iter().any(|ip| host.addresses.contains(ip)) => CheckResult::pass(NAME, list(found)),
        Some(found) => CheckResult::warn(
            NAME,
            format!(
                "{} resolves to {}, enrolled with {}",
                host.name,
                list(found),
                list(&host.addresses)
            ),
            AT_CREATE,
        ),
    }
}

pub(super) fn peer_resolution(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "peer_resolution";
    let mut wrong = Vec::new();
    for peer in &subject.peers {
        match resolved(subject, &peer.name) {
            None => {}
            Some([]) => wrong.push(format!("{} does not resolve", peer.name)),
            Some(found) if found.iter().any(|ip| peer.addresses.contains(ip)) => {}
            Some(found) => wrong.push(format!(
                "{} resolves to {} instead of {}",
                peer.name,
                list(found),
                list(&peer.addresses)
            )),
        }
    }
    if wrong.is_empty() {
        return CheckResult::pass(NAME, "peers are found by name");
    }
    CheckResult::warn(NAME, wrong.join(", "), AT_CREATE)
}

pub(super) fn address_conflict(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "address_conflict";
    let host = subject.host;
    if host.addresses.is_empty() {
        let fix =
            "give it an address that the others reach, and start its agent again: systemctl restart clusterctl-agent";
        return CheckResult::fail(NAME, "no address is known", fix);
    }
    let others = subject
        .world
        .model
        .hosts
        .values()
        .filter(|other| other.name != host.name);
    for other in others {
        if let Some(shared) = host.addresses.iter().find(|ip| other.addresses.contains(ip)) {
            let fix = "give each host an address of its own, and enrol the one that changed again";
            return CheckResult::fail(NAME, format!("{shared} is the address of {}, too", other.name), fix);
        }
    }
    let has = &subject.facts.addresses;
    if !has.is_empty() && !host.addresses.iter().any(|ip| has.contains(ip)) {
        let fix =
            "behind address translation this is right; else start its agent again: systemctl restart clusterctl-agent";
        return CheckResult::warn(
            NAME,
            format!("enrolled with {}, now has {}", list(&host.addresses), list(has)),
            fix,
        );
    }
    CheckResult::pass(NAME, list(&host.addresses))
}

/// Ports are free, or held by what is to hold them.
pub(super) fn ports_free(subject: &Subject<'_>) -> CheckResult {
    const NAME: &str = "ports_free";
    let name = &subject.host.name;
    let mut wanted: Vec<(u16, &str)> = Vec::new();
    if subject.db {
        let port = subject
            .cluster
            .and_then(|cluster| cluster.members.get(name))
            .map_or(3306, |member| member.port);
        wanted.extend([(port, "mysqld"), (X_PORT, "mysqld")]);
    }
    if subject.router {
        let ports = subject
            .cluster
            .and_then(|cluster| cluster.routers.get(name))
            .map(|router| router.ports);
        let RouterPorts {
            read_write,
            read_only,
            split,
            x_read_write,
            x_read_only,
        } = ports.unwrap_or_default();
        wanted.extend([read_write, read_only, split, x_read_write, x_read_only].map(|port| (port, "mysqlrouter")));
    }
    let taken = wanted.iter().filter_map(|(port, ours)| {
        let holder = subject.facts.listeners.get(port)?;
        (holder != ours).then_some((port, holder))
    });
    let taken: Vec<(&u16, &String)> = taken.collect();
    if let Some((first, _)) = taken.first() {
        let seen: Vec<String> = taken
            .iter()
            .map(|(port, holder)| format!("{port} is taken by {holder}"))
            .collect();
        return CheckResult::fail(
            NAME,
            seen.join(", "),
            format!("stop it; who it is: ss -ltnp 'sport = :{first}'"),
        );
    }
    let ports: Vec<String> = wanted.iter().map(|(port, _)| port.to_string()).collect();
    CheckResult::pass(NAME, format!("{} free or ours", ports.join(", ")))
}

fn resolved<'a>(subject: &Subject<'a>, name: &HostName) -> Option<&'a [IpAddr]> {
    subject.facts.resolves.get(name.as_str()).map(Vec::as_slice)
}

fn list(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
