//! The cluster that is measured, and what the servers say of it; nothing here needs the coordinator once it is formed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clusterctl_lab::{Lab, Packages, wait_for};

use crate::hosts::Hosts;
use crate::load::Writer;

/// The members.
pub const NODES: [&str; 3] = ["node1", "node2", "node3"];

/// Three members and a router.
pub struct Cluster {
    hosts: Hosts,
    password: String,
}

impl Cluster {
    /// On fresh hosts.
    pub fn form(name: &str, packages: &Packages) -> Result<Self> {
        let hosts = Hosts::ready(name, packages)?;
        hosts.ctl("create prod --primary node1 --with node2,node3 --router router1")?;
        let made = hosts.ctl("account create app --database appdb")?;
        let password = made["password"].as_str().context("no password was made")?.to_owned();
        let cluster = Self { hosts, password };
        cluster.whole(Duration::from_secs(60))?;
        Ok(cluster)
    }

    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.hosts.lab
    }

    /// A client that writes.
    pub fn writer(&self) -> Result<Writer> {
        Writer::start(self.lab(), &self.password)
    }

    /// A command of the DBA.
    pub fn ctl(&self, line: &str) -> Result<()> {
        self.hosts.ctl(line).map(drop)
    }

    /// What a server answers over its socket.
    pub fn sql(&self, host: &str, sql: &str) -> Result<String> {
        let argv = ["mysql", "-NB"];
        let said = self
            .lab()
            .exec_within(Duration::from_secs(60), host, "root", &argv, sql)?;
        let said = said.success().with_context(|| format!("{host} mysql> {sql}"))?;
        Ok(said.trim_end().to_owned())
    }

    /// Who leads, as the members that are ONLINE have it.
    pub fn primary(&self) -> Result<&'static str> {
        const SQL: &str = "SELECT GROUP_CONCAT(IF(member_id = @@server_uuid, member_state, '')), GROUP_CONCAT(IF(member_role = 'PRIMARY' AND member_state = 'ONLINE', member_host, '')) FROM performance_schema.replication_group_members";
        for host in NODES {
            let Ok(said) = self.sql(host, SQL) else { continue };
            let plain = said.replace(',', "");
            if let Some(("ONLINE", leads)) = plain.split_once('\t')
                && let Some(known) = NODES.into_iter().find(|node| *node == leads)
            {
                return Ok(known);
            }
        }
        anyhow::bail!("no member knows a primary")
    }

    /// Waits until another one leads.
    pub fn taken_over(&self, from: &str, limit: Duration) -> Result<()> {
        wait_for(&format!("another one leads than {from}"), limit, || {
            Ok(self.primary()? != from)
        })
    }

    /// Waits until its own server says that it is ONLINE.
    pub fn back(&self, host: &str, limit: Duration) -> Result<()> {
        const SQL: &str = "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid AND member_state = 'ONLINE'";
        wait_for(&format!("{host} is ONLINE"), limit, || Ok(self.sql(host, SQL)? == "1"))
    }

    /// Waits until each member sees all three ONLINE.
    pub fn whole(&self, limit: Duration) -> Result<()> {
        const SQL: &str =
            "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state = 'ONLINE'";
        wait_for("three members are ONLINE", limit, || {
            for host in NODES {
                let seen = self.sql(host, SQL)?;
                ensure!(seen == "3", "{host} sees {seen} members ONLINE");
            }
            Ok(true)
        })
    }
}
