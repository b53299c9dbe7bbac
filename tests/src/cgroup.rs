//! Cgroups: one per host, so that hosts can be frozen and killed whole and never share a unit's cgroup.
//!
//! Below a host's cgroup lie `lab` (its supervisor) and `machine` (nspawn and all the host's processes).
//! Called by `supervisor`, `host`, `exec` and `lab`. It must never touch a cgroup outside the lab's own.
//!
//! Where systemd is PID 1, it must be asked: each host's supervisor is started in a scope of its own with
//! `Delegate=yes`. Elsewhere the lab mounts the cgroup2 hierarchy for itself and makes the cgroups in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command::{output, tool};
use crate::wait::wait_for;

/// Where the lab mounts cgroup2 when systemd is not PID 1.
const OWN_MOUNT: &str = "/run/clusterctl-lab/cgroup";

/// The cgroup of one host.
#[derive(Debug, Clone)]
pub(crate) struct HostCgroup(PathBuf);

/// Whether systemd runs this machine.
pub(crate) fn systemd_is_pid_1() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The scope that holds a host's supervisor where systemd is PID 1.
pub(crate) fn scope(lab: &str, host: &str) -> String {
    format!("clusterctl-lab.{lab}.{host}.scope")
}

/// Makes the hierarchy reachable; may be called at any time.
pub(crate) fn mount_hierarchy() -> Result<()> {
    if systemd_is_pid_1() || Path::new(OWN_MOUNT).join("cgroup.procs").exists() {
        return Ok(());
    }
    fs::create_dir_all(OWN_MOUNT)?;
    output(&mut tool("mount", ["-t", "cgroup2", "cgroup2", OWN_MOUNT]))?;
    Ok(())
}

/// Takes the lab's own mount away again, once no lab is left.
pub(crate) fn unmount_hierarchy() {
    if !systemd_is_pid_1() && fs::remove_dir(Path::new(OWN_MOUNT).join("clusterctl-lab")).is_ok() {
        let _ = output(&mut tool("umount", [OWN_MOUNT]));
    }
}

/// Removes what is left of a lab whose hosts are gone.
pub(crate) fn remove_lab(lab: &str) -> Result<()> {
    remove(&Path::new(OWN_MOUNT).join("clusterctl-lab").join(lab))
}

/// All hosts of a lab that have a cgroup, also those the record of the lab knows nothing of.
pub(crate) fn hosts_of(lab: &str) -> Result<Vec<String>> {
    if !systemd_is_pid_1() {
        let names = crate::home::names_in(&Path::new(OWN_MOUNT).join("clusterctl-lab").join(lab))?;
        return Ok(names
            .into_iter()
            .filter(|name| HostCgroup::of(lab, name).exists())
            .collect());
    }
    let prefix = format!("clusterctl-lab.{lab}.");
    let units = crate::home::names_in(Path::new("/sys/fs/cgroup/clusterctl.slice"))?;
    let host = |unit: &String| Some(unit.strip_prefix(&prefix)?.strip_suffix(".scope")?.to_owned());
    Ok(units.iter().filter_map(host).collect())
}

impl HostCgroup {
    /// Where the cgroup of that host is, or would be.
    pub fn of(lab: &str, host: &str) -> Self {
        Self(if systemd_is_pid_1() {
            Path::new("/sys/fs/cgroup/clusterctl.slice").join(scope(lab, host))
        } else {
            Path::new(OWN_MOUNT).join("clusterctl-lab").join(lab).join(host)
        })
    }

    pub fn exists(&self) -> bool {
        self.0.join("cgroup.procs").exists()
    }

    /// nspawn and everything in the host.
    pub fn machine(&self) -> PathBuf {
        self.0.join("machine")
    }

    /// Moves the calling process, the supervisor, into its part, and makes the machine's.
    pub fn enter_as_supervisor(&self) -> Result<()> {
        fs::create_dir_all(self.0.join("lab"))?;
        fs::write(self.0.join("lab/cgroup.procs"), "0")?;
        fs::create_dir_all(self.machine())?;
        Ok(())
    }

    /// Moves the calling process, which becomes nspawn, into the machine's part.
    pub fn enter_as_machine(&self) -> Result<()> {
        Ok(fs::write(self.machine().join("cgroup.procs"), "0")?)
    }

    /// A cgroup for commands that come from outside, beside the host's own units.
    pub fn visitors(&self) -> Result<PathBuf> {
        let folder = self.machine().join("payload/lab-exec");
        fs::create_dir_all(&folder).context("the host is not running")?;
        Ok(folder)
    }

    /// The process that is PID 1 in the host, if it runs.
    pub fn init(&self) -> Option<u32> {
        let payload = self.machine().join("payload");
        [payload.join("init.scope"), payload].iter().find_map(|folder| {
            let pids = fs::read_to_string(folder.join("cgroup.procs")).ok()?;
            pids.lines()
                .filter_map(|pid| pid.parse().ok())
                .find(|pid| is_init(*pid))
        })
    }

    /// Stops every process of the host where it stands, or lets them go on.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let machine = self.machine();
        fs::write(machine.join("cgroup.freeze"), if frozen { "1" } else { "0" })
            .with_context(|| format!("cannot write {}/cgroup.freeze", machine.display()))?;
        let wanted = if frozen { "frozen 1" } else { "frozen 0" };
        wait_for(wanted, Duration::from_secs(10), || {
            Ok(fs::read_to_string(machine.join("cgroup.events"))?.contains(wanted))
        })
    }

    pub fn is_frozen(&self) -> bool {
        fs::read_to_string(self.machine().join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1")
    }

    /// SIGKILL to everything: the supervisor, nspawn, the whole host. Returns when nothing is left.
    pub fn kill(&self) -> Result<()> {
        kill_all(&self.0)
    }

    /// As [`Self::kill`], but only what an earlier nspawn of this host left.
    pub fn kill_machine(&self) -> Result<()> {
        kill_all(&self.machine())?;
        fs::create_dir_all(self.machine())?;
        Ok(())
    }
}

fn kill_all(folder: &Path) -> Result<()> {
    if !folder.join("cgroup.procs").exists() {
        return Ok(());
    }
    fs::write(folder.join("cgroup.kill"), "1")?;
    wait_for(
        &format!("no process left in {}", folder.display()),
        Duration::from_secs(20),
        || match fs::read_to_string(folder.join("cgroup.events")) {
            Ok(events) => Ok(events.contains("populated 0")),
            Err(_) => Ok(true),
        },
    )?;
    remove(folder)
}

/// Removes an empty cgroup with all below it; systemd may do the same at the same time.
fn remove(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if folder.exists() => {
            Err(error).with_context(|| format!("cannot remove the cgroup {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Whether the process is PID 1 of a PID namespace below ours.
fn is_init(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap_or_default();
    let pids: Vec<_> = pids.split_whitespace().collect();
    pids.len() > 1 && pids.last() == Some(&"1")
}
