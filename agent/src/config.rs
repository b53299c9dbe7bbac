//! `/etc/clusterctl/agent.toml`: what an administrator may set on one host. All of it has defaults; the file may be missing.

use std::path::{Path, PathBuf};

use clusterctl_proto::observe::PackageNames;
use serde::Deserialize;

/// Where the file is, unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/clusterctl/agent.toml";

/// The agent's settings.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Identity, ledger and secrets. Root only.
    pub state_dir: PathBuf,
    /// `info`, `debug`, `clusterctl_agent=debug,info`.
    pub log: String,
    /// Names of packages.
    pub packages: PackageNames,
    /// Content of a repository file (deb822 for apt, `.repo` for dnf) that is put in place before packages are installed.
    pub repository: Option<String>,
    /// The server on this host.
    pub mysql: MysqlConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/clusterctl".into(),
            log: "info".into(),
            packages: PackageNames::default(),
            repository: None,
            mysql: MysqlConfig::default(),
        }
    }
}

/// `[mysql]`: where the distribution put the server.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MysqlConfig {
    /// Units that may be the server's; the first that exists is.
    pub units: Vec<String>,
    /// Unix sockets; the first that exists is used.
    pub sockets: Vec<PathBuf>,
    /// User by which the agent enters over the socket (auth_socket).
    pub user: String,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Key and certificates of the server, outside the data directory.
    pub tls_dir: PathBuf,
    /// System user and group of the server.
    pub os_user: String,
}

impl Default for MysqlConfig {
    fn default() -> Self {
        Self {
            units: vec!["mysql.service".into(), "mysqld.service".into()],
            sockets: vec![
                "/run/mysqld/mysqld.sock".into(),
                "/var/run/mysqld/mysqld.sock".into(),
                "/var/lib/mysql/mysql.sock".into(),
            ],
            user: "root".into(),
            data_dir: "/var/lib/mysql".into(),
            tls_dir: "/etc/mysql/clusterctl".into(),
            os_user: "mysql".into(),
        }
    }
}

impl Config {
    /// Folder of the agent's own key and certificate.
    pub fn identity_dir(&self) -> PathBuf {
        self.state_dir.join("identity")
    }

    /// Where passwords that were born here are kept.
    pub fn secret_path(&self, name: &str) -> PathBuf {
        self.state_dir.join("secrets").join(name)
    }

    /// What enrolment left.
    pub fn enrolment_path(&self) -> PathBuf {
        self.state_dir.join("enrolment.json")
    }

    /// Whether this is the default place, which may be missing.
    pub fn is_default_path(path: &Path) -> bool {
        path == Path::new(DEFAULT_PATH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn package_names_can_be_set() {
        let text = "[packages]\nserver = [\"mysql-community-server\"]\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.packages.server, ["mysql-community-server"]);
        assert_eq!(config.packages.router, PackageNames::default().router);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Config>("stat_dir = \"/x\"\n").is_err());
    }
}
