//! What this agent needs to bring its server back into its group without an order: what the last entering step carried.
//!
//! Written by the steps `join_group`, `bootstrap_group` and (settings that change later) `persist`, removed by `leave_group`,
//! read by `keeper/`. It permits nothing: whether the server may enter is the ledger's alone (`Ledger::may_rejoin_alone`).

use std::path::{Path, PathBuf};

use clusterctl_proto::failure::Failure;
use clusterctl_proto::ids::ClusterName;
use clusterctl_proto::step::GroupConfig;
use serde::{Deserialize, Serialize};

use crate::host::{Access, Host, HostError};

const FORMAT: u32 = 1;
const FILE: &str = "membership.json";

/// The file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// Version of this file's form.
    pub format: u32,
    /// The cluster.
    pub cluster: ClusterName,
    /// Settings of the group and of this member, and its account.
    pub group: GroupConfig,
}

impl Membership {
    /// Of this cluster, with these settings.
    pub fn new(cluster: &ClusterName, group: &GroupConfig) -> Self {
        Self {
            format: FORMAT,
            cluster: cluster.clone(),
            group: group.clone(),
        }
    }

    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(FILE)
    }

    /// Reads it; none: this server is no member, or nothing that this version understands says so.
    pub async fn read(host: &dyn Host, state_dir: &Path) -> Result<Option<Self>, HostError> {
        let bytes = host.read(&Self::path(state_dir)).await?;
        Ok(bytes
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|found| found.format == FORMAT))
    }

    /// Writes it, if it is not so already.
    pub async fn keep(&self, host: &dyn Host, state_dir: &Path) -> Result<(), Failure> {
        if Self::read(host, state_dir).await?.as_ref() == Some(self) {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Failure::new("membership", e.to_string()))?;
        text.push(b'\n');
        Ok(host.write(&Self::path(state_dir), &text, &Access::Own(0o600)).await?)
    }

    /// This server is no member any more.
    pub async fn forget(host: &dyn Host, state_dir: &Path) -> Result<(), Failure> {
        host.remove(&Self::path(state_dir)).await?;
        Ok(())
    }

    /// Takes over values of settings that it holds already: the seeds change with every member that comes or goes.
    pub fn update(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            let known = self.group.variables.iter_mut();
            for (_, old) in known.filter(|(known, _)| known.eq_ignore_ascii_case(name)) {
                old.clone_from(value);
            }
        }
    }

    /// `host:port` of the other members, as they were last known.
    pub fn seeds(&self) -> Vec<String> {
        let name = "group_replication_group_seeds";
        let seeds = self
            .group
            .variables
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        seeds
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|seed| seed.contains(':'))
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
pub mod tests {
    use clusterctl_proto::step::MemberAccount;

    use super::*;
    use crate::host::fake::FakeHost;

    /// Of node1 in prod, with two seeds.
    pub fn sample() -> Membership {
        let account = MemberAccount {
            user: "mysql_innodb_cluster_1".into(),
            from: "%".into(),
            subject: "/CN=node1".into(),
            issuer: "/CN=clusterctl CA".into(),
        };
        let group = GroupConfig {
            group_name: "3e11fa47-71ca-11e1-9e33-c80aa9429562".parse().unwrap(),
            variables: vec![
                ("group_replication_local_address".into(), "node1:3306".into()),
                ("group_replication_group_seeds".into(), "node2:3306,node3:3306".into()),
            ],
            account,
        };
        Membership::new(&"prod".parse().unwrap(), &group)
    }

    #[tokio::test]
    async fn it_is_kept_privately_and_forgotten() {
        let (host, dir) = (FakeHost::new(), Path::new("/state"));
        assert_eq!(Membership::read(&host, dir).await.unwrap(), None);
        sample().keep(&host, dir).await.unwrap();
        assert_eq!(host.access("/state/membership.json"), Some(Access::Own(0o600)));
        assert_eq!(Membership::read(&host, dir).await.unwrap(), Some(sample()));
        Membership::forget(&host, dir).await.unwrap();
        assert_eq!(Membership::read(&host, dir).await.unwrap(), None);
    }

    #[tokio::test]
    async fn another_form_is_not_understood() {
        let host = FakeHost::new().with_file("/state/membership.json", "{\"format\":2}");
        assert_eq!(Membership::read(&host, Path::new("/state")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_older_agent_s_file_names_the_account_twice_and_is_understood() {
        let mut old = serde_json::to_value(sample()).unwrap();
        old["account"] = old["group"]["account"].clone();
        let host = FakeHost::new().with_file("/state/membership.json", &old.to_string());
        let read = Membership::read(&host, Path::new("/state")).await.unwrap();
        assert_eq!(read, Some(sample()));
    }

    #[test]
    fn later_settings_replace_known_ones_only() {
        let mut membership = sample();
        assert_eq!(membership.seeds(), ["node2:3306", "node3:3306"]);
        membership.update(&[
            ("group_replication_group_seeds".into(), "node2:3306".into()),
            ("auto_increment_offset".into(), "2".into()),
        ]);
        assert_eq!(membership.seeds(), ["node2:3306"]);
        assert_eq!(membership.group.variables.len(), 2);
    }
}
