//! Addresses and listening sockets of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::{Command, Host, HostError};

/// Bridges of container and virtual machine software: other hosts have the same addresses on theirs.
const PRIVATE_INTERFACES: [&str; 7] = ["docker", "br-", "veth", "virbr", "cni", "flannel", "podman"];

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    link_type: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(default)]
    local: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    temporary: bool,
    #[serde(default)]
    deprecated: bool,
    #[serde(default)]
    tentative: bool,
}

/// Global addresses, in the kernel's order.
pub async fn addresses(host: &dyn Host) -> Result<Vec<IpAddr>, HostError> {
    let command = Command::new("ip")
        .args(["-j", "addr", "show", "up"])
        .timeout(Duration::from_secs(3));
    Ok(parse_addresses(&command.checked(host).await?.stdout))
}

fn parse_addresses(json: &str) -> Vec<IpAddr> {
    let interfaces: Vec<Interface> = serde_json::from_str(json).unwrap_or_default();
    interfaces
        .into_iter()
        .filter(|interface| interface.link_type != "loopback")
        .filter(|interface| !PRIVATE_INTERFACES.iter().any(|name| interface.ifname.starts_with(name)))
        .flat_map(|interface| interface.addr_info)
        .filter(|address| address.scope == "global" && !address.temporary && !address.deprecated && !address.tentative)
        .filter_map(|address| address.local.parse().ok())
        .collect()
}

/// The address by which this machine reaches another: routing decides, nothing is sent.
pub fn source_towards(endpoint: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if endpoint.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(endpoint).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback() && !address.is_unspecified())
}

/// The preferred address first.
pub fn prefer(mut addresses: Vec<IpAddr>, first: Option<IpAddr>) -> Vec<IpAddr> {
    if let Some(first) = first {
        addresses.retain(|address| *address != first);
        addresses.insert(0, first);
    }
    addresses
}

/// TCP ports on which anything listens, from the kernel's own tables: cheap.
pub async fn listening_ports(host: &dyn Host) -> Result<BTreeSet<u16>, HostError> {
    let mut ports = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let bytes = host.read(Path::new(table)).await?.unwrap_or_default();
        ports.extend(parse_table(&String::from_utf8_lossy(&bytes)));
    }
    Ok(ports)
}

fn parse_table(text: &str) -> impl Iterator<Item = u16> {
    text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        // 0A: LISTEN
        (state == "0A")
            .then(|| u16::from_str_radix(local.rsplit(':').next()?, 16).ok())
            .flatten()
    })
}

/// Who listens: port to process name. Empty names where it could not be told.
pub async fn listeners(host: &dyn Host) -> Result<BTreeMap<u16, String>, HostError> {
    let command = Command::new("ss").args(["-Hltnp"]).timeout(Duration::from_secs(3));
    Ok(parse_ss(&command.checked(host).await?.stdout))
}

fn parse_ss(text: &str) -> BTreeMap<u16, String> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let Some(port) = line
            .split_whitespace()
            .nth(3)
            .and_then(|local| local.rsplit(':').next()?.parse().ok())
        else {
            continue;
        };
        let name = line
            .split("users:((\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or("");
        let slot: &mut String = found.entry(port).or_default();
        if slot.is_empty() {
            slot.push_str(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_bridges_and_temporary_ones_are_left_out() {
        let json = r#"[
          {"ifname":"lo","link_type":"loopback","addr_info":[{"local":"127.0.0.1","scope":"host"}]},
          {"ifname":"eth0","link_type":"ether","addr_info":[
            {"local":"10.0.0.1","scope":"global"},{"local":"fd00::1","scope":"global"},
            {"local":"fd00::99","scope":"global","temporary":true},{"local":"fe80::1","scope":"link"}]},
          {"ifname":"docker0","link_type":"ether","addr_info":[{"local":"172.17.0.1","scope":"global"}]},{}]"#;
        let expected: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(parse_addresses(json), expected);
        assert!(parse_addresses("garbage").is_empty());
        let preferred = prefer(expected.clone(), Some(expected[1]));
        assert_eq!(preferred, [expected[1], expected[0]]);
    }

    #[test]
    fn listening_sockets_are_read() {
        let table = "  sl  local_address rem_address   st\n   0: 00000000:0CEA 00000000:0000 0A 0\n   1: 0100007F:1770 0100007F:0CEA 01 0\n";
        assert_eq!(parse_table(table).collect::<Vec<_>>(), [3306]);
        let ss = "LISTEN 0 151 *:3306 *:* users:((\"mysqld\",pid=7,fd=2))\nLISTEN 0 70 [::]:33060 [::]:*\n";
        let found = parse_ss(ss);
        assert_eq!((found[&3306].as_str(), found[&33060].as_str()), ("mysqld", ""));
    }

    #[test]
    fn the_way_to_oneself_is_not_loopback() {
        assert_eq!(source_towards("127.0.0.1:7440".parse().unwrap()), None);
    }
}
