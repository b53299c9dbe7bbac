//! The real mysqld passes the script that the simulated one passes (`clusterctl_sim::mysqld::conformance`).
//!
//! Nothing of ours acts meanwhile: agents, coordinator and Router are stopped. No agent has seen the bootstraps of the script, so those
//! that joined hold data that nobody can prove, and are made anew from the last primary.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clusterctl_lab::wait_for;
use clusterctl_sim::mysqld::SqlError;
use clusterctl_sim::mysqld::conformance::{self, Bench, Rows};

use super::scene::{BACK, Scene};
use crate::cluster::desk::{Desk, NODES};
use crate::cluster::story::say;
use crate::load::Writer;

/// Keeps systemd from starting a mysqld that the script killed.
const NO_RESTART: &str = "mkdir -p /run/systemd/system/mysql.service.d && \
     printf '[Service]\\nRestart=no\\n' >/run/systemd/system/mysql.service.d/conformance.conf && systemctl daemon-reload";
const RESTART: &str = "rm -f /run/systemd/system/mysql.service.d/conformance.conf; systemctl daemon-reload";

/// Servers of the lab.
struct Hosts<'a>(&'a Desk);

impl Hosts<'_> {
    fn ask(&self, host: &str, text: &str) -> Result<Rows, SqlError> {
        let argv = ["mysql", "-NB", "--default-character-set=utf8mb4"];
        let error = |code, message: String| SqlError { code, message };
        let said = self.0.run(host, "root", &argv, text);
        let said = said.map_err(|why| error(2013, format!("{why:#}")))?;
        if said.status == 0 {
            let cell = |text: &str| if text == "NULL" { String::new() } else { text.to_owned() };
            let cells = |line: &str| line.split('\t').map(cell).collect();
            return Ok(said.stdout.lines().map(cells).collect());
        }
        // ERROR 3092 (HY000) at line 1: …
        let number = said
            .stderr
            .split("ERROR ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let code = number.and_then(|number| number.parse().ok()).unwrap_or(2013);
        Err(error(code, said.stderr.trim().to_owned()))
    }

    fn signal(&self, host: &str, signal: &str) -> Result<(), String> {
        let line = format!("systemctl kill -s {signal} --kill-who=main mysql");
        self.0.lab.sh(host, &line).map(drop).map_err(|why| format!("{why:#}"))
    }
}

impl Bench for Hosts<'_> {
    fn hosts(&self) -> [&str; 3] {
        NODES
    }

    async fn sql(&self, host: &str, text: &str) -> Result<Rows, SqlError> {
        self.ask(host, text)
    }

    async fn kill(&self, host: &str) -> Result<(), String> {
        self.signal(host, "KILL")
    }

    async fn start(&self, host: &str) -> Result<(), String> {
        let answers = || {
            self.0
                .lab
                .sh(host, "systemctl reset-failed mysql; systemctl start mysql")?;
            self.ask(host, "SELECT 1")
                .map(|_| true)
                .map_err(|error| anyhow!(error.message))
        };
        wait_for(&format!("mysqld on {host} answers"), BACK, answers).map_err(|why| format!("{why:#}"))
    }

    async fn freeze(&self, host: &str) -> Result<(), String> {
        self.signal(host, "STOP")
    }

    async fn thaw(&self, host: &str) -> Result<(), String> {
        self.signal(host, "CONT")
    }
}

/// The script, and the cluster whole again.
pub fn same_script(scene: &Scene<'_>, _: &Writer) -> Result<()> {
    let lab = &scene.desk.lab;
    lab.sh("router1", "systemctl stop mysqlrouter")?;
    wait_for("all members hold the same", Duration::from_secs(20), || {
        let set = |node: &str| scene.desk.value(node, "SELECT @@gtid_executed");
        Ok(set("node1")? == set("node2")? && set("node2")? == set("node3")?)
    })?;
    lab.sh("node1", "systemctl stop clusterctl-coordinator")?;
    for node in NODES {
        lab.sh(node, "systemctl stop clusterctl-agent")?;
        lab.sh(node, NO_RESTART)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let hosts = Hosts(scene.desk);
    let script = conformance::run(&hosts, |held| say(&format!("                     held: {held}")));
    let held = runtime.block_on(script);
    for node in NODES {
        lab.sh(node, "systemctl kill -s CONT --kill-who=main mysql || true")?;
        lab.sh(node, RESTART)?;
        lab.sh(node, "systemctl start mysql clusterctl-agent")?;
    }
    lab.sh("node1", "systemctl start clusterctl-coordinator")?;
    if let Err(why) = held {
        bail!("the real mysqld differs from the simulated one: {why}");
    }
    // node3's rows differ; node1 was in several lineages while its agent was stopped, so nobody knows what its rows are.
    for host in ["node3", "node1"] {
        scene.take_out(host).with_context(|| format!("{host} is taken out"))?;
    }
    for host in ["node3", "node1"] {
        scene.copied(host).with_context(|| format!("{host} is made anew"))?;
    }
    scene.desk.sql("node2", "DROP DATABASE sim")?;
    lab.sh("router1", "systemctl start mysqlrouter")?;
    scene.whole(BACK)
}
