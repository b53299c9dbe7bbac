//! Running a command in a host, from outside.
//!
//! Called by `lab` and `host`. The command joins the host's namespaces and its cgroup (it freezes and dies
//! with the host) and gets a plain environment, as after a login. It must never put what it is given on
//! stdin into an argument or an error.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::{PATH, code, tool};
use crate::error::hinted;
use crate::host::Host;

/// What a command in a host answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; 128 plus the signal's number if one ended it, 124 if it took too long.
    pub status: i32,
    /// All it printed.
    pub stdout: String,
    /// All it complained of.
    pub stderr: String,
}

impl Output {
    /// The stdout of a command that succeeded; an error with all it said otherwise.
    pub fn success(self) -> Result<String> {
        ensure!(
            self.status == 0,
            "exit status {}\n{}{}",
            self.status,
            self.stdout,
            self.stderr
        );
        Ok(self.stdout)
    }
}

/// A way into a running host for one user.
pub(crate) struct Exec {
    prefix: Vec<String>,
    limit: Option<Duration>,
}

/// Moves itself into the cgroup, then becomes what follows; words are never put together.
const ENTER_CGROUP: &str = r#"echo 0 > "$1/cgroup.procs" && shift && exec "$@""#;

/// Stays outside the host's PID namespace and waits for the command. On Ctrl-C bash, unlike nsenter, ends
/// only if the command does, and hands on its status; if this one is killed, so is the command. What bash
/// itself would print of a command that was killed is not the command's own.
const WAIT: &str = r#"exec 3>&2 2>/dev/null; "$@" 2>&3 3>&-; exit $?"#;

struct User {
    uid: String,
    gid: String,
    home: String,
    shell: String,
}

impl Exec {
    /// `init` is the host's PID 1 as [`Host::init`] gives it.
    pub fn new(host: &Host, init: u32, name: &str) -> Result<Self> {
        let root = format!("/proc/{init}/root");
        let passwd = fs::read_to_string(format!("{root}/etc/passwd"))
            .with_context(|| format!("{} went down just now", host.name))?;
        let user = lookup(&passwd, name).ok_or_else(|| {
            hinted(
                format!("{} has no user `{name}`", host.name),
                "the lab makes `admin`; `root` is everywhere",
            )
        })?;
        let visitors = host.cgroup().visitors()?;
        let mut prefix = words(["sh", "-c", ENTER_CGROUP, "sh"]);
        prefix.push(visitors.display().to_string());
        prefix.extend(words([
            "nsenter", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
        ]));
        prefix.extend(words(["--root", "--wd", "--no-fork"]));
        prefix.push(format!("--target={init}"));
        prefix.extend(words(["bash", "-p", "-c", WAIT, "bash", "setpriv", "--pdeathsig=KILL"]));
        if user.uid != "0" {
            prefix.extend([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)]);
            prefix.extend(words(["--init-groups"]));
        }
        prefix.extend(words(["env", "--ignore-environment"]));
        if Path::new(&format!("{root}{}", user.home)).is_dir() {
            prefix.push(format!("--chdir={}", user.home));
        }
        let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
        let variables = [
            ("PATH", PATH),
            ("HOME", &user.home),
            ("USER", name),
            ("LOGNAME", name),
            ("SHELL", &user.shell),
            ("LANG", "C.UTF-8"),
            ("TERM", &term),
        ];
        prefix.extend(variables.iter().map(|(variable, value)| format!("{variable}={value}")));
        Ok(Self { prefix, limit: None })
    }

    /// After that time the command is ended, with exit status 124.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs to the end; `input` on stdin.
    pub fn run(&self, argv: &[&str], input: &str) -> Result<Output> {
        let mut child = self
            .command(argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run sh")?;
        let pipe = child.stdin.take();
        let (written, output) = std::thread::scope(|scope| {
            let writer = scope.spawn(move || pipe.map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes())));
            let output = child.wait_with_output();
            (writer.join(), output)
        });
        // A command need not read its input; how it ended is its own affair.
        drop(written);
        let output = output?;
        Ok(Output {
            status: code(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs with our own stdin, stdout and stderr (or `input` on stdin); a terminal is handed on.
    pub fn stream(&self, argv: &[&str], input: Option<&str>) -> Result<i32> {
        let mut command = self.command(argv);
        command.stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::inherit()
        });
        let mut child = command.spawn().context("cannot run sh")?;
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
            let _ = pipe.write_all(text.as_bytes());
        }
        Ok(code(child.wait()?))
    }

    /// Becomes the command, so that signals and the terminal are all its own; returns only an error.
    pub fn replace(&self, argv: &[&str]) -> anyhow::Error {
        anyhow::Error::new(self.command(argv).stdin(Stdio::inherit()).exec()).context("cannot run sh")
    }

    /// Starts it with pipes on stdin, stdout and stderr; the caller looks after it.
    pub fn spawn(&self, argv: &[&str]) -> Result<Child> {
        let mut command = self.command(argv);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().context("cannot run sh")
    }

    fn command(&self, argv: &[&str]) -> Command {
        let mut all = self.prefix.clone();
        if let Some(limit) = self.limit {
            all.extend(words(["timeout", "--kill-after=5"]));
            all.push(limit.as_secs_f32().to_string());
        }
        all.extend(argv.iter().map(|word| (*word).to_owned()));
        tool(&all[0], &all[1..])
    }
}

fn words<const N: usize>(list: [&str; N]) -> Vec<String> {
    list.map(str::to_owned).to_vec()
}

fn lookup(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [found, _, uid, gid, _, home, shell] = fields[..] else {
            return None;
        };
        let own = |text: &str| text.to_owned();
        (found == name).then(|| User {
            uid: own(uid),
            gid: own(gid),
            home: own(home),
            shell: own(shell),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_whole() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nadmin:x:1000:1000:the DBA:/home/admin:/bin/bash\nbroken\n";
        let user = lookup(passwd, "admin").unwrap();
        assert_eq!((user.uid.as_str(), user.home.as_str()), ("1000", "/home/admin"));
        assert!(lookup(passwd, "adm").is_none());
    }
}
