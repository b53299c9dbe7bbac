//! MySQL Router on this host, cheap enough for once a second.

use std::path::Path;

use clusterctl_proto::observe::{RouterFacts, UnitState};
use tokio::sync::Mutex;

use crate::config::Config;
use crate::host::unit_watch::UnitWatch;
use crate::host::{Host, HostError, network, packages};
use crate::steps::router_files;

/// Ports of Router's routes that are looked for.
const PORTS: [u16; 5] = [6446, 6447, 6448, 6449, 6450];
const PROGRAM: &str = "/usr/bin/mysqlrouter";

/// Watches it.
pub struct RouterWatch {
    unit: UnitWatch,
    /// Version of the package, and the program's time of change when it was read.
    version: Mutex<Option<(u64, Option<String>)>>,
}

impl RouterWatch {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self {
            unit: UnitWatch::new(router_files::UNIT),
            version: Mutex::new(None),
        }
    }

    /// Looks now. What cannot be told is left at its default.
    pub async fn facts(&self, host: &dyn Host, config: &Config) -> RouterFacts {
        let installed = self.installed(host, config).await.unwrap_or_default();
        let Some(installed) = installed else {
            return RouterFacts::default();
        };
        let unit = self.unit.unit(host).await.map_or(UnitState::Absent, |unit| unit.state);
        let listening = network::listening_ports(host).await.unwrap_or_default();
        RouterFacts {
            installed: Some(installed),
            unit,
            cluster: router_files::cluster(host).await.unwrap_or_default(),
            listening: PORTS.into_iter().filter(|port| listening.contains(port)).collect(),
        }
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
        *known = Some((program.modified, version.clone()));
        Ok(version)
    }
}
