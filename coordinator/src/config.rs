//! `coordinator.toml`. Everything is optional.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::settings;
use serde::Deserialize;

/// Name of the file in the configuration directory.
pub const FILE: &str = "coordinator.toml";
/// Where it is unless told otherwise.
pub const DIRECTORY: &str = "/etc/clusterctl";
/// Where the data is unless told otherwise.
pub const DATA_DIRECTORY: &str = "/var/lib/clusterctl-coordinator";

const DAY: u64 = 24 * 3600;

/// Settings of the coordinator.
#[derive(Clone, PartialEq, Eq, Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen at.
    pub listen: SocketAddr,
    /// CA, identity and raft file.
    pub data_dir: PathBuf,
    /// Addresses that agents and operators are told, instead of those that `init` found.
    pub advertise: Vec<IpAddr>,
    /// Lives of certificates.
    pub certificates: Certificates,
}

/// Lives of certificates, in days.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Certificates {
    /// Agents and coordinators.
    pub program_days: u32,
    /// mysqld.
    pub mysqld_days: u32,
    /// Operators, unless asked for otherwise.
    pub operator_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], clusterctl_proto::tls::PORT)),
            data_dir: PathBuf::from(DATA_DIRECTORY),
            advertise: Vec::new(),
            certificates: Certificates::default(),
        }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            program_days: 30,
            mysqld_days: 365,
            operator_days: 365,
        }
    }
}

impl Certificates {
    /// Life of an agent's or coordinator's certificate.
    pub fn program(&self) -> Duration {
        days(self.program_days)
    }

    /// Life of a mysqld's certificate.
    pub fn mysqld(&self) -> Duration {
        days(self.mysqld_days)
    }

    /// Life of an operator's certificate.
    pub fn operator(&self) -> Duration {
        days(self.operator_days)
    }
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * DAY)
}

impl Config {
    /// Reads `coordinator.toml` of this directory; defaults where there is none.
    pub fn load(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join(FILE);
        let config: Self = settings::load_or_default(&path)?;
        for (key, value) in [
            ("program_days", config.certificates.program_days),
            ("mysqld_days", config.certificates.mysqld_days),
            ("operator_days", config.certificates.operator_days),
        ] {
            if !(1..=3650).contains(&value) {
                let message = format!("{}: certificates.{key} = {value} is out of range", path.display());
                return Err(Failure::new("bad_settings", message)
                    .hint("1 to 3650 days")
                    .exit(ExitClass::Usage));
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Failure> {
        let directory = tempfile::tempdir().expect("temporary directory");
        std::fs::write(directory.path().join(FILE), text).expect("written");
        Config::load(directory.path())
    }

    #[test]
    fn everything_is_optional() {
        assert_eq!(load(""), Ok(Config::default()));
        assert_eq!(Config::default().listen.port(), 7440);
        let config = load("listen = \"[::]:7441\"\nadvertise = [\"10.0.0.1\"]\n[certificates]\nprogram_days = 7\n");
        assert!(config.is_ok_and(|config| config.listen.port() == 7441 && config.certificates.program_days == 7));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let failure = load("# comment\nlisen = \"0.0.0.0:1\"\n").expect_err("unknown key");
        assert!(failure.message.contains("line 2"), "{failure:?}");
        assert!(failure.hint.is_some_and(|hint| hint.contains("listen")));
        assert!(load("[certificates]\nmysqld_days = 0\n").is_err());
    }
}
