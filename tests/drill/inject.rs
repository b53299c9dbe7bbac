//! Carries out one fault, and undoes it.
//!
//! Called by `round`, on a thread of its own for each fault. Everything goes through the lab, so nothing outside of its hosts and its
//! bridge is touched. It must never help the cluster: undoing takes back what was done here and no more.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clusterctl_lab::Lab;
use clusterctl_lab::schedule::{COORDINATOR, Fault, ROUTER};

/// The longest that a command in a host may take.
const COMMAND: Duration = Duration::from_secs(60);
/// The longest that a switchover may take.
const SWITCHOVER: Duration = Duration::from_secs(180);

/// Begins a fault; answers what a person would have read, if anything.
pub fn begin(lab: &Lab, fault: &Fault) -> Result<String> {
    let done = |()| String::new();
    match fault {
        Fault::PowerOff(hosts) => lab.power_off_all(hosts).map(done),
        Fault::KillServer(host) => kill(lab, host, "mysql").map(done),
        Fault::Freeze(host) => lab.freeze(host).map(done),
        Fault::Partition(host, others, direction) => lab.partition_from(host, others, *direction).map(done),
        // It returns when the host has booted.
        Fault::Reboot(host) => lab.reboot(host).map(done),
        Fault::KillAgent(host) => kill(lab, host, "clusterctl-agent").map(done),
        Fault::KillCoordinator => kill(lab, COORDINATOR, "clusterctl-coordinator").map(done),
        Fault::KillRouter => kill(lab, ROUTER, "mysqlrouter").map(done),
        Fault::StopGroup(host) => {
            let argv = ["mysql", "-NB"];
            let said = lab.exec_within(COMMAND, host, "root", &argv, "STOP GROUP_REPLICATION")?;
            said.success().map(drop).map(done)
        }
        Fault::Switchover(host) => {
            let argv = ["clusterctl", "switchover", "--to", host];
            let said = lab.exec_within(SWITCHOVER, COORDINATOR, "admin", &argv, "")?;
            let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
            ensure!(said.status == 0, "exit status {}: {}", said.status, first(&said.stderr));
            Ok("done".to_owned())
        }
    }
}

/// Ends a fault that lasts.
pub fn undo(lab: &Lab, fault: &Fault) -> Result<()> {
    match fault {
        Fault::PowerOff(hosts) => lab.power_on_all(hosts),
        Fault::Freeze(host) => lab.thaw(host),
        Fault::Partition(host, others, direction) => lab.heal_from(host, others, *direction),
        Fault::KillServer(_)
        | Fault::Reboot(_)
        | Fault::KillAgent(_)
        | Fault::KillCoordinator
        | Fault::KillRouter
        | Fault::StopGroup(_)
        | Fault::Switchover(_) => Ok(()),
    }
}

fn kill(lab: &Lab, host: &str, unit: &str) -> Result<()> {
    let argv = ["systemctl", "kill", "-s", "KILL", unit];
    let said = lab.exec_within(COMMAND, host, "root", &argv, "")?;
    said.success()
        .map(drop)
        .with_context(|| format!("kill -9 of {unit} on {host}"))
}
