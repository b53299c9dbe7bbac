//! dnf and rpm: RHEL, Oracle Linux, Rocky, Alma, Fedora. Tested on arguments and recorded output only, not on a live host.

use std::path::Path;
use std::time::Duration;

use clusterctl_proto::failure::Failure;
use futures_util::future::BoxFuture;

use super::{PackageManager, Versions};
use crate::host::{Command, Host, HostError, Output};
use crate::steps::ProgressSink;

const INSTALL_TIMEOUT: Duration = Duration::from_secs(1800);

/// dnf.
pub struct Dnf;

impl PackageManager for Dnf {
    fn name(&self) -> &'static str {
        "dnf"
    }

    fn repository_path(&self) -> &'static Path {
        Path::new("/etc/yum.repos.d/clusterctl.repo")
    }

    fn installed<'a>(&'a self, host: &'a dyn Host, names: &'a [String]) -> BoxFuture<'a, Result<Versions, HostError>> {
        Box::pin(async move {
            if names.is_empty() {
                return Ok(Versions::new());
            }
            let command = Command::new("rpm")
                .args(["-q", "--qf", "%{NAME}\\t%{VERSION}-%{RELEASE}\\n", "--"])
                .args(names.iter().map(String::as_str));
            // status: how many of them are not installed
            Ok(versions(&command.run(host).await?.stdout, names))
        })
    }

    fn candidates<'a>(&'a self, host: &'a dyn Host, names: &'a [String]) -> BoxFuture<'a, Result<Versions, HostError>> {
        Box::pin(async move {
            if names.is_empty() {
                return Ok(Versions::new());
            }
            let command = Command::new("dnf")
                .args([
                    "-q",
                    "repoquery",
                    "--latest-limit=1",
                    "--qf",
                    "%{name}\\t%{version}-%{release}\\n",
                ])
                .args(names.iter().map(String::as_str))
                .timeout(Duration::from_secs(120));
            Ok(versions(&command.checked(host).await?.stdout, names))
        })
    }

    fn index_is_old<'a>(&'a self, _host: &'a dyn Host) -> BoxFuture<'a, Result<bool, HostError>> {
        // dnf looks after the age of its metadata itself
        Box::pin(async { Ok(false) })
    }

    fn refresh<'a>(&'a self, host: &'a dyn Host, progress: &'a ProgressSink) -> BoxFuture<'a, Result<(), Failure>> {
        let command = Command::new("dnf")
            .args(["-y", "makecache"])
            .timeout(Duration::from_secs(600));
        Box::pin(async move { run(host, &command, progress).await })
    }

    fn repair<'a>(&'a self, _host: &'a dyn Host, _progress: &'a ProgressSink) -> BoxFuture<'a, Result<(), Failure>> {
        // rpm transactions leave nothing half-configured, and packages start no service by themselves
        Box::pin(async { Ok(()) })
    }

    fn install<'a>(
        &'a self,
        host: &'a dyn Host,
        names: &'a [String],
        progress: &'a ProgressSink,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let command = Command::new("dnf")
            .args(["-y", "--setopt=install_weak_deps=False", "install"])
            .args(names.iter().map(String::as_str))
            .timeout(INSTALL_TIMEOUT)
            .survives();
        Box::pin(async move { run(host, &command, progress).await })
    }
}

/// `name<TAB>version`; lines that say otherwise are about packages that are not there.
fn versions(text: &str, names: &[String]) -> Versions {
    let find = |name: &String| {
        text.lines().find_map(|line| {
            let (found, version) = line.split_once('\t')?;
            (found == name).then(|| version.trim().to_owned())
        })
    };
    names.iter().map(|name| (name.clone(), find(name))).collect()
}

async fn run(host: &dyn Host, command: &Command, progress: &ProgressSink) -> Result<(), Failure> {
    let starts = ["Downloading", "Installing", "Waiting for process", "Error", "(", "["];
    let line = |text: &str| {
        let text = text.trim();
        if starts.iter().any(|start| text.starts_with(start)) {
            progress.text(text);
        }
    };
    let output = host.run(command, &line).await?;
    if output.success() {
        Ok(())
    } else {
        Err(explain(command, &output))
    }
}

fn explain(command: &Command, output: &Output) -> Failure {
    let all = format!("{}\n{}", output.stderr, output.stdout);
    let has = |texts: &[&str]| texts.iter().any(|text| all.contains(text));
    let failure = if has(&[
        "Waiting for process",
        "already running",
        "Failed to obtain the transaction lock",
    ]) {
        Failure::new("packages_locked", "another program is using the package manager").transient()
    } else if has(&["No match for argument", "Unable to find a match"]) {
        Failure::new("packages_missing", "the repositories of this host lack a package")
            .hint("set [packages] or repository in /etc/clusterctl/agent.toml; on EL 8 also: dnf module disable mysql")
    } else if has(&["No space left on device", "needs more space", "At least"]) {
        Failure::new("disk_full", "there is not enough free space for the packages")
            .hint("df -h / /var")
            .transient()
    } else if has(&["GPG check FAILED", "Public key", "is not signed"]) {
        Failure::new("repository_untrusted", "dnf does not trust a repository of this host")
            .hint("install the repository's key: rpm --import URL")
    } else if has(&[
        "Failed to download metadata",
        "Cannot download",
        "Curl error",
        "Could not resolve host",
    ]) {
        Failure::new("repository_unreachable", "a package repository does not answer")
            .hint("dnf makecache")
            .transient()
    } else if has(&["conflicting requests", "nothing provides", "Problem:"]) {
        Failure::new("packages_dependencies", "packages of this host do not fit together").hint(command.line())
    } else {
        Failure::new("packages_failed", "the packages could not be installed").hint(command.line())
    };
    output.tail().into_iter().fold(failure, Failure::fact)
}
