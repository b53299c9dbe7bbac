//! The outside world of this machine, behind one narrow trait.
//!
//! Steps, observation and `mysql/` reach files and programs only through [`Host`], so that each of them can be tested with
//! `fake::FakeHost`. `std::process` and `tokio::process` are used nowhere else. What is above single commands and files
//! (systemd, packages, /etc/hosts) are plain functions over the trait in the sibling modules. Nothing here decides
//! whether something should be done.

pub mod certificate;
pub mod command;
#[cfg(test)]
pub mod fake;
mod files;
pub mod hosts_file;
pub mod names;
pub mod network;
pub mod packages;
mod real;
pub mod server_unit;
pub mod systemd;
pub mod unit_watch;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use command::{Command, Output};
pub use real::RealHost;

/// What the agent does to its machine. Object safe: steps hold an `Arc<dyn Host>`.
pub trait Host: Send + Sync {
    /// Runs a program to its end, each line of its output given to `line` as it comes. An exit status other than 0 is not an
    /// error here: see [`Output::ok`]. A program that outlives its time-out is killed with its children.
    fn run<'a>(
        &'a self,
        command: &'a Command,
        line: &'a (dyn Fn(&str) + Send + Sync),
    ) -> BoxFuture<'a, Result<Output, HostError>>;

    /// The file's content; none if there is no such file.
    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Vec<u8>>, HostError>>;

    /// What the path is, links followed; none if nothing is there.
    fn stat<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Stat>, HostError>>;

    /// Names in a folder, sorted; none if there is no such folder.
    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Vec<String>>, HostError>>;

    /// Replaces a file: written beside it, synced, renamed, folder synced. A reader sees the old text or the new one.
    fn write<'a>(&'a self, path: &'a Path, bytes: &'a [u8], access: &'a Access)
    -> BoxFuture<'a, Result<(), HostError>>;

    /// Makes a folder (and its parents, 0755 root) with this access, also where it is there already.
    fn make_dir<'a>(&'a self, path: &'a Path, access: &'a Access) -> BoxFuture<'a, Result<(), HostError>>;

    /// Renames within one file system.
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, Result<(), HostError>>;

    /// Removes a file, folder synced; false if it was not there.
    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<bool, HostError>>;

    /// Removes a folder with all that is in it, its own folder synced; false if it was not there.
    fn remove_tree<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<bool, HostError>>;

    /// Time since this machine was started. Never blocks.
    fn uptime(&self) -> Uptime;

    /// Name, architecture and processors of this machine. Never blocks.
    fn machine(&self) -> Machine;

    /// Free bytes for an ordinary user where the folder is or will be; 0 if unknown. May wait for a file system that hangs.
    fn free_bytes(&self, folder: &Path) -> u64;

    /// Whether somebody accepts connections on a port of this host's loopback, within two seconds.
    fn accepts<'a>(&'a self, port: u16) -> BoxFuture<'a, bool>;
}

/// What the kernel says of a machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Machine {
    /// Its own name, as `uname -n` tells it.
    pub hostname: String,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// How many threads can run at once; 1 if unknown.
    pub cpus: u32,
}

/// A moment on the clock that no one can set and that goes on while the machine sleeps (CLOCK_BOOTTIME).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Uptime {
    /// Which start of the machine it counts from, `/proc/sys/kernel/random/boot_id`; empty: not known.
    pub boot_id: String,
    /// Milliseconds since then.
    pub ms: u64,
}

impl Uptime {
    /// Time from an earlier moment to this one; none: another start of the machine, or one of them is not known.
    pub fn since(&self, earlier: &Self) -> Option<Duration> {
        let same = !self.boot_id.is_empty() && self.boot_id == earlier.boot_id;
        let passed = same.then(|| self.ms.checked_sub(earlier.ms)).flatten()?;
        Some(Duration::from_millis(passed))
    }
}

/// Owner and mode of a file or folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// As the file is now; 0644 and the agent's own user where there is none.
    Keep,
    /// This mode, owned by the agent's own user (root).
    Own(u32),
    /// This mode, user and group by name.
    Of {
        /// Permission bits, `0o640`.
        mode: u32,
        /// User.
        user: String,
        /// Group.
        group: String,
    },
}

impl Access {
    /// Mode, user, group.
    pub fn of(mode: u32, user: &str, group: &str) -> Self {
        Self::Of {
            mode,
            user: user.to_owned(),
            group: group.to_owned(),
        }
    }
}

/// What a path is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// A folder.
    pub is_dir: bool,
    /// Bytes.
    pub len: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970 of the last change; 0 where unknown.
    pub modified: u64,
}

/// Why the machine did not do it. Displays without its source; [`Failure::from`] keeps both.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file or folder.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// `read`, `write` …
        verb: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No such user or group.
    #[error("there is no {kind} {name:?} on this host")]
    NoSuchOwner {
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The program could not be started.
    #[error("cannot run {program}")]
    Spawn {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It ran too long and was killed.
    #[error("{command} did not end within {seconds} s and was killed")]
    Timeout {
        /// As typed.
        command: String,
        /// Its time-out.
        seconds: u64,
        /// Last lines that it printed.
        tail: Vec<String>,
    },
    /// It ended with another status than 0.
    #[error("{command} failed with {status}")]
    Exit {
        /// As typed.
        command: String,
        /// `exit status 100`, `signal 9`.
        status: String,
        /// Last lines that it printed.
        tail: Vec<String>,
    },
}

impl HostError {
    /// A file operation's error.
    pub fn file(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        let text = error.to_string();
        match error {
            HostError::File { source, path, .. } => {
                let full = source.kind() == io::ErrorKind::StorageFull;
                let code = if full { "disk_full" } else { "host_file" };
                let failure = Failure::new(code, text).fact(source.to_string());
                if full {
                    let folder = path.parent().unwrap_or(Path::new("/")).display().to_string();
                    failure.hint(format!("free some space: df -h {folder}")).transient()
                } else {
                    failure
                }
            }
            HostError::NoSuchOwner { .. } => Failure::new("no_such_user", text)
                .hint("the package that makes it is not installed; see: clusterctl check HOST"),
            HostError::Spawn { source, program } => Failure::new("program_missing", text)
                .fact(source.to_string())
                .hint(format!("install the package that brings {program}")),
            HostError::Timeout { tail, .. } => with_lines(Failure::new("program_timeout", text).transient(), tail),
            HostError::Exit { tail, .. } => with_lines(Failure::new("program_failed", text), tail),
        }
    }
}

fn with_lines(failure: Failure, lines: Vec<String>) -> Failure {
    lines.into_iter().fold(failure, Failure::fact)
}
