//! Whose data directory it is, told from its files alone: the server may not run.
//!
//! What is not plainly the distribution's fresh directory, or ours by its marker, is foreign and never touched.

use std::path::{Path, PathBuf};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::observe::{DataDirectory, ServerFacts};
use serde::{Deserialize, Serialize};

use crate::host::{Access, Host, HostError};

/// Name of the marker inside the data directory; mysqld ignores plain files there.
pub const MARKER: &str = "clusterctl.json";

/// A package's first start writes a few kilobytes of binary log; more is somebody's work.
const FRESH_BINLOG: u64 = 256 << 10;

/// The marker.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Marker {
    /// Version of this file's form.
    pub format: u32,
    /// The cluster whose data it is.
    pub cluster: ClusterName,
    /// The coordinator group.
    pub group: String,
}

/// Where the marker is.
pub fn marker_path(data_dir: &Path) -> PathBuf {
    data_dir.join(MARKER)
}

/// Writes the marker, owned like the data.
pub async fn mark(host: &dyn Host, data_dir: &Path, os_user: &str, marker: &Marker) -> Result<(), Failure> {
    let text = serde_json::to_string(marker).map_err(|e| Failure::new("marker", e.to_string()))?;
    let access = Access::of(0o640, os_user, os_user);
    host.write(&marker_path(data_dir), format!("{text}\n").as_bytes(), &access)
        .await?;
    Ok(())
}

/// Reads the marker; an error where there is one that cannot be read.
pub async fn marker(host: &dyn Host, data_dir: &Path) -> Result<Option<Result<Marker, String>>, HostError> {
    let Some(bytes) = host.read(&marker_path(data_dir)).await? else {
        return Ok(None);
    };
    Ok(Some(match serde_json::from_slice::<Marker>(&bytes) {
        Ok(marker) if marker.format == 1 => Ok(marker),
        Ok(marker) => Err(format!(
            "{MARKER} has format {}, which this agent does not know",
            marker.format
        )),
        Err(error) => Err(format!("{MARKER} cannot be read: {error}")),
    }))
}

/// Looks. `group` is the coordinator group that this host is enrolled in; none: not compared here (the `server` step does).
pub async fn inspect(host: &dyn Host, data_dir: &Path, group: Option<&str>) -> Result<DataDirectory, HostError> {
    let names = host.list(data_dir).await?.unwrap_or_default();
    if names.iter().all(|name| name == "lost+found") {
        return Ok(DataDirectory::Absent);
    }
    match marker(host, data_dir).await? {
        Some(Ok(marker)) if group.is_none_or(|group| group == marker.group) => {
            return Ok(DataDirectory::Ours {
                cluster: Some(marker.cluster),
            });
        }
        Some(Ok(marker)) => {
            let what = format!(
                "data of cluster {} of another coordinator group ({})",
                marker.cluster, marker.group
            );
            return Ok(DataDirectory::Foreign { what });
        }
        Some(Err(why)) => return Ok(DataDirectory::Foreign { what: why }),
        None => {}
    }
    let mut schemas = Vec::new();
    let mut binlog = 0;
    for name in &names {
        let path = data_dir.join(name);
        if is_binlog(name) {
            binlog += host.stat(&path).await?.map_or(0, |stat| stat.len);
        } else if !known_folder(name) && host.stat(&path).await?.is_some_and(|stat| stat.is_dir) {
            schemas.push(name.as_str());
        }
    }
    if !schemas.is_empty() {
        let more = schemas.len().saturating_sub(10);
        let shown = schemas[..schemas.len().min(10)].join(", ");
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        return Ok(DataDirectory::Foreign {
            what: format!("schemas: {shown}{more}"),
        });
    }
    if binlog > FRESH_BINLOG {
        return Ok(DataDirectory::Foreign {
            what: format!("binary logs of {binlog} bytes without any schema"),
        });
    }
    Ok(DataDirectory::Pristine)
}

/// What the running server adds: a directory that looked pristine is foreign when it holds transactions or schemas.
pub fn refine(seen: DataDirectory, server: &ServerFacts) -> DataDirectory {
    if seen != DataDirectory::Pristine {
        return seen;
    }
    if let Some(schemas) = server.user_schemas.as_ref().filter(|list| !list.is_empty()) {
        return DataDirectory::Foreign {
            what: format!("schemas: {}", schemas.join(", ")),
        };
    }
    if let Some(metadata) = &server.metadata {
        return DataDirectory::Foreign {
            what: format!("metadata of cluster {}", metadata.cluster_name),
        };
    }
    if !server.gtid_executed.is_empty() {
        return DataDirectory::Foreign {
            what: format!("transactions: {}", server.gtid_executed),
        };
    }
    if !server.foreign_channels.is_empty() {
        return DataDirectory::Foreign {
            what: format!("replication channels: {}", server.foreign_channels.join(", ")),
        };
    }
    seen
}

fn known_folder(name: &str) -> bool {
    matches!(name, "mysql" | "sys" | "performance_schema" | "lost+found")
        || name.starts_with('#')
        || name.starts_with('.')
}

fn is_binlog(name: &str) -> bool {
    ["binlog.", "mysql-bin."].iter().any(|prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    fn fresh() -> FakeHost {
        FakeHost::new()
            .with_file("/d/mysql.ibd", "x")
            .with_file("/d/auto.cnf", "x")
            .with_file("/d/binlog.000001", "small")
            .with_file("/d/mysql/general_log.CSM", "x")
            .with_file("/d/sys/sys_config.ibd", "x")
            .with_file("/d/#innodb_redo/#ib_redo0", "x")
    }

    async fn look(host: &FakeHost) -> DataDirectory {
        inspect(host, Path::new("/d"), Some("group-1")).await.unwrap()
    }

    #[tokio::test]
    async fn a_fresh_directory_is_pristine_and_an_empty_one_absent() {
        assert_eq!(look(&FakeHost::new()).await, DataDirectory::Absent);
        assert_eq!(look(&fresh()).await, DataDirectory::Pristine);
    }

    #[tokio::test]
    async fn a_schema_makes_it_foreign() {
        let host = fresh().with_file("/d/shop/t.ibd", "x");
        assert_eq!(
            look(&host).await,
            DataDirectory::Foreign {
                what: "schemas: shop".into()
            }
        );
    }

    #[tokio::test]
    async fn large_binary_logs_make_it_foreign() {
        let host = fresh().with_file("/d/binlog.000002", &"x".repeat(300 << 10));
        assert!(matches!(look(&host).await, DataDirectory::Foreign { .. }));
    }

    #[tokio::test]
    async fn the_marker_tells_whose_it_is() {
        let ours = r#"{"format":1,"cluster":"prod","group":"group-1"}"#;
        let host = fresh()
            .with_file("/d/shop/t.ibd", "x")
            .with_file("/d/clusterctl.json", ours);
        assert_eq!(
            look(&host).await,
            DataDirectory::Ours {
                cluster: Some("prod".parse().unwrap())
            }
        );
        let other = fresh().with_file("/d/clusterctl.json", &ours.replace("group-1", "group-2"));
        assert!(matches!(look(&other).await, DataDirectory::Foreign { .. }));
        let broken = fresh().with_file("/d/clusterctl.json", "{");
        assert!(matches!(look(&broken).await, DataDirectory::Foreign { .. }));
    }
}
