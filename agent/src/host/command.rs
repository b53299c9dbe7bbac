//! A program with its arguments, and what came of it.
//!
//! Secrets go through [`Command::stdin`], never through an argument or the environment: arguments stand in logs, in errors
//! and in `ps`.

use std::fmt;
use std::time::Duration;

use super::{Host, HostError};

/// How many of the last lines an error carries.
const TAIL: usize = 12;

/// A program to run. No shell is between.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// Name, looked up in PATH, or path.
    pub program: String,
    /// Arguments.
    pub args: Vec<String>,
    /// Added to the agent's environment.
    pub env: Vec<(String, String)>,
    /// Given on standard input, which is closed after it; none: `/dev/null`.
    pub stdin: Option<Vec<u8>>,
    /// When it is killed.
    pub timeout: Duration,
    /// Where it ends by itself when the step that runs it is dropped (package managers): false kills it.
    pub survives: bool,
}

impl Command {
    /// A program without arguments, killed after 30 s.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: None,
            timeout: Duration::from_secs(30),
            survives: false,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds to the environment. Not for secrets.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// What it reads on standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// When it is killed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// It is not killed when the step is dropped: half a package installation is worse than an unwatched one.
    pub fn survives(mut self) -> Self {
        self.survives = true;
        self
    }

    /// Runs it; any exit status.
    pub async fn run(&self, host: &dyn Host) -> Result<Output, HostError> {
        host.run(self, &|_| {}).await
    }

    /// Runs it; another exit status than 0 is an error that carries the last lines.
    pub async fn checked(&self, host: &dyn Host) -> Result<Output, HostError> {
        self.run(host).await?.ok(self)
    }

    /// As one would type it.
    pub fn line(&self) -> String {
        let mut text = self.program.clone();
        for arg in &self.args {
            text.push(' ');
            if arg.is_empty() || arg.contains(char::is_whitespace) {
                text.push('\'');
                text.push_str(arg);
                text.push('\'');
            } else {
                text.push_str(arg);
            }
        }
        text
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

/// What a program printed and how it ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// Exit status; none: ended by a signal.
    pub status: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
    /// Standard output, at most 4 MiB.
    pub stdout: String,
    /// Standard error, at most 4 MiB.
    pub stderr: String,
}

impl Output {
    /// Ended with this status, having printed this.
    #[cfg(test)]
    pub fn new(status: i32, stdout: impl Into<String>, stderr: impl Into<String>) -> Self {
        Self {
            status: Some(status),
            signal: None,
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    /// Exit status 0.
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }

    /// Itself on exit status 0, else an error with the last lines.
    pub fn ok(self, command: &Command) -> Result<Self, HostError> {
        if self.success() {
            return Ok(self);
        }
        Err(HostError::Exit {
            command: command.line(),
            status: match (self.status, self.signal) {
                (Some(status), _) => format!("exit status {status}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "an unknown status".to_owned(),
            },
            tail: self.tail(),
        })
    }

    /// Last lines of what it complained of; of what it printed, where it did not complain.
    pub fn tail(&self) -> Vec<String> {
        let text = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        let from = lines.len().saturating_sub(TAIL);
        lines[from..].iter().map(|line| (*line).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_stdin_nor_environment() {
        let command = Command::new("mysqlrouter")
            .arg("--bootstrap")
            .stdin("hunter2")
            .env("A", "secret");
        let text = format!("{command:?}");
        assert_eq!(text, "mysqlrouter --bootstrap");
    }

    #[test]
    fn a_failed_command_carries_its_last_lines() {
        let command = Command::new("apt-get").arg("install");
        let error = Output::new(100, "progress", "E: a\n\nE: b\n").ok(&command).unwrap_err();
        match error {
            HostError::Exit { status, tail, .. } => {
                assert_eq!(status, "exit status 100");
                assert_eq!(tail, ["E: a", "E: b"]);
            }
            other => panic!("{other:?}"),
        }
    }
}
