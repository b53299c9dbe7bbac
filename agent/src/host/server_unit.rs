//! MySQL's unit on this host, and our drop-in of it: before mysqld is stopped, the primary role is handed over.
//!
//! Written by the step `server` and by an agent that starts beside data of ours (an upgraded host). Reading the units again starts
//! and stops nothing. The package's removal takes the drop-in away (`packaging/deb/clusterctl-agent/postrm`).

use std::path::{Path, PathBuf};

use clusterctl_proto::failure::Failure;

use super::systemd::{self, Unit};
use super::{Host, HostError};
use crate::config::MysqlConfig;

/// `-`: whatever it ends with, the stop goes on. `+`: as root, where the unit's user is mysql, which cannot enter over the socket.
const DROP_IN: &str = "\
# Written by clusterctl-agent; removed with its package.
# Before mysqld stops, the primary role is handed to another member: clients wait for 0.4 s instead of for a fail-over.
# It takes 15 s at most, does nothing on a secondary, and its failure does not keep mysqld from stopping.
[Service]
ExecStop=-+/usr/bin/clusterctl-agent hand-over
";

/// The unit that this host has.
pub async fn find<'a>(host: &dyn Host, config: &'a MysqlConfig) -> Result<Option<(&'a str, Unit)>, HostError> {
    let names: Vec<&str> = config.units.iter().map(String::as_str).collect();
    systemd::first_known(host, &names).await
}

/// The same, where a host without it is of no use.
pub async fn require<'a>(host: &dyn Host, config: &'a MysqlConfig) -> Result<(&'a str, Unit), Failure> {
    find(host, config).await?.ok_or_else(|| {
        Failure::new(
            "mysql_not_installed",
            format!("there is no unit {} on this host", config.units.join(" or ")),
        )
        .hint("install the server's package; see: clusterctl check HOST")
    })
}

fn path(unit: &str) -> PathBuf {
    Path::new("/etc/systemd/system")
        .join(format!("{unit}.d"))
        .join("clusterctl.conf")
}

/// The drop-in is there and systemd has read it; true: it was not so.
pub async fn hand_over_before_stop(host: &dyn Host, unit: &str) -> Result<bool, Failure> {
    systemd::unit_file(host, unit, &path(unit), DROP_IN).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn the_drop_in_is_written_once_and_restarts_nothing() {
        let shown = format!("LoadState=loaded\nDropInPaths={}\n", path("mysqld.service").display());
        let host = FakeHost::new()
            .on("systemctl daemon-reload", "")
            .on("systemctl show", &shown);
        assert!(hand_over_before_stop(&host, "mysqld.service").await.unwrap());
        assert!(!hand_over_before_stop(&host, "mysqld.service").await.unwrap());
        let calls = host.calls();
        assert!(calls[0] == "systemctl daemon-reload" && calls[1].starts_with("systemctl show"));
        assert_eq!(calls.len(), 2);
        let text = host
            .text("/etc/systemd/system/mysqld.service.d/clusterctl.conf")
            .unwrap();
        assert!(text.contains("\n[Service]\nExecStop=-+/usr/bin/clusterctl-agent hand-over\n"));
    }

    #[tokio::test]
    async fn the_first_unit_that_is_there_counts() {
        let host = FakeHost::new()
            .on("systemctl show", "LoadState=not-found\nActiveState=inactive\n")
            .answer(
                "systemctl show -p LoadState,ActiveState,MainPID,NRestarts,UnitFileState,Result,NeedDaemonReload,FragmentPath,DropInPaths -- mysqld",
                |_, _| super::super::Output::new(0, "LoadState=loaded\nActiveState=failed\nResult=oom-kill\n", ""),
            );
        let config = MysqlConfig::default();
        let (name, unit) = find(&host, &config).await.unwrap().unwrap();
        assert_eq!((name, unit.result.as_str()), ("mysqld.service", "oom-kill"));
    }
}
