//! Fresh hosts with everything installed and enrolled, and nothing formed: where the clock starts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clusterctl_lab::{Lab, Packages, wait_for};
use serde_json::Value;

/// As in the transcript.
pub const NAMES: [&str; 4] = ["node1", "node2", "node3", "router1"];

/// Hosts that wait for the first command.
pub struct Hosts {
    /// The lab.
    pub lab: Lab,
}

impl Hosts {
    /// Makes them anew.
    pub fn ready(name: &str, packages: &Packages) -> Result<Self> {
        Lab::down(name)?;
        let hosts = Self {
            lab: Lab::up(name, &NAMES)?,
        };
        hosts.lab.install(packages)?;
        hosts.install_mysql()?;
        hosts.enrol()?;
        Ok(hosts)
    }

    /// As the packages leave it: mysqld runs with the distribution's settings on three hosts, Router is there on one.
    fn install_mysql(&self) -> Result<()> {
        let install = |host: &'static str| {
            let names = if host == "router1" {
                "mysql-router mysql-client"
            } else {
                "mysql-server mysql-client"
            };
            self.lab.sh(
                host,
                &format!("DEBIAN_FRONTEND=noninteractive apt-get install -y -qq {names} >/dev/null 2>&1"),
            )
        };
        std::thread::scope(|scope| {
            let running: Vec<_> = NAMES
                .into_iter()
                .map(|host| scope.spawn(move || install(host)))
                .collect();
            running.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("a thread panicked"))?
                    .map(drop)
            })
        })
    }

    fn enrol(&self) -> Result<()> {
        self.lab.sh("node1", "clusterctl init")?;
        for host in &NAMES[1..] {
            let role = if *host == "router1" { "router" } else { "db" };
            let token = self
                .lab
                .sh("node1", &format!("clusterctl token create --role {role} 2>/dev/null"))?;
            let enroll = ["clusterctl-agent", "enroll", "--token-file", "-"];
            self.lab
                .exec(host, "root", &enroll, &token)?
                .success()
                .with_context(|| format!("{host} does not enrol"))?;
        }
        wait_for(
            "every host is connected and has told about itself",
            Duration::from_secs(60),
            || {
                let document = self.ctl("hosts")?;
                let all = document["hosts"].as_array().context("no hosts")?;
                let ready = |host: &&Value| host["agent"] == "connected" && host["os"] != "";
                Ok(all.iter().filter(ready).count() == NAMES.len())
            },
        )
    }

    /// A command of the DBA; its document.
    pub fn ctl(&self, line: &str) -> Result<Value> {
        let words = format!("clusterctl {line} -o json");
        let argv: Vec<_> = words.split_whitespace().collect();
        let output = self.lab.exec("node1", "admin", &argv, "")?;
        ensure!(
            output.status == 0,
            "$ {words}\nexit status {}\n{}",
            output.status,
            output.stderr
        );
        serde_json::from_str(&output.stdout).with_context(|| format!("$ {words} printed no document"))
    }
}
