//! A lab's network: a namespace with a bridge, a namespace per host with one cable into it.
//!
//! Nothing leaves the bridge. A host's namespace is made anew at each boot and goes when the power goes,
//! so that a dead host answers nothing, not even with a reset, and no half-closed connection of an earlier
//! life is left. Its hardware address stays, as a real card's does: with another one, its peers would go on for up to
//! 45 s to send to the old one. Cuts are rules on the bridge and outlive reboots. The bridge has an address of its own, so
//! that a thread of a test can be a client of the hosts; no cut reaches it. It must never touch a namespace
//! that does not carry the lab's name.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::command::{output, output_with, tool};
use crate::home::names_in;

/// Which packets a cut between two hosts loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// All.
    Both,
    /// What the first host sends to the second; answers would arrive, if there were questions.
    Outgoing,
    /// What the second host sends to the first.
    Incoming,
}

const RULES: &str = "table bridge lab {
    set cut { type ifname . ifname; }
    chain forward { type filter hook forward priority 0; policy accept; iifname . oifname @cut drop; }
}
";

fn bridge_namespace(lab: &str) -> String {
    format!("clusterctl-lab.{lab}")
}

fn host_namespace(lab: &str, host: &str) -> String {
    format!("clusterctl-lab.{lab}.{host}")
}

/// Where nspawn finds the host's network namespace.
pub(crate) fn namespace_path(lab: &str, host: &str) -> String {
    format!("/run/netns/{}", host_namespace(lab, host))
}

/// Makes the lab's bridge if it is not there, with this address.
pub(crate) fn create(lab: &str, address: Ipv4Addr) -> Result<()> {
    let namespace = bridge_namespace(lab);
    if batch(&namespace, "link show dev bridge").is_ok() {
        return name_bridge(lab, address);
    }
    remove_namespace(&namespace)?;
    output(&mut tool("ip", ["netns", "add", &namespace]))?;
    batch(
        &namespace,
        &format!(
            "link set lo up\nlink add bridge address {} type bridge mcast_snooping 0\nlink set bridge up",
            hardware_address(address)
        ),
    )?;
    nft(lab, &["-f", "-"], RULES)?;
    name_bridge(lab, address)
}

fn name_bridge(lab: &str, address: Ipv4Addr) -> Result<()> {
    batch(
        &bridge_namespace(lab),
        &format!("address replace {address}/24 broadcast + dev bridge"),
    )
}

/// Moves the calling thread, for the rest of its life, to the lab's bridge; a lab of an earlier program gets the address first.
pub(crate) fn enter(lab: &str, address: Ipv4Addr) -> Result<()> {
    name_bridge(lab, address)?;
    let path = format!("/run/netns/{}", bridge_namespace(lab));
    let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {path}"))
}

/// The card with this IP address: a locally administered MAC address (IEEE 802, second lowest bit of the first octet).
fn hardware_address(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:63:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Plugs a host in: a new namespace with its fixed addresses.
pub(crate) fn attach(lab: &str, host: &str, address: Ipv4Addr) -> Result<()> {
    detach(lab, host)?;
    let namespace = host_namespace(lab, host);
    output(&mut tool("ip", ["netns", "add", &namespace]))?;
    let card = hardware_address(address);
    let cable = format!("link add {host} type veth peer name eth0 address {card} netns {namespace}\n");
    batch(
        &bridge_namespace(lab),
        &format!("{cable}link set {host} master bridge up"),
    )?;
    batch(
        &namespace,
        &format!("link set lo up\naddress add {address}/24 broadcast + dev eth0\nlink set eth0 up"),
    )
    .with_context(|| format!("cannot give {host} its address"))?;
    // The host itself sees /proc/sys read-only, so what the agent's package says there is done for it.
    for (key, value) in kernel_settings() {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let write = format!("echo {value} > {path}");
        output(&mut tool("ip", ["netns", "exec", &namespace, "sh", "-c", &write]))
            .with_context(|| format!("cannot set {key} of {host}"))?;
    }
    Ok(())
}

/// What the agent's package gives systemd-sysctl to set.
fn kernel_settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("../../packaging/sysctl/60-clusterctl-agent.conf").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
}

/// Pulls a host's cable and removes its namespace; whatever it was about to send is lost.
pub(crate) fn detach(lab: &str, host: &str) -> Result<()> {
    let _ = batch(&bridge_namespace(lab), &format!("link del {host}"));
    remove_namespace(&host_namespace(lab, host))
}

/// Removes every namespace of the lab.
pub(crate) fn remove(lab: &str) -> Result<()> {
    let (bridge, hosts) = (bridge_namespace(lab), host_namespace(lab, ""));
    for name in names_in(Path::new("/run/netns"))? {
        if let Some(host) = name.strip_prefix(&hosts) {
            detach(lab, host)?;
        }
    }
    remove_namespace(&bridge)
}

/// Cuts the connection between two hosts; what is cut already stays so.
pub(crate) fn cut(lab: &str, from: &str, to: &str, direction: Direction) -> Result<()> {
    let pairs: Vec<_> = one_way(from, to, direction)
        .map(|(from, to)| format!("\"{from}\" . \"{to}\""))
        .collect();
    nft(
        lab,
        &["-f", "-"],
        &format!("add element bridge lab cut {{ {} }}\n", pairs.join(", ")),
    )?;
    Ok(())
}

/// Takes exactly this cut back; other cuts of the two hosts stay.
pub(crate) fn uncut(lab: &str, from: &str, to: &str, direction: Direction) -> Result<()> {
    let cuts = cuts(lab)?;
    let there = one_way(from, to, direction).filter(|pair| cuts.contains(pair));
    remove_cuts(lab, there)
}

/// The (sender, receiver) pairs of a cut.
fn one_way(from: &str, to: &str, direction: Direction) -> impl Iterator<Item = (String, String)> {
    let outgoing = (direction != Direction::Incoming).then(|| (from.to_owned(), to.to_owned()));
    let incoming = (direction != Direction::Outgoing).then(|| (to.to_owned(), from.to_owned()));
    outgoing.into_iter().chain(incoming)
}

fn remove_cuts(lab: &str, cuts: impl Iterator<Item = (String, String)>) -> Result<()> {
    let pairs: Vec<_> = cuts.map(|(from, to)| format!("\"{from}\" . \"{to}\"")).collect();
    if !pairs.is_empty() {
        nft(
            lab,
            &["-f", "-"],
            &format!("delete element bridge lab cut {{ {} }}\n", pairs.join(", ")),
        )?;
    }
    Ok(())
}

/// Heals every cut of one host, or of all.
pub(crate) fn heal(lab: &str, host: Option<&str>) -> Result<()> {
    let healed = cuts(lab)?
        .into_iter()
        .filter(|(from, to)| host.is_none_or(|host| from == host || to == host));
    remove_cuts(lab, healed)
}

/// The cuts there are: (sender, receiver).
pub(crate) fn cuts(lab: &str) -> Result<Vec<(String, String)>> {
    let text = nft(lab, &["-j", "list", "set", "bridge", "lab", "cut"], "")?;
    Ok(pairs(
        &serde_json::from_str(&text).context("nft answered something else than JSON")?,
    ))
}

fn pairs(answer: &Value) -> Vec<(String, String)> {
    let objects = answer["nftables"].as_array().into_iter().flatten();
    let elements = objects.filter_map(|object| object["set"]["elem"].as_array()).flatten();
    let pair = |element: &Value| {
        let names = element["concat"].as_array()?;
        Some((names.first()?.as_str()?.to_owned(), names.get(1)?.as_str()?.to_owned()))
    };
    elements.filter_map(pair).collect()
}

fn nft(lab: &str, args: &[&str], input: &str) -> Result<String> {
    let namespace = bridge_namespace(lab);
    output_with(tool("ip", ["netns", "exec", &namespace, "nft"]).args(args), input)
}

fn batch(namespace: &str, commands: &str) -> Result<()> {
    output_with(&mut tool("ip", ["-n", namespace, "-batch", "-"]), commands).map(drop)
}

fn remove_namespace(name: &str) -> Result<()> {
    if Path::new("/run/netns").join(name).exists() {
        output(&mut tool("ip", ["netns", "del", name]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_the_x_protocol_is_reserved() {
        let settings: Vec<_> = kernel_settings().collect();
        assert_eq!(settings, [("net.ipv4.ip_local_reserved_ports", "33060,33061")]);
    }

    #[test]
    fn a_cut_has_its_directions() {
        let pairs = |direction| one_way("a", "b", direction).collect::<Vec<_>>();
        let (ab, ba) = (("a".to_owned(), "b".to_owned()), ("b".to_owned(), "a".to_owned()));
        assert_eq!(pairs(Direction::Both), [ab.clone(), ba.clone()]);
        assert_eq!(pairs(Direction::Outgoing), [ab]);
        assert_eq!(pairs(Direction::Incoming), [ba]);
    }

    #[test]
    fn cuts_are_read_from_what_nft_prints() {
        let text = r#"{"nftables":[{"metainfo":{"version":"1.0.6"}},{"set":{"family":"bridge","name":"cut",
            "elem":[{"concat":["node1","node2"]},{"concat":["node2","node1"]}]}}]}"#;
        let found = pairs(&serde_json::from_str(text).unwrap());
        assert_eq!(
            found,
            [("node1".into(), "node2".into()), ("node2".into(), "node1".into())]
        );
        assert!(pairs(&serde_json::json!({"nftables": [{"set": {"name": "cut"}}]})).is_empty());
    }
}
