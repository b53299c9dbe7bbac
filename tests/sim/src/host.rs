//! One simulated machine as the agent sees it: its files, its systemd with one unit, its clock.
//!
//! A program that the healing of a cluster does not need is not there ("no such program"): the agent must live with that, as on a host
//! where a tool is missing.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clusterctl_agent::host::{self, Access, Command, Host, HostError, Output, Stat, Uptime};
use clusterctl_proto::machine::Machine;
use futures_util::future::{BoxFuture, ready};

use crate::disk::Files;
use crate::unit::MysqlUnit;

const UNIT: &str = "mysql.service";
/// What the unit's control group lists while mysqld runs.
const PROCESSES: &str = "/sys/fs/cgroup/system.slice/mysql.service/cgroup.procs";
/// The package manager, and the packages that are installed.
const APT: &str = "/usr/bin/apt-get";
const SERVER: [&str; 2] = ["mysql-server", "mysql-community-server"];
const SYSTEMD: &str = "/run/systemd/system";
/// A call of systemctl.
const CALL: Duration = Duration::from_millis(8);

/// The machine, from one power-on to the next loss of power.
pub struct SimHost {
    /// Its files.
    pub files: Arc<Files>,
    /// The unit of its mysqld.
    pub unit: Arc<MysqlUnit>,
    /// Its clock.
    pub machine: Arc<Machine>,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Its name.
    pub name: String,
}

impl SimHost {
    fn shown(&self, unit: &str) -> String {
        if unit != UNIT {
            return "LoadState=not-found\nActiveState=inactive\n".to_owned();
        }
        let state = self.unit.state();
        format!(
            "LoadState=loaded\nActiveState={state}\nMainPID={}\nNRestarts=0\nUnitFileState=enabled\nResult={}\nNeedDaemonReload=no\n\
             FragmentPath=/usr/lib/systemd/system/mysql.service\nDropInPaths=/etc/systemd/system/mysql.service.d/clusterctl.conf\n",
            u32::from(state == "active") * 4242,
            if state == "failed" { "signal" } else { "success" },
        )
    }

    async fn systemctl(&self, args: &[&str]) -> Output {
        tokio::time::sleep(CALL).await;
        let unit = args.last().copied().unwrap_or_default();
        match args.first().copied() {
            Some("show") => output(0, self.shown(unit), ""),
            Some("daemon-reload" | "reset-failed" | "enable" | "disable") => output(0, "", ""),
            Some("start") if unit == UNIT => {
                self.unit.start().await;
                output(0, "", "")
            }
            Some("stop") if unit == UNIT => {
                self.unit.stop().await;
                output(0, "", "")
            }
            Some("restart") if unit == UNIT => {
                self.unit.stop().await;
                self.unit.start().await;
                output(0, "", "")
            }
            _ => output(1, "", format!("the simulated systemctl does not know {args:?}")),
        }
    }
}

fn output(status: i32, stdout: impl Into<String>, stderr: impl Into<String>) -> Output {
    Output {
        status: Some(status),
        stdout: stdout.into(),
        stderr: stderr.into(),
        ..Output::default()
    }
}

impl Host for SimHost {
    fn run<'a>(
        &'a self,
        command: &'a Command,
        _line: &'a (dyn Fn(&str) + Send + Sync),
    ) -> BoxFuture<'a, Result<Output, HostError>> {
        Box::pin(async move {
            if command.program == "systemctl" {
                let args: Vec<&str> = command
                    .args
                    .iter()
                    .map(String::as_str)
                    .filter(|arg| *arg != "--quiet")
                    .collect();
                return Ok(self.systemctl(&args).await);
            }
            if command.program == "dpkg-query" {
                let known = command.args.iter().filter(|name| SERVER.contains(&name.as_str()));
                let lines = known.map(|name| format!("{name}\tinstalled\t9.7.4-1\n"));
                return Ok(output(1, lines.collect::<String>(), ""));
            }
            Err(HostError::Spawn {
                program: command.program.clone(),
                source: io::ErrorKind::NotFound.into(),
            })
        })
    }

    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Vec<u8>>, HostError>> {
        let found = if path == Path::new(PROCESSES) {
            self.unit.server.is_running().then(|| b"4242\n".to_vec())
        } else {
            self.files.read(path)
        };
        Box::pin(ready(Ok(found)))
    }

    fn stat<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Stat>, HostError>> {
        let stat = |is_dir, len| Stat {
            is_dir,
            len,
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified: 1,
        };
        let found = match self.files.read(path) {
            Some(bytes) => Some(stat(false, bytes.len() as u64)),
            None if path == Path::new(APT) => Some(stat(false, 1)),
            None if path == Path::new(SYSTEMD) || self.files.is_folder(path) => Some(stat(true, 0)),
            None => None,
        };
        Box::pin(ready(Ok(found)))
    }

    fn list<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Vec<String>>, HostError>> {
        Box::pin(ready(Ok(self.files.list(path))))
    }

    fn write<'a>(
        &'a self,
        path: &'a Path,
        bytes: &'a [u8],
        _access: &'a Access,
    ) -> BoxFuture<'a, Result<(), HostError>> {
        self.files.write(path, bytes);
        Box::pin(ready(Ok(())))
    }

    fn make_dir<'a>(&'a self, _path: &'a Path, _access: &'a Access) -> BoxFuture<'a, Result<(), HostError>> {
        Box::pin(ready(Ok(())))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, Result<(), HostError>> {
        let done = if self.files.rename(from, to) {
            Ok(())
        } else {
            Err(HostError::file("rename", from, io::ErrorKind::NotFound.into()))
        };
        Box::pin(ready(done))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<bool, HostError>> {
        Box::pin(ready(Ok(self.files.remove(path))))
    }

    fn remove_tree<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<bool, HostError>> {
        Box::pin(ready(Ok(self.files.remove_tree(path))))
    }

    fn uptime(&self) -> Uptime {
        Uptime {
            boot_id: self.boot_id.clone(),
            ms: u64::try_from(self.machine.boot_time().as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn machine(&self) -> host::Machine {
        host::Machine {
            hostname: self.name.clone(),
            architecture: "x86_64".to_owned(),
            cpus: 2,
        }
    }

    fn free_bytes(&self, _folder: &Path) -> u64 {
        100 << 30
    }

    fn accepts<'a>(&'a self, _port: u16) -> BoxFuture<'a, bool> {
        Box::pin(ready(false))
    }
}
