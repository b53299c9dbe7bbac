//! Where a router's things lie on its host, and what its configuration says.

use std::path::{Path, PathBuf};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::step::RouterPorts;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::host::{Host, HostError};

/// System user and group of Router.
pub const USER: &str = "mysqlrouter";
/// Unit of Router.
pub const UNIT: &str = "mysqlrouter.service";
/// Home of the configurations, a folder for each cluster.
pub const HOME: &str = "/var/lib/mysqlrouter";
/// Our CA's certificate, readable by Router.
pub const CA: &str = "/etc/mysqlrouter/clusterctl-ca.pem";
/// The unit, where the package has none.
pub const OWN_UNIT: &str = "/etc/systemd/system/mysqlrouter.service";
/// Our change of the package's unit.
pub const DROP_IN: &str = "/etc/systemd/system/mysqlrouter.service.d/clusterctl.conf";
/// First line of what we write there.
pub const MARK: &str = "# Written by clusterctl";

/// Folder of a cluster's router.
pub fn folder(cluster: &ClusterName) -> PathBuf {
    Path::new(HOME).join(cluster.as_str())
}

/// Written beside Router's own files when a bootstrap has ended well: a folder without it is half done.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Bootstrapped {
    /// Version of this file's form.
    pub format: u32,
    /// The cluster.
    pub cluster: ClusterName,
    /// Its group.
    pub group_name: Uuid,
    /// Ports of the routes.
    pub ports: RouterPorts,
    /// Account that Router made for itself.
    pub account: String,
}

impl Bootstrapped {
    /// Where it lies.
    pub fn path(cluster: &ClusterName) -> PathBuf {
        folder(cluster).join("clusterctl.json")
    }

    /// Reads it; none: no bootstrap has ended well here.
    pub async fn read(host: &dyn Host, cluster: &ClusterName) -> Result<Option<Self>, HostError> {
        let bytes = host.read(&Self::path(cluster)).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// The cluster that this host's Router is set up for.
pub async fn cluster(host: &dyn Host) -> Result<Option<ClusterName>, HostError> {
    for name in host.list(Path::new(HOME)).await?.unwrap_or_default() {
        if let Ok(cluster) = name.parse::<ClusterName>()
            && let Some(done) = Bootstrapped::read(host, &cluster).await?
        {
            return Ok(Some(done.cluster));
        }
    }
    Ok(None)
}

/// A value of an ini file's section (`metadata_cache:bootstrap`, `user`).
pub fn value<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name == section;
        } else if inside
            && let Some((found, value)) = line.split_once('=')
            && found.trim() == key
        {
            return Some(value.trim());
        }
    }
    None
}

/// What Router's own files say after a bootstrap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configured {
    /// Name of the cluster in its configuration.
    pub cluster: String,
    /// Its account.
    pub account: String,
    /// Registration.
    pub id: String,
    /// Group of its state file.
    pub group: String,
    /// Port of each route, in the order of [`RouterPorts`].
    pub ports: [Option<u16>; 5],
}

/// Reads them; none where one is missing: half done, or never.
pub async fn configured(host: &dyn Host, folder: &Path) -> Result<Option<Configured>, Failure> {
    let (conf, state) = (folder.join("mysqlrouter.conf"), folder.join("data/state.json"));
    let (Some(conf), Some(state)) = (host.read(&conf).await?, host.read(&state).await?) else {
        return Ok(None);
    };
    Ok(parse(&String::from_utf8_lossy(&conf), &state))
}

fn parse(conf: &str, state: &[u8]) -> Option<Configured> {
    let get = |key| value(conf, "metadata_cache:bootstrap", key);
    let state: serde_json::Value = serde_json::from_slice(state).ok()?;
    let port = |route: &str| {
        value(conf, &format!("routing:bootstrap_{route}"), "bind_port")?
            .parse()
            .ok()
    };
    Some(Configured {
        cluster: get("metadata_cluster")?.to_owned(),
        account: get("user")?.to_owned(),
        id: get("router_id")?.to_owned(),
        group: state
            .pointer("/metadata-cache/group-replication-id")?
            .as_str()?
            .to_owned(),
        ports: ["rw", "ro", "rw_split", "x_rw", "x_ro"].map(port),
    })
}

impl Configured {
    /// Whether every route has the port that it should.
    pub fn has(&self, ports: &RouterPorts) -> bool {
        self.ports
            == [
                ports.read_write,
                ports.read_only,
                ports.split,
                ports.x_read_write,
                ports.x_read_only,
            ]
            .map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "[DEFAULT]\nuser=mysqlrouter\n\n[metadata_cache:bootstrap]\nrouter_id=1\nuser=mysql_router1_4m9rrxw\n\
        metadata_cluster=prod\n\n[routing:bootstrap_rw]\nbind_port=6446\n[routing:bootstrap_ro]\nbind_port = 6447\n\
        [routing:bootstrap_rw_split]\nbind_port=6450\n[routing:bootstrap_x_rw]\nbind_port=6448\n[routing:bootstrap_x_ro]\nbind_port=6449\n";
    const STATE: &str = r#"{"metadata-cache": {"group-replication-id": "6266fad8-e63f-11f1-a438-8e247ed30bec",
        "cluster-metadata-servers": ["mysql://node1:3306"]}, "version": "1.0.0"}"#;

    #[test]
    fn routers_own_files_are_read() {
        let found = parse(CONF, STATE.as_bytes()).unwrap();
        assert_eq!(found.account, "mysql_router1_4m9rrxw");
        assert_eq!((found.cluster.as_str(), found.id.as_str()), ("prod", "1"));
        assert!(found.has(&RouterPorts::default()));
        assert!(!found.has(&RouterPorts {
            read_write: 7446,
            ..RouterPorts::default()
        }));
        assert_eq!(parse("[DEFAULT]\nuser=x\n", STATE.as_bytes()), None);
        assert_eq!(parse(CONF, b"{"), None);
    }

    #[test]
    fn a_value_belongs_to_its_section() {
        assert_eq!(value(CONF, "DEFAULT", "user"), Some("mysqlrouter"));
        assert_eq!(value(CONF, "metadata_cache:bootstrap", "bind_port"), None);
    }
}
