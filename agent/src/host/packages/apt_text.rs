//! What apt and dpkg print, read: pure functions.

use clusterctl_proto::failure::Failure;

use super::Versions;
use crate::host::{Command, Output};

/// A progress line of `APT::Status-Fd`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// For people.
    pub text: String,
    /// Of the whole download or installation.
    pub percent: u64,
}

/// `name<TAB>status<TAB>version` of dpkg-query. Only `installed` is installed: `half-configured` is not.
pub fn installed(text: &str, names: &[String]) -> Versions {
    let find = |name: &String| {
        text.lines().find_map(|line| {
            let mut fields = line.split('\t');
            let hit = fields.next() == Some(name) && fields.next() == Some("installed");
            hit.then(|| fields.next().unwrap_or("").to_owned())
        })
    };
    names.iter().map(|name| (name.clone(), find(name))).collect()
}

/// `Candidate:` of each block of `apt-cache policy`.
pub fn candidates(text: &str, names: &[String]) -> Versions {
    let mut found: Versions = names.iter().map(|name| (name.clone(), None)).collect();
    let mut current = None;
    for line in text.lines() {
        if !line.starts_with(' ') {
            current = line.strip_suffix(':').map(str::to_owned);
        } else if let (Some(name), Some(version)) = (&current, line.trim().strip_prefix("Candidate:"))
            && let Some(slot) = found.get_mut(name)
        {
            let version = version.trim();
            *slot = (version != "(none)" && !version.is_empty()).then(|| version.to_owned());
        }
    }
    found
}

/// `pmstatus:mysql-server-core:42.8:Unpacking mysql-server-core (amd64)`, `dlstatus:3:12.5:Retrieving file 3 of 10`.
pub fn status(line: &str) -> Option<Status> {
    let mut fields = line.splitn(4, ':');
    let kind = fields.next()?;
    if !matches!(kind, "pmstatus" | "dlstatus") {
        return None;
    }
    let _package = fields.next()?;
    let percent: f64 = fields.next()?.parse().ok()?;
    let text = fields.next()?.trim();
    Some(Status {
        text: text.to_owned(),
        // clamped: a float out of range would be cast to an end of it anyway
        percent: percent.clamp(0.0, 100.0).round() as u64,
    })
}

/// Lines that tell a person something while apt works; the rest is noise.
pub fn worth_showing(line: &str) -> Option<String> {
    let line = line.trim();
    let starts = [
        "Get:",
        "Need to get",
        "Unpacking ",
        "Setting up ",
        "E:",
        "Err:",
        "Waiting for cache lock",
    ];
    starts
        .iter()
        .any(|start| line.starts_with(start))
        .then(|| line.to_owned())
}

/// What a failed apt or dpkg means.
pub fn explain(command: &Command, output: Output) -> Failure {
    let all = format!("{}\n{}", output.stderr, output.stdout);
    let has = |texts: &[&str]| texts.iter().any(|text| all.contains(text));
    let failure = if has(&["dpkg was interrupted", "dpkg --configure -a"]) {
        Failure::new(
            "dpkg_interrupted",
            "an earlier installation was interrupted and dpkg waits to be repaired",
        )
        .hint("dpkg --configure -a")
    } else if has(&[
        "Could not get lock",
        "Unable to acquire the dpkg frontend lock",
        "Unable to lock",
    ]) {
        Failure::new("packages_locked", "another program is using the package manager")
            .hint("wait until it has finished; see: fuser -v /var/lib/dpkg/lock-frontend")
            .transient()
    } else if has(&["enough free space", "No space left on device"]) {
        Failure::new("disk_full", "there is not enough free space for the packages")
            .hint("df -h / /var")
            .transient()
    } else if has(&["NO_PUBKEY", "is not signed", "couldn't be verified", "EXPKEYSIG"]) {
        Failure::new("repository_untrusted", "apt does not trust a repository of this host")
            .hint("install the repository's key, then try: apt-get update")
    } else if has(&["Unable to locate package", "has no installation candidate"]) {
        Failure::new("packages_missing", "the repositories of this host lack a package")
            .hint("set [packages] or repository in /etc/clusterctl/agent.toml")
    } else if has(&[
        "Unmet dependencies",
        "unmet dependencies",
        "held broken packages",
        "Unsatisfied dependencies",
    ]) {
        Failure::new("packages_dependencies", "packages of this host do not fit together")
            .hint("apt-get -s install --fix-broken")
    } else if has(&[
        "Failed to fetch",
        "Unable to fetch",
        "Could not resolve",
        "Temporary failure resolving",
        "Some index files failed",
    ]) {
        Failure::new("repository_unreachable", "a package repository does not answer")
            .hint("look at the sources and at the network, then try: apt-get update")
            .transient()
    } else if has(&["(--configure)"]) {
        // mysql-server's script starts a mysqld of its own; on a busy machine that has failed once and worked the next time. What
        // is half configured is finished first when the step is done again.
        Failure::new(
            "packages_not_configured",
            "a package's own script failed while it was configured",
        )
        .hint("dpkg --configure -a; journalctl -n 50; tail /var/log/mysql/error.log")
        .transient()
    } else {
        Failure::new("packages_failed", "the packages could not be installed").hint(command.line())
    };
    facts(&output).into_iter().fold(failure, Failure::fact)
}

/// Its own complaints, else the last lines.
fn facts(output: &Output) -> Vec<String> {
    let complaint = |line: &&str| {
        ["E:", "W:", "Err:", "dpkg:", "N:", "ERROR"]
            .iter()
            .any(|start| line.starts_with(start))
            || line.contains("subprocess returned")
            || line.contains("[ERROR]")
    };
    let mut lines: Vec<String> = output
        .stderr
        .lines()
        .chain(output.stdout.lines())
        .map(str::trim)
        .filter(complaint)
        .map(str::to_owned)
        .collect();
    lines.dedup();
    lines.truncate(8);
    if lines.is_empty() { output.tail() } else { lines }
}
