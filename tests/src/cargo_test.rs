//! A `cargo test …` command as a person types it, done in two steps: build the test programs, then run them with a time limit.
//!
//! Used by `mutants` and `simulate`. A program that fails to build and a test that fails are different answers. It must never
//! run what cargo did not build in the same call.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::command::line;
use crate::packages::cargo;

/// How often a running test program is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The parsed command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CargoTest {
    /// As it was typed.
    pub text: String,
    /// The package whose tests it runs.
    pub package: String,
    variables: Vec<(String, String)>,
    /// Cargo's options: the same options are the same programs.
    pub build: Vec<String>,
    run: Vec<String>,
}

/// A test program that cargo has built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its file.
    pub path: PathBuf,
    /// The folder of its package, in which cargo would run it.
    pub folder: PathBuf,
}

/// What `cargo test --no-run` did.
#[derive(Debug)]
pub(crate) enum Built {
    /// The programs.
    Programs(Vec<Program>),
    /// The compiler's words.
    Broken(String),
}

/// How the tests ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// So many tests passed, none failed.
    Passed(usize),
    /// At least one failed; its name, if the program printed one.
    Failed(Option<String>),
    /// The programs ran longer than the limit.
    TimedOut,
}

impl CargoTest {
    /// Parses `[NAME=VALUE …] cargo test -p PACKAGE [--lib] [--release] [--profile X] [--bin X] [--test X] [FILTER …] [-- ARG …]`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace().map(str::to_owned).peekable();
        let mut variables = Vec::new();
        while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
            variables.push((name.to_owned(), value.to_owned()));
            words.next();
        }
        let begin = (words.next(), words.next());
        ensure!(
            begin == (Some("cargo".to_owned()), Some("test".to_owned())),
            "`{text}` is not a `cargo test` command"
        );
        let (mut package, mut build, mut run) = (None, Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            match word.as_str() {
                "-p" | "--package" => {
                    let name = words
                        .next()
                        .with_context(|| format!("`{text}`: no package after {word}"))?;
                    build.extend([word, name.clone()]);
                    package = Some(name);
                }
                "--bin" | "--test" | "--profile" => {
                    let name = words
                        .next()
                        .with_context(|| format!("`{text}`: no name after {word}"))?;
                    build.extend([word, name]);
                }
                "--lib" | "--bins" | "--release" => build.push(word),
                "--" => run.extend(words.by_ref()),
                _ if word.starts_with('-') => bail!("`{text}`: the option {word} is not supported here"),
                _ => run.push(word),
            }
        }
        Ok(Self {
            text: text.to_owned(),
            package: package.with_context(|| format!("`{text}` names no package"))?,
            variables,
            build,
            run,
        })
    }

    /// Builds the test programs of the workspace in `tree`, with artefacts in `target` or in cargo's usual folder.
    pub fn build(&self, tree: &Path, target: Option<&Path>) -> Result<Built> {
        let mut command = cargo(&[
            "test",
            "--no-run",
            "--quiet",
            "--message-format=json-render-diagnostics",
        ])?;
        command.args(&self.build).current_dir(tree).stderr(Stdio::piped());
        if let Some(target) = target {
            command.arg("--target-dir").arg(target);
        }
        let output = command
            .output()
            .with_context(|| format!("cannot run `{}`", line(&command)))?;
        if !output.status.success() {
            return Ok(Built::Broken(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(Built::Programs(text.lines().filter_map(program_in).collect()))
    }

    /// Runs the programs one after another; what they print goes to `log`.
    pub fn run(&self, programs: &[Program], limit: Duration, log: &Path) -> Result<Ended> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let start = Instant::now();
        let mut passed = 0;
        for program in programs {
            let mut command = Command::new(&program.path);
            command
                .args(&self.run)
                .envs(self.variables.iter().cloned())
                .current_dir(&program.folder)
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file.try_clone()?);
            let child = command
                .spawn()
                .with_context(|| format!("cannot run `{}`", line(&command)))?;
            let Some(status) = wait_until(child, start + limit)? else {
                return Ok(Ended::TimedOut);
            };
            let printed = std::fs::read(log)?;
            let printed = String::from_utf8_lossy(&printed);
            if !status.success() {
                return Ok(Ended::Failed(first_failure(&printed)));
            }
            passed = count_passed(&printed);
        }
        Ok(Ended::Passed(passed))
    }
}

/// Waits for a process; kills it when the time has come, and answers nothing then.
pub(crate) fn wait_until(mut child: Child, end: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// The test program that a line of cargo's answer names.
fn program_in(line: &str) -> Option<Program> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message["executable"].as_str()?;
    let manifest = message["manifest_path"].as_str()?;
    (message["profile"]["test"] == true).then(|| Program {
        path: path.into(),
        folder: Path::new(manifest).parent().unwrap_or(Path::new("/")).to_owned(),
    })
}

/// The first failed test in the output of the standard harness.
fn first_failure(printed: &str) -> Option<String> {
    let mut names = printed
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    names
        .next()
        .map(|name| name.trim_end_matches(" - should panic").to_owned())
}

fn count_passed(printed: &str) -> usize {
    let results = printed
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. "));
    results
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<usize>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_for_cargo_and_filters_for_the_program() {
        let test = CargoTest::parse("SIM_SEEDS=9 cargo test -p clusterctl-proto --lib gtid -- --exact").unwrap();
        assert_eq!(test.package, "clusterctl-proto");
        assert_eq!(test.build, ["-p", "clusterctl-proto", "--lib"]);
        assert_eq!(test.run, ["gtid", "--exact"]);
        assert_eq!(test.variables, [("SIM_SEEDS".to_owned(), "9".to_owned())]);
        for wrong in [
            "cargo build -p x",
            "cargo test gtid",
            "cargo test -p",
            "cargo test -p x --workspace",
        ] {
            assert!(CargoTest::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn results_are_read_from_the_harness() {
        let printed =
            "running 2 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed\n";
        assert_eq!(first_failure(printed).as_deref(), Some("a::c"));
        assert_eq!(count_passed(printed), 0);
        assert_eq!(
            count_passed("test result: ok. 12 passed; 0 failed\nx\ntest result: ok. 3 passed; 0 failed"),
            15
        );
        assert_eq!(first_failure("thread panicked"), None);
    }

    #[test]
    fn only_test_programs_count() {
        let program = |test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/r/proto/Cargo.toml","profile":{{"test":{test}}},"executable":"/t/x"}}"#
            )
        };
        let found = program_in(&program(true)).unwrap();
        assert_eq!(
            (found.path.as_path(), found.folder.as_path()),
            (Path::new("/t/x"), Path::new("/r/proto"))
        );
        assert_eq!(program_in(&program(false)), None);
        assert_eq!(program_in("warning"), None);
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let end = Instant::now() + Duration::from_millis(50);
        assert_eq!(wait_until(child, end).unwrap(), None);
    }
}
