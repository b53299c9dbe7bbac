//! `cargo lab test`: every check of the repository, stage by stage, the live tests last.
//!
//! Called by `cli`; CI runs nothing else. It prints each command before it runs, stops at the first stage
//! that fails and hands its exit status on. It must never leave its own lab behind, unless asked to.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::command::{code, line, tool};
use crate::error::hinted;
use crate::lab::Lab;
use crate::packages::{self, Packages, cargo, repository};
use crate::{drill, prerequisites, simulate};

/// What the user may choose from.
pub(crate) const STAGES: [&str; 6] = ["format", "clippy", "doc", "unit", "simulate", "live"];

/// How to run the tests.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The lab that the live tests may use; it is removed in the end, with those named `LAB-…`.
    pub lab: String,
    /// Only these stages; all if empty.
    pub stages: Vec<String>,
    /// Only live tests whose name contains one of these.
    pub filters: Vec<String>,
    /// Leave the lab as the tests left it.
    pub keep: bool,
}

/// Runs the stages; answers the exit status of the first one that failed, or 0.
pub(crate) fn run(plan: &Plan) -> Result<u8> {
    prerequisites::ensure()?;
    let start = Instant::now();
    let chosen = STAGES
        .iter()
        .filter(|stage| plan.stages.is_empty() || plan.stages.iter().any(|name| name == *stage));
    for stage in chosen {
        let begun = Instant::now();
        eprintln!("\n==> {stage}");
        let status = match *stage {
            "format" => shown(&mut cargo(&["fmt", "--all", "--check"])?)?,
            "clippy" => shown(&mut cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ])?)?,
            "doc" => shown(&mut documentation()?)?,
            // Every target with tests of its own; there are no tests in documentation, and rustdoc would read each library for them.
            "unit" => shown(&mut cargo(&["test", "--workspace", "--tests", "--quiet"])?)?,
            "simulate" => simulate::run(&simulate::Options {
                seeds: simulate::IN_TEST,
                ..simulate::Options::default()
            })?,
            _ => live(plan)?,
        };
        if status != 0 {
            eprintln!(
                "\n==> {stage} failed with exit status {status}, after {:.0} s",
                begun.elapsed().as_secs_f32()
            );
            return Ok(status);
        }
        eprintln!("    {stage}: good, {:.0} s", begun.elapsed().as_secs_f32());
    }
    eprintln!("\n==> all good, {:.0} s", start.elapsed().as_secs_f32());
    Ok(0)
}

/// Runs a benchmark of `tests/benches` with the lab at hand.
pub(crate) fn bench(lab: &str, name: &str, args: &[String]) -> Result<u8> {
    prerequisites::ensure()?;
    let program = built(&["bench", "--workspace", "--bench", name], name)?;
    let mut command = tool(&program, args);
    shown(
        command
            .env("CLUSTERCTL_LIVE", "1")
            .env("CLUSTERCTL_LAB_NAME", lab)
            .current_dir(repository()?.join("tests")),
    )
}

/// Carries out a drill with the lab at hand.
pub(crate) fn drill(lab: &str, options: &drill::Options) -> Result<u8> {
    prerequisites::ensure()?;
    let program = built(&["test", "--workspace", "--bench", "drill"], "drill")?;
    let mut command = tool(&program, options.to_args());
    shown(
        command
            .env("CLUSTERCTL_LIVE", "1")
            .env("CLUSTERCTL_LAB_NAME", lab)
            .current_dir(repository()?.join("tests")),
    )
}

fn documentation() -> Result<Command> {
    // Through cargo's own option and not RUSTDOCFLAGS, which sudo's caller would have to be given, too.
    cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--quiet",
        "--config",
        r#"build.rustdocflags=["-D", "warnings"]"#,
    ])
}

fn live(plan: &Plan) -> Result<u8> {
    let program = built(&["test", "--workspace", "--test", "live"], "live")?;
    let packages = Packages::build(false)?;
    remove(&plan.lab)?;
    let mut command = tool(&program, ["--test-threads=1"]);
    command.args(&plan.filters).current_dir(repository()?.join("tests"));
    command
        .env("CLUSTERCTL_LIVE", "1")
        .env("CLUSTERCTL_LAB_NAME", &plan.lab);
    command.env(packages::VARIABLE, packages.folder());
    let status = shown(&mut command);
    if plan.keep {
        eprintln!(
            "    the lab `{}` stays: `cargo lab --name {} shell node1`",
            plan.lab, plan.lab
        );
    } else {
        remove(&plan.lab)?;
    }
    status
}

/// Removes the tests' lab, and those that a test made beside it (`NAME-…`).
fn remove(lab: &str) -> Result<()> {
    let beside = format!("{lab}-");
    let names = Lab::names()?
        .into_iter()
        .filter(|name| name == lab || name.starts_with(&beside));
    names
        .chain([lab.to_owned()])
        .try_for_each(|name| Lab::down(&name).map(drop))
}

/// Builds a test or benchmark as the user, and answers its program, which then runs as root. Callers name the whole workspace and one
/// target: alone, this package takes its dependencies with fewer features, and cargo would build most of them a second time.
fn built(args: &[&str], target: &str) -> Result<String> {
    let mut command = cargo(args)?;
    command
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .stdout(Stdio::piped());
    eprintln!("$ {}", line(&command));
    let output = command.spawn().context("cannot run cargo")?.wait_with_output()?;
    ensure!(
        output.status.success(),
        hinted(
            format!("cannot build `{target}`"),
            "`ls tests/benches tests/live` shows what there is"
        )
    );
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| program_in(line, target))
        .next_back()
        .with_context(|| format!("cargo built no `{target}`"))
}

/// The program a line of cargo's answer names, if it is that target's.
fn program_in(line: &str, target: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    (message["target"]["name"] == target).then(|| message["executable"].as_str().map(str::to_owned))?
}

/// Prints a command, runs it with nothing on stdin, answers its exit status.
pub(crate) fn shown(command: &mut Command) -> Result<u8> {
    eprintln!("$ {}", line(command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    Ok(u8::try_from(code(status)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_in_cargos_answer() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"live"},"executable":"/t/debug/deps/live-1"}"#;
        assert_eq!(program_in(line, "live").as_deref(), Some("/t/debug/deps/live-1"));
        assert_eq!(program_in(line, "other"), None);
        assert_eq!(program_in("warning: x", "live"), None);
    }
}
