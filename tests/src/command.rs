//! Running the machine's own tools (ip, nft, mmdebstrap, apt-get, cargo, …).
//!
//! Every module that calls a tool comes through here, so that each failure names the command and shows
//! what it said. It must never print what a tool read from stdin.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// The search path of every tool and of everything run in a host: `sbin` is not in an ordinary user's.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command with an English, non-interactive environment and nothing on stdin.
pub(crate) fn tool<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", format!("{path}:{PATH}"))
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
}

/// Runs to the end and returns stdout; a failure carries the command and what it said on stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    finish(command, None)
}

/// As [`output`], with `input` on stdin.
pub(crate) fn output_with(command: &mut Command, input: &str) -> Result<String> {
    finish(command, Some(input))
}

fn finish(command: &mut Command, input: Option<&str>) -> Result<String> {
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
        // A tool that ends without reading all of it tells why by its exit status.
        let _ = pipe.write_all(text.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}): {}",
            line(command),
            describe(output.status),
            said.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs with stdout and stderr of our own.
pub(crate) fn streamed(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({})", line(command), describe(status));
    }
    Ok(())
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let mut text = words
        .map(|word| quote(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ");
    if text.len() > 300 {
        let cut = (0..=300).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// Quotes a word for a shell, if it must be.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The status as a shell gives it: 128 plus the signal's number when one ended the process.
pub(crate) fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1)
}

fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit status {code}"),
        None => format!("{status}"),
    }
}

/// Whether a program is in the search path that [`tool`] uses.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(PATH.split(':'))
        .any(|folder| !folder.is_empty() && std::path::Path::new(folder).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_words() {
        let error = output(&mut tool("sh", ["-c", "echo no such thing >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status 3") && error.ends_with("no such thing"),
            "{error}"
        );
    }

    #[test]
    fn quoting_survives_a_shell() {
        let word = "it's $HOME; `x`";
        let echoed = output(&mut tool("sh", ["-c", &format!("printf %s {}", quote(word))])).unwrap();
        assert_eq!(echoed, word);
    }
}
