//! `cargo lab night`: everything that takes too long for `cargo lab test`, one stage after another, and one table.
//!
//! Called by `cli`. A stage is a command of its own, so that one which dies does not take the others along; a failing stage stops no
//! other. The last line that a stage prints is its figures. It must never judge what a stage printed: its exit status counts.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::{code, line};
use crate::packages::{as_caller, cargo, repository};
use crate::{drill, prerequisites};

/// What the user may choose from, in the order of running.
pub(crate) const STAGES: [&str; 7] = [
    "simulate",
    "mutants",
    "model",
    "model-bounded",
    "conformance",
    "drill-1",
    "drill-2",
];

/// The live cases that `cargo lab test` leaves out: among them, that the simulated mysqld and the real one pass the same script.
const CONFORMANCE: (&str, &str) = ("what_was_formed_stays", "formed,forced: the variable,conformance");

/// What a night consists of.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Only this stage; may be repeated
    #[arg(long, value_name = "STAGE", value_parser = clap::builder::PossibleValuesParser::new(STAGES))]
    pub only: Vec<String>,
    /// Seeds of the simulator
    #[arg(long, default_value_t = 100_000)]
    pub seeds: u64,
    /// Minutes of each drill
    #[arg(long, default_value_t = 30)]
    pub minutes: u64,
    /// The seed of the first drill, the second takes the next; drawn and printed if not stated
    #[arg(long)]
    pub seed: Option<u64>,
}

enum Outcome {
    Good,
    Failed(i32),
    Skipped,
}

struct Row {
    stage: &'static str,
    outcome: Outcome,
    figures: String,
    took: Duration,
}

/// Runs the stages, drills in the lab of this name; answers 0 if none failed.
pub(crate) fn run(lab: &str, options: &Options) -> Result<u8> {
    prerequisites::ensure()?;
    let start = Instant::now();
    let seed = options.seed.unwrap_or_else(|| drill::draw(0));
    let wanted = |stage: &&str| options.only.is_empty() || options.only.iter().any(|name| name == stage);
    let mut rows = Vec::new();
    for stage in STAGES.into_iter().filter(|stage| wanted(stage)) {
        let begun = Instant::now();
        eprintln!("\n==> {stage}");
        let (outcome, figures) = match command(stage, lab, options, seed)? {
            None => (
                Outcome::Skipped,
                "there is no package clusterctl-protocol-model".to_owned(),
            ),
            Some(mut command) => watched(&mut command)?,
        };
        rows.push(Row {
            stage,
            outcome,
            figures,
            took: begun.elapsed(),
        });
    }
    println!("\n{}", table(&rows, start.elapsed()));
    Ok(u8::from(
        rows.iter().any(|row| matches!(row.outcome, Outcome::Failed(_))),
    ))
}

/// The command of a stage; nothing where the tree has no such package.
fn command(stage: &str, lab: &str, options: &Options, seed: u64) -> Result<Option<Command>> {
    // The program that runs, also where a build has replaced its file meanwhile: a night is long.
    let own = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    let mut command = match stage {
        // The user's own: what they build belongs to them.
        "simulate" | "mutants" => as_caller(&own.to_string_lossy())?,
        "model" | "model-bounded" => {
            if !repository()?.join("tests/protocol/Cargo.toml").is_file() {
                return Ok(None);
            }
            cargo(&["run", "--quiet", "--release", "-p", "clusterctl-protocol-model", "--"])?
        }
        _ => Command::new(own),
    };
    match stage {
        "simulate" => command.args(["simulate", "--seeds", &options.seeds.to_string()]),
        "mutants" => command.arg("mutants"),
        "conformance" => {
            let (test, cases) = CONFORMANCE;
            // A lab beside the one of the drills: the live tests remove theirs, and all that stand beside it.
            let lab = format!("{lab}-live");
            command.env("CLUSTERCTL_LIVE_CASES", cases);
            command.args(["--name", &lab, "test", "--stage", "live", test])
        }
        "model" => command.arg("exhaustive"),
        "model-bounded" => command.arg("bounded"),
        _ => {
            let seed = seed + u64::from(stage == "drill-2");
            let minutes = options.minutes.to_string();
            command.args([
                "--name",
                lab,
                "drill",
                "--minutes",
                &minutes,
                "--seed",
                &seed.to_string(),
            ])
        }
    };
    Ok(Some(command))
}

/// Runs a command, shows what it prints, and keeps its last line.
fn watched(command: &mut Command) -> Result<(Outcome, String)> {
    eprintln!("$ {}", line(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    let mut last = String::new();
    if let Some(pipe) = child.stdout.take() {
        for text in BufReader::new(pipe).lines() {
            let text = text?;
            println!("{text}");
            if !text.trim().is_empty() {
                last = text.trim().to_owned();
            }
        }
    }
    let status = child.wait()?;
    let outcome = if status.success() {
        Outcome::Good
    } else {
        Outcome::Failed(code(status))
    };
    Ok((outcome, last))
}

fn table(rows: &[Row], all: Duration) -> String {
    let mut text = format!("{:<14} {:<14} {:>8}  FIGURES\n", "STAGE", "RESULT", "TIME");
    for row in rows {
        let result = match row.outcome {
            Outcome::Good => "good".to_owned(),
            Outcome::Failed(status) => format!("FAILED ({status})"),
            Outcome::Skipped => "not there".to_owned(),
        };
        text += &format!(
            "{:<14} {result:<14} {:>8}  {}\n",
            row.stage,
            time(row.took),
            row.figures
        );
    }
    text + &format!("{:<14} {:<14} {:>8}", "all", "", time(all))
}

fn time(took: Duration) -> String {
    let seconds = took.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tool;

    #[test]
    fn the_last_line_is_the_figures_and_the_status_counts() {
        let (outcome, figures) = watched(&mut tool("sh", ["-c", "echo a; echo '3 of 4'; echo; exit 3"])).unwrap();
        assert!(matches!(outcome, Outcome::Failed(3)) && figures == "3 of 4");
        let (outcome, figures) = watched(&mut tool("sh", ["-c", "echo fine"])).unwrap();
        assert!(matches!(outcome, Outcome::Good) && figures == "fine");
    }

    #[test]
    fn conformance_asks_for_its_case_on_a_lab_of_its_own() {
        let cli = clap::Command::new("night");
        let cli = <Options as clap::Args>::augment_args(cli);
        let matches = cli.try_get_matches_from(["night", "--only", "conformance"]).unwrap();
        let options = <Options as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
        let command = command("conformance", "drill", &options, 1).unwrap().unwrap();
        let args: Vec<_> = command.get_args().collect();
        assert_eq!(
            args,
            [
                "--name",
                "drill-live",
                "test",
                "--stage",
                "live",
                "what_was_formed_stays"
            ]
        );
        let cases = command.get_envs().find(|(name, _)| *name == "CLUSTERCTL_LIVE_CASES");
        assert_eq!(cases.unwrap().1.unwrap(), CONFORMANCE.1);
    }

    #[test]
    fn the_table_has_a_line_for_each_stage() {
        let row = |stage, outcome, took| Row {
            stage,
            outcome,
            figures: "x".to_owned(),
            took: Duration::from_secs(took),
        };
        let rows = [
            row("simulate", Outcome::Good, 61),
            row("drill-1", Outcome::Failed(1), 3725),
        ];
        let text = table(&rows, Duration::from_secs(3786));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "simulate       good            0:01:01  x");
        assert_eq!(lines[2], "drill-1        FAILED (1)      1:02:05  x");
        assert!(lines[3].ends_with("1:03:06") && lines.len() == 4);
    }
}
