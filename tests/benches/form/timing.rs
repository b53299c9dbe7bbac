//! Forms a cluster under the clock, and tells from the plans how much of the time MySQL and Router took themselves.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::hosts::Hosts;

/// Part of a step's time that is not ours: what MySQL and Router did. Packages are on the hosts already.
const THEIRS: [&str; 6] = [
    "restart",
    "start_group",
    "recovery",
    "clone",
    "router_bootstrap",
    "router_start",
];
/// Steps that are mostly theirs, for a coordinator that does not tell the parts.
const MOSTLY_THEIRS: [&str; 5] = [
    "server",
    "bootstrap_group",
    "join_group",
    "router_bootstrap",
    "router_running",
];

/// One command.
pub struct Command {
    /// As typed.
    pub line: String,
    /// By the wall clock, from the start of the process to its end.
    pub seconds: f64,
    /// What MySQL and Router need at least for these steps in this order: the longest way through the plan, counting only their part.
    pub theirs: f64,
    /// Their part of each step, summed up by what it was.
    pub parts: BTreeMap<String, u64>,
    /// Whether the coordinator told the parts.
    pub told: bool,
}

/// A cluster formed.
pub struct Formed(pub Vec<Command>);

impl Formed {
    /// All commands together, in seconds.
    pub fn total(&self) -> f64 {
        self.0.iter().map(|command| command.seconds).sum()
    }

    /// MySQL's and Router's own part of it.
    pub fn theirs(&self) -> f64 {
        self.0.iter().map(|command| command.theirs).sum()
    }

    /// Whether the coordinator told it, or it was guessed from whole steps.
    pub fn told(&self) -> bool {
        self.0.iter().all(|command| command.told)
    }
}

/// Types the commands; at the end there must be a cluster that is well.
pub fn form(hosts: &Hosts, lines: &[&str]) -> Result<Formed> {
    let mut commands = Vec::new();
    for line in lines {
        let begun = Instant::now();
        let document = hosts.ctl(line)?;
        let seconds = begun.elapsed().as_secs_f64();
        commands.push(judge(line, seconds, &document)?);
    }
    let status = hosts.ctl("status")?;
    ensure!(
        status["clusters"][0]["state"] == "ok",
        "the cluster is not well: {status}"
    );
    Ok(Formed(commands))
}

fn judge(line: &str, seconds: f64, document: &Value) -> Result<Command> {
    let plans = document["operation"]["plans"]
        .as_array()
        .with_context(|| format!("{line} tells no plan: {document}"))?;
    let mut command = Command {
        line: line.to_owned(),
        seconds,
        theirs: 0.0,
        parts: BTreeMap::new(),
        told: false,
    };
    for plan in plans {
        let steps = plan["steps"].as_array().context("a plan without steps")?;
        let told = steps
            .iter()
            .any(|step| step["spent_ms"].as_object().is_some_and(|parts| !parts.is_empty()));
        command.told |= told;
        let mut longest: BTreeMap<u64, u64> = BTreeMap::new();
        for step in steps {
            let parts = theirs(step, told);
            let before = step["after"].as_array().into_iter().flatten().filter_map(Value::as_u64);
            let ready = before
                .filter_map(|number| longest.get(&number))
                .max()
                .copied()
                .unwrap_or(0);
            longest.insert(
                step["number"].as_u64().context("a step without number")?,
                ready + parts.values().sum::<u64>(),
            );
            for (name, ms) in parts {
                *command.parts.entry(name).or_default() += ms;
            }
        }
        command.theirs += milliseconds(longest.values().max().copied().unwrap_or(0));
    }
    Ok(command)
}

fn theirs(step: &Value, told: bool) -> BTreeMap<String, u64> {
    if told {
        let parts = step["spent_ms"].as_object().into_iter().flatten();
        let parts = parts.filter(|(name, _)| THEIRS.contains(&name.as_str()));
        return parts
            .filter_map(|(name, ms)| Some((name.clone(), ms.as_u64()?)))
            .collect();
    }
    let name = step["name"].as_str().unwrap_or_default();
    let ms = step["elapsed_ms"].as_u64().unwrap_or(0);
    let counts = MOSTLY_THEIRS.contains(&name) && ms > 0;
    counts.then(|| (name.to_owned(), ms)).into_iter().collect()
}

fn milliseconds(ms: u64) -> f64 {
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0
}

/// `clusterctl status` as a whole process on node1, as the DBA: milliseconds of each run, ascending. Nothing is between clock and
/// process but bash.
pub fn status(hosts: &Hosts, times: u32) -> Result<Vec<f64>> {
    let line = format!(
        "for i in $(seq {times}); do s=${{EPOCHREALTIME/./}}; clusterctl status >/dev/null || exit 1; e=${{EPOCHREALTIME/./}}; echo $((e - s)); done"
    );
    let output = hosts
        .lab
        .exec("node1", "admin", &["bash", "-c", &line], "")?
        .success()
        .context("clusterctl status")?;
    let mut all: Vec<f64> = output
        .lines()
        .filter_map(|line| Some(line.parse::<f64>().ok()? / 1000.0))
        .collect();
    ensure!(all.len() == times as usize, "{} of {times} runs were timed", all.len());
    all.sort_by(f64::total_cmp);
    Ok(all)
}
