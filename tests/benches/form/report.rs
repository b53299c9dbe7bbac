//! The figures, as a table for people and as one JSON object.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::idle::Idle;
use crate::timing::Formed;

/// A cluster formed by MySQL Shell's script on such hosts, as docs/mysql-facts.md records it. Not measured here: no repository that the
/// lab reaches has mysqlsh.
const SHELL_RECORDED_S: f64 = 14.0;

/// What was measured.
pub struct Report {
    runs: u32,
    /// Command by command.
    pub typed: Vec<Formed>,
    /// In one go.
    pub one_go: Vec<Formed>,
    /// Of `clusterctl status`, ascending.
    pub status_ms: Vec<f64>,
    /// What the daemons cost.
    pub idle: Option<Idle>,
}

impl Report {
    /// Nothing yet.
    pub fn new(runs: u32) -> Self {
        Self {
            runs,
            typed: Vec::new(),
            one_go: Vec::new(),
            status_ms: Vec::new(),
            idle: None,
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "\nThree members and a router, packages on the hosts, optimised programs; medians of {} run(s) on fresh hosts\n\n",
            self.runs
        );
        let mut row = |what: &str, value: String, aim: &str| {
            let _ = writeln!(text, "{what:<58} {value:>12}   {aim}");
        };
        row("WHAT", "MEASURED".to_owned(), "AIM");
        for (what, all) in self.ways() {
            row(what, format!("{:.2} s", median(all, Formed::total)), "below 10 s");
            let source = if all.iter().all(Formed::told) {
                ""
            } else {
                " (guessed: whole steps)"
            };
            row(
                &format!("  of that MySQL and Router themselves{source}"),
                format!("{:.2} s", median(all, Formed::theirs)),
                "",
            );
            row("  ratio", format!("{:.2}", median(all, ratio)), "below 1.25");
        }
        for (place, line) in self
            .typed
            .first()
            .into_iter()
            .flat_map(|first| first.0.iter().enumerate())
        {
            row(
                &format!("    $ clusterctl {}", line.line),
                format!("{:.2} s", median(&self.typed, |run| run.0[place].seconds)),
                "",
            );
        }
        for (name, ms) in self.parts() {
            row(&format!("    {name}, all hosts together"), format!("{ms:.0} ms"), "");
        }
        row(
            "MySQL Shell's script, recorded earlier, not measured here",
            format!("{SHELL_RECORDED_S:.1} s"),
            "",
        );
        row(
            &format!("clusterctl status, whole process, median of {}", self.status_ms.len()),
            format!("{:.1} ms", middle(&self.status_ms)),
            "below 40 ms",
        );
        if let Some(idle) = &self.idle {
            for cost in &idle.costs {
                let what = format!("{} on {}, {:.0} s idle", cost.program, cost.host, idle.seconds);
                let aim = if cost.program == "agent" {
                    "15 MiB, 0.5 %"
                } else {
                    "30 MiB, 0.5 %"
                };
                row(
                    &what,
                    format!("{:.1} MiB {:.2} %", cost.resident_mib, cost.cpu_percent),
                    aim,
                );
            }
        }
        text
    }

    /// For scripts, on one line.
    pub fn document(&self) -> Value {
        let way = |all: &[Formed]| {
            (!all.is_empty()).then(|| {
                json!({
                    "total_s": rounded(median(all, Formed::total)),
                    "mysql_and_router_s": rounded(median(all, Formed::theirs)),
                    "ratio": rounded(median(all, ratio)),
                    "parts_told_by_agents": all.iter().all(Formed::told),
                    "all_totals_s": all.iter().map(|run| rounded(run.total())).collect::<Vec<_>>(),
                })
            })
        };
        let idle = self.idle.as_ref().map(|idle| {
            json!({
                "seconds": rounded(idle.seconds),
                "agent_rss_mib": rounded(idle.most("agent", |cost| cost.resident_mib)),
                "agent_cpu_percent": rounded(idle.most("agent", |cost| cost.cpu_percent)),
                "coordinator_rss_mib": rounded(idle.most("coordinator", |cost| cost.resident_mib)),
                "coordinator_cpu_percent": rounded(idle.most("coordinator", |cost| cost.cpu_percent)),
            })
        });
        json!({
            "bench": "form",
            "runs": self.runs,
            "typed": way(&self.typed),
            "one_go": way(&self.one_go),
            "status_ms": { "median": rounded(middle(&self.status_ms)), "worst": rounded(self.status_ms.last().copied().unwrap_or(0.0)), "runs": self.status_ms.len() },
            "idle": idle,
            "shell_script_recorded_s": SHELL_RECORDED_S,
        })
    }

    fn ways(&self) -> Vec<(&'static str, &[Formed])> {
        let all: [(&str, &[Formed]); 2] = [
            ("command by command", &self.typed),
            ("in one go (create --with --router)", &self.one_go),
        ];
        all.into_iter().filter(|(_, all)| !all.is_empty()).collect()
    }

    /// MySQL's and Router's parts of the typed way, medians in milliseconds.
    fn parts(&self) -> BTreeMap<String, f64> {
        let of = |run: &Formed, name: &str| run.0.iter().filter_map(|command| command.parts.get(name)).sum::<u64>();
        let names = self
            .typed
            .iter()
            .flat_map(|run| run.0.iter())
            .flat_map(|command| command.parts.keys().cloned());
        let all: std::collections::BTreeSet<String> = names.collect();
        let middle = |name: &str| {
            median(&self.typed, |run| {
                f64::from(u32::try_from(of(run, name)).unwrap_or(u32::MAX))
            })
        };
        all.into_iter().map(|name| (name.clone(), middle(&name))).collect()
    }
}

fn ratio(formed: &Formed) -> f64 {
    let theirs = formed.theirs();
    if theirs > 0.0 { formed.total() / theirs } else { 0.0 }
}

fn median(all: &[Formed], of: impl Fn(&Formed) -> f64) -> f64 {
    let mut values: Vec<f64> = all.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    middle(&values)
}

/// Of ascending values.
fn middle(values: &[f64]) -> f64 {
    match (values.len() / 2, values.len() % 2) {
        (0, 0) => 0.0,
        (half, 0) => f64::midpoint(values[half - 1], values[half]),
        (half, _) => values[half],
    }
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
