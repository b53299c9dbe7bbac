//! Programs and units of this host, as `init` needs them. The only place of ctl that starts programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use clusterctl_proto::failure::{ExitClass, Failure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::output::paint;

/// Lines of a failed program's output that are shown.
const SHOWN: usize = 12;

/// Refuses anybody but root.
pub fn require_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(
        "not_root",
        "clusterctl init makes keys, users' files and services: it needs root",
    )
    .hint("sudo clusterctl init")
    .exit(ExitClass::Denied))
}

/// A program of ours: beside this one, else on the path.
pub fn program(name: &str) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| own.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&path));
    let found = folders
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file());
    found.ok_or_else(|| {
        Failure::new("program_missing", format!("{name} is not installed on this host"))
            .hint(format!("install the package: apt-get install {name}"))
    })
}

/// Runs a program to its end with `input` on stdin; answers its stdout.
///
/// What it printed becomes the facts of the failure, so nothing secret may be printed by it; `input` is never shown.
pub async fn run(program: &Path, args: &[&str], input: Option<&str>) -> Result<String, Failure> {
    let shown = format!("{} {}", program.display(), args.join(" "));
    let failed = |why: &dyn std::fmt::Display| Failure::new("program_failed", format!("{}: {why}", shown.trim_end()));
    let mut child = Command::new(program)
        .args(args)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(false)
        .spawn()
        .map_err(|err| failed(&err))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A program that does not read to the end says why itself.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|err| failed(&err))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut failure = failed(&output.status);
    failure.exit = exit_class(output.status.code());
    let lines: Vec<&str> = stderr
        .lines()
        .chain(stdout.lines())
        .filter(|line| !line.trim().is_empty())
        .collect();
    let hint = lines.iter().find_map(|line| line.strip_prefix("hint: "));
    failure.hint = hint.map(str::to_owned);
    let kept = lines.iter().filter(|line| !line.starts_with("hint: ")).take(SHOWN);
    failure.facts = kept.map(|line| paint::clean(line)).collect();
    Err(failure)
}

/// Our programs use the same exit statuses.
fn exit_class(code: Option<i32>) -> ExitClass {
    match code {
        Some(2) => ExitClass::Usage,
        Some(3) => ExitClass::Refused,
        Some(4) => ExitClass::Unreachable,
        Some(7) => ExitClass::Denied,
        Some(8) => ExitClass::Conflict,
        _ => ExitClass::General,
    }
}

/// Whether a unit runs.
pub async fn is_active(unit: &str) -> bool {
    run(Path::new("systemctl"), &["is-active", "--quiet", unit], None)
        .await
        .is_ok()
}

/// A unit runs and will after a reboot.
pub async fn enable_now(unit: &str) -> Result<(), Failure> {
    run(Path::new("systemctl"), &["enable", "--now", unit], None)
        .await
        .map(drop)
        .map_err(|failure| failure.hint(format!("see why: journalctl -u {unit} -n 50")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stdin_reaches_the_program_and_its_words_reach_the_person() {
        let echoed = run(Path::new("/bin/cat"), &["-"], Some("a token\n")).await;
        assert_eq!(echoed.unwrap(), "a token\n");
        let script = "echo 'error: no good' >&2; echo 'hint: do better' >&2; exit 8";
        let failure = run(Path::new("/bin/sh"), &["-c", script], None).await.unwrap_err();
        assert_eq!(failure.exit, ExitClass::Conflict);
        assert_eq!(failure.facts, ["error: no good"]);
        assert_eq!(failure.hint.as_deref(), Some("do better"));
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let failure = program("clusterctl-nonexistent").unwrap_err();
        assert_eq!(
            failure.hint.as_deref(),
            Some("install the package: apt-get install clusterctl-nonexistent")
        );
    }
}
