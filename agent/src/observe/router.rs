//! MySQL Router on this host, cheap enough for once a second.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clusterctl_proto::observe::{RouterFacts, UnitState};
use clusterctl_proto::step::RouterPorts;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::Config;
use crate::host::unit_watch::UnitWatch;
use crate::host::{Host, HostError, network, packages};
use crate::steps::router_files::{self, Bootstrapped};

const PROGRAM: &str = "/usr/bin/mysqlrouter";
/// The kernel walks its whole table of connections for a list of listeners, which takes it milliseconds on a large machine:
/// how long a list is good while all ports are open, and while some are not yet.
const COMPLETE: Duration = Duration::from_secs(10);
const INCOMPLETE: Duration = Duration::from_secs(2);

/// Watches it.
pub struct RouterWatch {
    unit: UnitWatch,
    /// Version of the package, and the program's time of change when it was read.
    version: Mutex<Option<(u64, Option<String>)>>,
    listening: Mutex<Option<(Instant, Vec<u16>)>>,
    /// A step has ended since they were listed.
    acted: AtomicBool,
}

impl RouterWatch {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self {
            unit: UnitWatch::new(router_files::UNIT),
            version: Mutex::new(None),
            listening: Mutex::new(None),
            acted: AtomicBool::new(false),
        }
    }

    /// A step has ended on this host: what was seen before that is not told any more.
    pub fn acted(&self) {
        self.unit.acted();
        self.acted.store(true, Ordering::Relaxed);
    }

    /// Looks now. What cannot be told is left at its default.
    pub async fn facts(&self, host: &dyn Host, config: &Config) -> RouterFacts {
        if matches!(host.stat(Path::new(PROGRAM)).await, Ok(None)) {
            return RouterFacts::default();
        }
        // Unit and configuration are told also while the package manager cannot tell the version: a Router that serves must
        // never look like one that was not bootstrapped.
        let installed = self.installed(host, config).await.unwrap_or_default();
        let unit = self.unit.unit(host).await.map_or(UnitState::Absent, |unit| unit.state);
        let cluster = router_files::cluster(host).await.unwrap_or_default();
        let ours = match &cluster {
            Some(cluster) => Bootstrapped::read(host, cluster)
                .await
                .ok()
                .flatten()
                .map(|done| done.ports),
            None => None,
        };
        let listening = self
            .listening(host, unit, &ours.unwrap_or_default())
            .await
            .unwrap_or_default();
        RouterFacts {
            installed,
            unit,
            cluster,
            listening,
        }
    }

    async fn listening(&self, host: &dyn Host, unit: UnitState, of: &RouterPorts) -> Result<Vec<u16>, HostError> {
        let looked_for = [of.read_write, of.read_only, of.x_read_write, of.x_read_only, of.split];
        let mut kept = self.listening.lock().await;
        if self.acted.swap(false, Ordering::Relaxed) {
            *kept = None;
        }
        if unit != UnitState::Running {
            *kept = None;
            return Ok(Vec::new());
        }
        let good_for = |ports: &[u16]| {
            if ports.len() == looked_for.len() {
                COMPLETE
            } else {
                INCOMPLETE
            }
        };
        if let Some((at, ports)) = &*kept
            && at.elapsed() < good_for(ports)
        {
            return Ok(ports.clone());
        }
        let all = network::listening_ports(host).await?;
        let ports: Vec<u16> = looked_for.into_iter().filter(|port| all.contains(port)).collect();
        *kept = Some((Instant::now(), ports.clone()));
        Ok(ports)
    }

    async fn installed(&self, host: &dyn Host, config: &Config) -> Result<Option<String>, HostError> {
        let Some(program) = host.stat(Path::new(PROGRAM)).await? else {
            return Ok(None);
        };
        let mut known = self.version.lock().await;
        if let Some((modified, version)) = &*known
            && *modified == program.modified
        {
            return Ok(version.clone());
        }
        let version = packages::first_installed(host, &config.packages.router).await?;
        // While dpkg unpacks, the program is there and the package is not: asked again until it is.
        *known = version.clone().map(|version| (program.modified, Some(version)));
        Ok(version)
    }
}
