//! What is slow to collect of a machine: only for full questions.
//!
//! Each fact is collected beside the others and has its own patience: one that is not there in time is left at "not known"
//! (none or empty), it does not hold up the answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use clusterctl_proto::clock;
use clusterctl_proto::observe::HostFacts;

use crate::config::Config;
use crate::host::packages::{self, Versions};
use crate::host::{Command, Host, HostError, names, network};

const PATIENCE: Duration = Duration::from_millis(2000);

/// Everything but the candidates of packages.
pub async fn collect(host: &dyn Host, config: &Config, asked: &[String], preferred: Option<IpAddr>) -> HostFacts {
    let (os, addresses, machine_id, memory, synchronised, manager, listeners, resolves, access, systemd) = tokio::join!(
        text(host, "/etc/os-release"),
        patient("addresses", network::addresses(host)),
        text(host, "/etc/machine-id"),
        memory_bytes(host),
        patient("clock", clock_synchronised(host)),
        patient("package manager", packages::detect(host)),
        patient("listeners", network::listeners(host)),
        resolve(host, asked),
        mandatory_access(host),
        host.stat(Path::new("/run/systemd/system")),
    );
    let machine = host.machine();
    HostFacts {
        hostname: machine.hostname,
        os: os_release(&os, "PRETTY_NAME"),
        os_id: os_release(&os, "ID"),
        architecture: machine.architecture,
        addresses: network::prefer(addresses.unwrap_or_default(), preferred),
        cpus: machine.cpus,
        memory_bytes: memory,
        machine_id: machine_id.trim().to_owned(),
        clock_unix_ms: i64::try_from(clock::now_ms()).unwrap_or(i64::MAX),
        clock_synchronised: synchronised.flatten(),
        data_free_bytes: host.free_bytes(&config.mysql.data_dir),
        resolves,
        listeners: listeners.unwrap_or_default(),
        package_manager: manager.flatten().map(|manager| manager.name().to_owned()),
        packages: config.packages.clone(),
        candidates: Versions::new(),
        systemd: systemd.is_ok_and(|stat| stat.is_some()),
        mandatory_access: access,
    }
}

/// Versions that the repositories offer for every package of the configuration.
pub async fn candidates(host: &dyn Host, config: &Config) -> Option<Versions> {
    let manager = packages::detect(host).await.ok()??;
    let lists = [
        &config.packages.server,
        &config.packages.router,
        &config.packages.optional,
    ];
    let mut names: Vec<String> = lists.into_iter().flatten().cloned().collect();
    names.sort();
    names.dedup();
    match manager.candidates(host, &names).await {
        Ok(versions) => Some(versions),
        Err(error) => {
            tracing::debug!(%error, "candidates of packages are not known");
            None
        }
    }
}

async fn patient<T>(what: &str, work: impl Future<Output = Result<T, HostError>>) -> Option<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(value)) => Some(value),
        Ok(Err(error)) => {
            tracing::debug!(%error, what, "not known");
            None
        }
        Err(_) => {
            tracing::debug!(what, "not known in time");
            None
        }
    }
}

async fn text(host: &dyn Host, path: &str) -> String {
    let bytes = host.read(Path::new(path)).await.ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `KEY="value"` or `KEY=value`.
fn os_release(text: &str, key: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or("").trim_matches(['"', '\'']).to_owned()
}

/// What the kernel has, or what our control group may use, whichever is less.
async fn memory_bytes(host: &dyn Host) -> u64 {
    let meminfo = text(host, "/proc/meminfo").await;
    let kib = meminfo
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
        .unwrap_or(0);
    // the root of the tree that this host sees: a container's limit; `max` does not parse
    let limit = text(host, "/sys/fs/cgroup/memory.max")
        .await
        .trim()
        .parse()
        .unwrap_or(u64::MAX);
    kib.saturating_mul(1024).min(limit)
}

async fn clock_synchronised(host: &dyn Host) -> Result<Option<bool>, HostError> {
    let command = Command::new("timedatectl")
        .args(["show", "-p", "NTPSynchronized", "--value"])
        .timeout(PATIENCE);
    let output = command.run(host).await?;
    Ok(match output.stdout.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    })
}

async fn resolve(host: &dyn Host, asked: &[String]) -> BTreeMap<String, Vec<IpAddr>> {
    let looks = asked.iter().map(|name| async move {
        let found = patient("name", names::resolve(host, name)).await?;
        Some((name.clone(), found))
    });
    futures_util::future::join_all(looks)
        .await
        .into_iter()
        .flatten()
        .collect()
}

async fn mandatory_access(host: &dyn Host) -> Option<String> {
    if text(host, "/sys/fs/selinux/enforce").await.trim() == "1" {
        return Some("selinux".to_owned());
    }
    if text(host, "/sys/module/apparmor/parameters/enabled").await.trim() == "Y" {
        return Some("apparmor".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn what_cannot_be_told_is_left_out() {
        let host = FakeHost::new()
            .with_file(
                "/etc/os-release",
                "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_ID=12\n",
            )
            .with_file("/etc/machine-id", "abc\n")
            .with_file("/proc/meminfo", "MemTotal:       2048 kB\nMemFree: 1 kB\n")
            .with_file("/sys/fs/cgroup/memory.max", "1048576\n")
            .on("ip -j addr", "[]")
            .on("getent ahosts node2", "10.0.0.2 STREAM\n")
            .on_failure("getent ahosts node3", 2, "");
        let asked = ["node2".to_owned(), "node3".to_owned()];
        let facts = collect(&host, &Config::default(), &asked, None).await;
        assert_eq!(
            (facts.os.as_str(), facts.os_id.as_str(), facts.machine_id.as_str()),
            ("Debian GNU/Linux 12", "debian", "abc")
        );
        assert_eq!(facts.memory_bytes, 1 << 20);
        assert_eq!(facts.clock_synchronised, None);
        assert_eq!(facts.resolves["node2"].len(), 1);
        assert!(facts.resolves["node3"].is_empty());
        assert_eq!(facts.package_manager, None);
    }

    #[tokio::test]
    async fn memory_without_a_limit_is_the_kernel_s() {
        let host = FakeHost::new()
            .with_file("/proc/meminfo", "MemTotal: 2048 kB\n")
            .with_file("/sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(memory_bytes(&host).await, 2 << 20);
    }
}
