//! Packages are installed, and nothing that they bring runs with default settings.

use std::sync::Arc;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::machine;
use clusterctl_proto::observe::{DataDirectory, UnitState};

use super::{Context, Done};
use crate::config::Config;
use crate::host::packages::{self, Report, Wanted};
use crate::host::{Host, systemd};
use crate::mysql::{data, options};
use crate::steps::ProgressSink;

/// Looks, installs what is missing, looks again.
pub async fn ensure(required: &[String], optional: &[String], cx: &Context) -> Result<Done, Failure> {
    let (host, config, progress) = (Arc::clone(&cx.host), Arc::clone(&cx.config), cx.progress.clone());
    let wanted = Wanted {
        required: required.to_vec(),
        optional: optional.to_vec(),
        repository: config.repository.clone(),
    };
    // a task of its own: when the step is cancelled, the installation ends in its own time and cleans up after itself
    let work = machine::spawn(async move {
        let _turn = packages::ONE_AT_A_TIME.lock().await;
        install(&*host, &config, &wanted, &progress).await
    });
    let report = match cx.timed("packages", work).await {
        Ok(report) => report?,
        Err(stopped) => {
            return Err(Failure::new("packages_failed", format!("the installation stopped: {stopped}")).transient());
        }
    };
    for (name, version) in &report.versions {
        cx.fact(name, version);
    }
    for (name, why) in &report.absent {
        cx.fact(name, format!("not installed: {why}"));
    }
    Ok(tell(&report))
}

async fn install(
    host: &dyn Host,
    config: &Config,
    wanted: &Wanted,
    progress: &ProgressSink,
) -> Result<Report, Failure> {
    let Some(manager) = packages::detect(host).await? else {
        return Err(
            Failure::refused("no_package_manager", "this host has neither apt-get nor dnf")
                .hint("install the packages by hand, or use a distribution with apt or dnf"),
        );
    };
    forget_settings(host, config).await?;
    let before = running_units(host, config).await?;
    let report = packages::ensure(host, &*manager, wanted, progress).await?;
    if !report.added.is_empty() {
        for unit in running_units(host, config).await? {
            if !before.contains(&unit) {
                tracing::warn!(
                    unit,
                    "the package started its service although that was held; stopping it"
                );
                systemd::stop(host, &unit).await?;
            }
        }
    }
    Ok(report)
}

/// Our settings of an earlier life, where no data are left. Under them the first statements of the package's own scripts would get
/// GTIDs, and the host would count as one that holds what no group has. The step `server` writes them anew.
async fn forget_settings(host: &dyn Host, config: &Config) -> Result<(), Failure> {
    let path = options::path(host).await?;
    let empty = data::inspect(host, &config.mysql.data_dir, None).await? == DataDirectory::Absent;
    if empty && host.remove(&path).await? {
        tracing::info!(path = %path.display(), "settings of an earlier installation removed: there are no data any more");
    }
    Ok(())
}

async fn running_units(host: &dyn Host, config: &Config) -> Result<Vec<String>, Failure> {
    let mut running = Vec::new();
    let router = "mysqlrouter.service".to_owned();
    for name in config.mysql.units.iter().chain(std::iter::once(&router)) {
        let unit = systemd::unit(host, name).await?;
        if matches!(unit.state, UnitState::Running | UnitState::Starting) {
            running.push(name.clone());
        }
    }
    Ok(running)
}

fn tell(report: &Report) -> Done {
    let mut parts = Vec::new();
    if !report.added.is_empty() {
        parts.push(format!("installed {}", report.added.join(", ")));
        if !report.absent.is_empty() {
            let names: Vec<&str> = report.absent.keys().map(String::as_str).collect();
            parts.push(format!("without {} (optional)", names.join(", ")));
        }
    }
    Done::from_changes(parts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::host::fake::FakeHost;
    use crate::steps::testing;

    const STOPPED: &str = "LoadState=loaded\nActiveState=inactive\n";

    #[tokio::test]
    async fn settings_of_an_earlier_life_go_only_where_no_data_are() {
        let file = format!("/etc/mysql/mysql.conf.d/{}", options::FILE);
        let config = Config::default();
        let empty = FakeHost::new()
            .with_file(&file, "x")
            .with_file("/etc/mysql/mysql.conf.d/mysqld.cnf", "");
        forget_settings(&empty, &config).await.unwrap();
        assert_eq!(empty.text(&file), None);
        let full = FakeHost::new()
            .with_file(&file, "x")
            .with_file("/etc/mysql/mysql.conf.d/mysqld.cnf", "")
            .with_file("/var/lib/mysql/auto.cnf", "x");
        forget_settings(&full, &config).await.unwrap();
        assert_eq!(full.text(&file).as_deref(), Some("x"));
    }

    #[tokio::test]
    async fn a_service_that_starts_all_the_same_is_stopped() {
        let fake = FakeHost::new()
            .with_file("/usr/bin/apt-get", "")
            .on("systemctl show", STOPPED)
            .on("systemctl --quiet stop", "")
            .on("apt-get", "")
            .on("apt-cache policy", "mysql-server:\n  Candidate: 9.7.4-1\n")
            .on("dpkg-query", "")
            .answer(
                "apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 -o Dpkg::Options",
                |host, _| {
                    host.put("/installed", "yes");
                    crate::host::Output::new(0, "", "")
                },
            )
            .answer("dpkg-query", |host, _| {
                let line = if host.text("/installed").is_some() {
                    "mysql-server\tinstalled\t9.7.4-1\n"
                } else {
                    ""
                };
                crate::host::Output::new(0, line, "")
            })
            .answer(
                "systemctl show -p LoadState,ActiveState,MainPID,NRestarts,UnitFileState,Result,NeedDaemonReload,FragmentPath,DropInPaths -- mysql.service",
                |host, _| {
                    let state = if host.text("/installed").is_some() {
                        "active"
                    } else {
                        "inactive"
                    };
                    crate::host::Output::new(0, format!("LoadState=loaded\nActiveState={state}\n"), "")
                },
            );
        let fake = Arc::new(fake);
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(fake.clone(), dir.path());
        let done = ensure(&["mysql-server".into()], &["mysql-shell".into()], &cx)
            .await
            .unwrap();
        assert_eq!(
            done,
            Done::changed("installed mysql-server 9.7.4-1; without mysql-shell (optional)")
        );
        assert!(
            fake.calls()
                .contains(&"systemctl --quiet stop -- mysql.service".to_owned())
        );
        assert_eq!(fake.text("/usr/sbin/policy-rc.d"), None);
    }

    #[tokio::test]
    async fn a_host_without_a_manager_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (cx, _) = testing::context(Arc::new(FakeHost::new()), dir.path());
        assert_eq!(
            ensure(&["x".into()], &[], &cx).await.unwrap_err().code,
            "no_package_manager"
        );
    }
}
