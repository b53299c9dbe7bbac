//! What agent and coordinator cost while nothing happens: resident memory, and processor time over the wall clock.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::hosts::{Hosts, NAMES};

/// One process over the span.
pub struct Cost {
    /// Where.
    pub host: String,
    /// `agent`, `coordinator`.
    pub program: &'static str,
    /// Resident at the end, MiB.
    pub resident_mib: f64,
    /// Of one core, per cent.
    pub cpu_percent: f64,
}

/// The span.
pub struct Idle {
    /// How long.
    pub seconds: f64,
    /// Each process.
    pub costs: Vec<Cost>,
}

impl Idle {
    /// The largest of a program's processes.
    pub fn most(&self, program: &str, of: impl Fn(&Cost) -> f64) -> f64 {
        self.costs
            .iter()
            .filter(|cost| cost.program == program)
            .map(of)
            .fold(0.0, f64::max)
    }
}

const UNITS: [(&str, &str); 2] = [("agent", "clusterctl-agent"), ("coordinator", "clusterctl-coordinator")];

/// Looks, waits, looks again.
pub fn watch(hosts: &Hosts, span: Duration) -> Result<Idle> {
    let ticks = hosts.lab.sh("node1", "getconf CLK_TCK")?.trim().parse::<f64>()?;
    let before = look(hosts)?;
    let begun = Instant::now();
    std::thread::sleep(span);
    let after = look(hosts)?;
    let seconds = begun.elapsed().as_secs_f64();
    let costs = before.into_iter().zip(after).map(|(before, after)| {
        anyhow::ensure!(
            before.pid == after.pid,
            "{} of {} was restarted",
            before.program,
            before.host
        );
        Ok(Cost {
            host: after.host,
            program: after.program,
            resident_mib: after.resident_kib / 1024.0,
            cpu_percent: (after.ticks - before.ticks) / ticks / seconds * 100.0,
        })
    });
    Ok(Idle {
        seconds,
        costs: costs.collect::<Result<_>>()?,
    })
}

struct Look {
    host: String,
    program: &'static str,
    pid: String,
    resident_kib: f64,
    ticks: f64,
}

fn look(hosts: &Hosts) -> Result<Vec<Look>> {
    let mut all = Vec::new();
    for host in NAMES {
        for (program, unit) in UNITS {
            if program == "coordinator" && host != "node1" {
                continue;
            }
            // Fields 14 and 15 of stat: user and system time. Our programs' names hold no blank.
            let line = format!(
                "p=$(systemctl show -p MainPID --value {unit}); echo $p $(awk '/^VmRSS/ {{ print $2 }}' /proc/$p/status) $(awk '{{ print $14 + $15 }}' /proc/$p/stat)"
            );
            let text = hosts.lab.sh(host, &line)?;
            let fields: Vec<&str> = text.split_whitespace().collect();
            let [pid, resident, ticks] = fields[..] else {
                anyhow::bail!("{unit} on {host} does not run: {text}")
            };
            all.push(Look {
                host: host.to_owned(),
                program,
                pid: pid.to_owned(),
                resident_kib: resident.parse().context("VmRSS")?,
                ticks: ticks.parse().context("stat")?,
            });
        }
    }
    Ok(all)
}
