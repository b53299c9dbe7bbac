//! What can happen to hosts: power, reboots, hangs, cut cables.
//!
//! Methods of [`Lab`], for `cli` and live tests. A fault must never reach a host of another lab.

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::network::{self, Direction};

impl Lab {
    /// Cuts the power: every process ends at once, nothing is said to the network.
    pub fn power_off(&self, host: &str) -> Result<()> {
        self.host(host)?.power_off()
    }

    /// Cuts the power of several hosts as nearly at once as one can.
    pub fn power_off_all(&self, hosts: &[&str]) -> Result<()> {
        self.on(hosts, |host| host.power_off())
    }

    /// Switches a host on and waits until it has booted; one that is on stays as it is.
    pub fn power_on(&self, host: &str) -> Result<()> {
        self.power_on_all(&[host])
    }

    /// Switches several hosts on together and waits until they have booted.
    pub fn power_on_all(&self, hosts: &[&str]) -> Result<()> {
        self.on(hosts, |host| {
            host.power_on()?;
            host.wait_booted()
        })
    }

    /// `systemctl reboot` in the host; returns when it is up again.
    pub fn reboot(&self, host: &str) -> Result<()> {
        self.host(host)?.reboot()
    }

    /// Stops every process of the host where it stands; its kernel still answers ARP and handshakes.
    pub fn freeze(&self, host: &str) -> Result<()> {
        let host = self.host(host)?;
        host.init()?;
        host.cgroup().freeze(true)
    }

    /// Lets a frozen host go on.
    pub fn thaw(&self, host: &str) -> Result<()> {
        let host = self.host(host)?;
        if host.cgroup().is_frozen() {
            host.cgroup().freeze(false)
        } else {
            Ok(())
        }
    }

    /// Cuts a host from all others; packets are lost silently.
    pub fn partition(&self, host: &str, direction: Direction) -> Result<()> {
        let others: Vec<_> = self.hosts().into_iter().filter(|other| *other != host).collect();
        self.partition_from(host, &others, direction)
    }

    /// Cuts a host from some others.
    pub fn partition_from(&self, host: &str, others: &[&str], direction: Direction) -> Result<()> {
        self.host(host)?;
        for other in others {
            self.host(other)?;
            ensure!(*other != host, "{host} cannot be cut from itself");
            network::cut(self.name(), host, other, direction)?;
        }
        Ok(())
    }

    /// Takes back what [`Lab::partition_from`] did with the same arguments; other cuts of these hosts stay.
    pub fn heal_from(&self, host: &str, others: &[&str], direction: Direction) -> Result<()> {
        self.host(host)?;
        others
            .iter()
            .try_for_each(|other| network::uncut(self.name(), host, other, direction))
    }

    /// Heals every cut of a host.
    pub fn heal(&self, host: &str) -> Result<()> {
        self.host(host)?;
        network::heal(self.name(), Some(host))
    }

    /// Heals every cut of the lab.
    pub fn heal_all(&self) -> Result<()> {
        network::heal(self.name(), None)
    }
}
