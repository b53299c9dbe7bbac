//! The state of a unit, cheap enough to be asked every second.
//!
//! Whether a unit has processes is read from its control group; `systemctl` is asked only when that changes, while the unit is
//! on its way from one state to another, and now and then.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clusterctl_proto::observe::UnitState;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::systemd::{self, Unit};
use super::{Host, HostError};

/// While it runs and has processes.
const SETTLED: Duration = Duration::from_secs(30);
/// While it is stopped, failed or absent.
const DOWN: Duration = Duration::from_secs(5);
/// On its way, or processes and state do not fit.
const MOVING: Duration = Duration::from_millis(900);

/// Watches one unit.
#[derive(Debug)]
pub struct UnitWatch {
    name: String,
    last: Mutex<Option<Look>>,
    /// Somebody has acted since: what was seen before does not count.
    acted: AtomicBool,
}

#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    alive: bool,
    unit: Unit,
}

impl UnitWatch {
    /// Watches this unit.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            last: Mutex::new(None),
            acted: AtomicBool::new(false),
        }
    }

    /// This program has just done something to it: what was seen before that is not told any more.
    pub fn acted(&self) {
        self.acted.store(true, Ordering::Relaxed);
    }

    /// What systemd says of it, at most a few seconds old; a start or stop is seen at once.
    pub async fn unit(&self, host: &dyn Host) -> Result<Unit, HostError> {
        let mut last = self.last.lock().await;
        if self.acted.swap(false, Ordering::Relaxed) {
            *last = None;
        }
        let alive = self.has_processes(host).await?;
        if let Some(look) = &*last
            && look.alive == alive
            && look.at.elapsed() < good_for(look)
        {
            return Ok(look.unit.clone());
        }
        let unit = systemd::unit(host, &self.name).await?;
        *last = Some(Look {
            at: Instant::now(),
            alive,
            unit: unit.clone(),
        });
        Ok(unit)
    }

    async fn has_processes(&self, host: &dyn Host) -> Result<bool, HostError> {
        let path: PathBuf = Path::new("/sys/fs/cgroup/system.slice")
            .join(&self.name)
            .join("cgroup.procs");
        // a group that is just being removed cannot be read (ENODEV): it has none
        Ok(host
            .read(&path)
            .await
            .ok()
            .flatten()
            .is_some_and(|bytes| !bytes.is_empty()))
    }
}

fn good_for(look: &Look) -> Duration {
    match (look.unit.state, look.alive) {
        (UnitState::Running, true) => SETTLED,
        (UnitState::Stopped | UnitState::Failed | UnitState::Absent, false) => DOWN,
        _ => MOVING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn systemctl_is_asked_only_when_something_changed() {
        let group = "/sys/fs/cgroup/system.slice/mysql.service/cgroup.procs";
        let host = FakeHost::new().answer("systemctl show", move |host, _| {
            let state = if host.text(group).is_some_and(|t| !t.is_empty()) {
                "active"
            } else {
                "inactive"
            };
            super::super::Output::new(0, format!("LoadState=loaded\nActiveState={state}\n"), "")
        });
        let watch = UnitWatch::new("mysql.service");
        for _ in 0..5 {
            assert_eq!(watch.unit(&host).await.unwrap().state, UnitState::Stopped);
        }
        assert_eq!(host.calls().len(), 1);
        host.put(group, "42\n");
        for _ in 0..5 {
            assert_eq!(watch.unit(&host).await.unwrap().state, UnitState::Running);
        }
        assert_eq!(host.calls().len(), 2);
    }

    /// A step waited until it ran; a moment before, a look had found it on its way. The answer after the step tells what is now.
    #[tokio::test]
    async fn what_was_seen_before_a_step_is_not_told_after_it() {
        let path = "/sys/fs/cgroup/system.slice/mysqlrouter.service/cgroup.procs";
        let host = FakeHost::new().answer("systemctl show", |host, _| {
            let state = if host.text("/started").is_some() {
                "active"
            } else {
                "activating"
            };
            super::super::Output::new(0, format!("LoadState=loaded\nActiveState={state}\n"), "")
        });
        host.put(path, "42\n");
        let watch = UnitWatch::new("mysqlrouter.service");
        assert_eq!(watch.unit(&host).await.unwrap().state, UnitState::Starting);
        host.put("/started", "");
        assert_eq!(watch.unit(&host).await.unwrap().state, UnitState::Starting);
        watch.acted();
        assert_eq!(watch.unit(&host).await.unwrap().state, UnitState::Running);
    }
}
