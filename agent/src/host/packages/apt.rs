//! apt and dpkg: Debian, Ubuntu.

use std::path::Path;
use std::time::Duration;

use clusterctl_proto::clock;
use clusterctl_proto::failure::Failure;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::apt_text::{self, Status};
use super::{PackageManager, Versions, hold};
use crate::host::{Command, Host, HostError};
use crate::steps::ProgressSink;

const OLD_INDEX_SECONDS: u64 = 24 * 3600;
/// A slow mirror and a slow disk; past it something hangs.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(1800);

/// How long an installation of a killed agent is waited for; tests do not wait.
const EARLIER: Duration = if cfg!(test) {
    Duration::ZERO
} else {
    Duration::from_secs(180)
};

/// apt.
pub struct Apt;

impl PackageManager for Apt {
    fn name(&self) -> &'static str {
        "apt"
    }

    fn repository_path(&self) -> &'static Path {
        Path::new("/etc/apt/sources.list.d/clusterctl.sources")
    }

    fn installed<'a>(&'a self, host: &'a dyn Host, names: &'a [String]) -> BoxFuture<'a, Result<Versions, HostError>> {
        Box::pin(async move {
            if names.is_empty() {
                return Ok(Versions::new());
            }
            let command = Command::new("dpkg-query")
                .args(["-W", "-f", "${Package}\\t${db:Status-Status}\\t${Version}\\n", "--"])
                .args(names.iter().map(String::as_str));
            // status 1: some of them are not known, the others are printed
            let output = command.run(host).await?;
            Ok(apt_text::installed(&output.stdout, names))
        })
    }

    fn candidates<'a>(&'a self, host: &'a dyn Host, names: &'a [String]) -> BoxFuture<'a, Result<Versions, HostError>> {
        Box::pin(async move {
            if names.is_empty() {
                return Ok(Versions::new());
            }
            let command = Command::new("apt-cache")
                .args(["policy", "--"])
                .args(names.iter().map(String::as_str));
            Ok(apt_text::candidates(&command.checked(host).await?.stdout, names))
        })
    }

    fn index_is_old<'a>(&'a self, host: &'a dyn Host) -> BoxFuture<'a, Result<bool, HostError>> {
        Box::pin(async move {
            let mut newest = 0;
            for folder in ["/var/lib/apt/lists", "/var/lib/apt/lists/partial"] {
                if let Some(stat) = host.stat(Path::new(folder)).await? {
                    newest = newest.max(stat.modified);
                }
            }
            Ok(clock::now_ms() / 1000 > newest + OLD_INDEX_SECONDS)
        })
    }

    fn refresh<'a>(&'a self, host: &'a dyn Host, progress: &'a ProgressSink) -> BoxFuture<'a, Result<(), Failure>> {
        // without the error mode a mirror that does not answer is only a warning, with exit status 0
        let command = apt_get(Duration::from_secs(600)).args(["-o", "APT::Update::Error-Mode=any", "update"]);
        Box::pin(async move { run(host, &command, progress).await })
    }

    fn repair<'a>(&'a self, host: &'a dyn Host, progress: &'a ProgressSink) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if !hold::stands(host).await? {
                return Ok(());
            }
            wait_for_earlier(host, progress).await?;
            let audit = Command::new("dpkg").arg("--audit").checked(host).await?;
            if !audit.stdout.trim().is_empty() {
                progress.text("dpkg: finishing an interrupted installation");
                let command = Command::new("dpkg").args(["--force-confdef", "--force-confold", "--configure", "-a"]);
                let command = dpkg_environment(command).timeout(INSTALL_TIMEOUT).survives();
                run(host, &command, progress).await?;
            }
            Ok(hold::lift(host).await?)
        })
    }

    fn install<'a>(
        &'a self,
        host: &'a dyn Host,
        names: &'a [String],
        progress: &'a ProgressSink,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let command = install_command(names);
            hold::put(host).await?;
            let result = run(host, &command, progress).await;
            // lifted on failure, too: an administrator's own apt must not be held
            let lifted = hold::lift(host).await;
            result?;
            Ok(lifted?)
        })
    }
}

/// The whole command line, as tests pin it.
fn install_command(names: &[String]) -> Command {
    apt_get(INSTALL_TIMEOUT)
        .args([
            "-o",
            "Dpkg::Options::=--force-confdef",
            "-o",
            "Dpkg::Options::=--force-confold",
            "-o",
            "APT::Status-Fd=1",
            "install",
            "--no-install-recommends",
            "--",
        ])
        .args(names.iter().map(String::as_str))
}

fn apt_get(timeout: Duration) -> Command {
    let command = Command::new("apt-get")
        .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"])
        .timeout(timeout)
        .survives();
    dpkg_environment(command)
}

/// Nothing may ask; needrestart must not restart services behind our back.
fn dpkg_environment(command: Command) -> Command {
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("DEBIAN_PRIORITY", "critical")
        .env("NEEDRESTART_SUSPEND", "1")
        .env("APT_LISTCHANGES_FRONTEND", "none")
}

/// An installation outlives the agent that began it: while it runs, it must be neither mended nor released.
async fn wait_for_earlier(host: &dyn Host, progress: &ProgressSink) -> Result<(), Failure> {
    let end = Instant::now() + EARLIER;
    while let Some(program) = running(host).await? {
        if Instant::now() >= end {
            return Err(
                Failure::new("packages_locked", "an installation of an earlier agent still runs")
                    .fact(format!("{program} is running"))
                    .transient(),
            );
        }
        progress.text(format!("waiting for {program} of an earlier agent to end"));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// The first process that installs packages.
async fn running(host: &dyn Host) -> Result<Option<String>, HostError> {
    let proc = Path::new("/proc");
    for name in host.list(proc).await?.unwrap_or_default() {
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // a process may end between the two looks
        let comm = host
            .read(&proc.join(&name).join("comm"))
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        let comm = String::from_utf8_lossy(&comm).trim().to_owned();
        if matches!(
            comm.as_str(),
            "apt-get" | "apt" | "dpkg" | "aptitude" | "unattended-upgr"
        ) {
            return Ok(Some(comm));
        }
    }
    Ok(None)
}

async fn run(host: &dyn Host, command: &Command, progress: &ProgressSink) -> Result<(), Failure> {
    let line = |text: &str| match apt_text::status(text) {
        // not as a count: counts are bytes
        Some(Status { text, percent }) => progress.text(format!("{text}, {percent} %")),
        None => {
            if let Some(text) = apt_text::worth_showing(text) {
                progress.text(text);
            }
        }
    };
    let output = host.run(command, &line).await?;
    if output.success() {
        return Ok(());
    }
    Err(apt_text::explain(command, output))
}

#[cfg(test)]
pub(super) fn install_line(names: &[String]) -> String {
    install_command(names).line()
}
