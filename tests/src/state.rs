//! The one small record that is kept of a lab.
//!
//! It says what a lab *should* be; what runs is always asked of the kernel, so that a crash cannot make the
//! record lie. It must never be needed for removing a lab: names and folders are enough for that.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::error::hinted;

/// A host one asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpec {
    /// Its name, as `node1`.
    pub name: String,
    /// The size of its `/var/lib/mysql` (as `2G`), for tests of a full disk; otherwise the machine's own.
    pub data_size: Option<String>,
    /// The size of its `/var/lib/clusterctl-coordinator`, likewise.
    #[serde(default)]
    pub coordinator_size: Option<String>,
}

impl HostSpec {
    /// A host without limits.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            data_size: None,
            coordinator_size: None,
        }
    }
}

/// What is kept of a lab between commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LabState {
    pub name: String,
    /// The base its hosts stand on; kept for the lab's whole life.
    pub base: String,
    /// The `x` of its `10.77.x.0/24`.
    pub subnet: u8,
    pub hosts: Vec<HostSpec>,
}

impl LabState {
    /// The fixed address of a host: its place in the list, from .11 on.
    pub fn address(&self, host: &str) -> Result<Ipv4Addr> {
        let place = self.position(host)?;
        Ok(Ipv4Addr::new(10, 77, self.subnet, 11 + u8::try_from(place)?))
    }

    /// The bridge's own address, for clients outside the hosts; there are never so many hosts.
    pub fn bridge_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.subnet, 254)
    }

    /// The host's specification.
    pub fn spec(&self, host: &str) -> Result<&HostSpec> {
        Ok(&self.hosts[self.position(host)?])
    }

    fn position(&self, host: &str) -> Result<usize> {
        self.hosts.iter().position(|known| known.name == host).ok_or_else(|| {
            let names: Vec<_> = self.hosts.iter().map(|known| known.name.as_str()).collect();
            hinted(
                format!("lab `{}` has no host `{host}`", self.name),
                format!("its hosts are {}", names.join(", ")),
            )
        })
    }
}

/// Labs' and hosts' names become folders, namespaces, cgroups, units and interfaces: letters, digits, `-`.
pub(crate) fn check_name(what: &str, name: &str, longest: usize) -> Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        !name.is_empty() && name.len() <= longest && name.chars().all(good) && !name.starts_with('-'),
        hinted(
            format!("`{name}` cannot be a {what}'s name"),
            format!("use up to {longest} of a-z, 0-9 and `-`, as in `node1`")
        )
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> LabState {
        let hosts = ["node1", "node2"].map(HostSpec::new).to_vec();
        LabState {
            name: "dev".into(),
            base: "b".into(),
            subnet: 4,
            hosts,
        }
    }

    #[test]
    fn addresses_follow_the_order() {
        assert_eq!(state().address("node2").unwrap().to_string(), "10.77.4.12");
        assert_eq!(
            state().address("node9").unwrap_err().to_string(),
            "lab `dev` has no host `node9`"
        );
    }

    #[test]
    fn names_that_would_break_paths_are_refused() {
        check_name("host", "node-1", 12).unwrap();
        for name in ["", "../x", "a b", "Node1", "-x", "averyverylongname"] {
            assert!(check_name("host", name, 12).is_err(), "{name}");
        }
    }
}
