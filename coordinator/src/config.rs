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
/// A shorter one would end before its renewal, two thirds later, could be repeated.
const SHORTEST_LIFE: Duration = Duration::from_secs(10);
const LONGEST_LIFE: Duration = Duration::from_secs(3650 * DAY);

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

/// Lives of certificates. The keys in days are those of earlier versions; each may stand instead of the newer ones.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Certificates {
    /// Agents.
    agent_life: Option<Life>,
    /// Coordinators.
    coordinator_life: Option<Life>,
    /// mysqld.
    server_life: Option<Life>,
    /// Operators, unless asked for otherwise.
    operator_life: Option<Life>,
    /// Agents and coordinators, in days.
    program_days: Option<u32>,
    /// mysqld, in days.
    mysqld_days: Option<u32>,
    /// Operators, in days.
    operator_days: Option<u32>,
}

/// A time with a unit, `30d`.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Debug)]
#[serde(try_from = "String")]
struct Life(Duration);

impl TryFrom<String> for Life {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let life = humantime::parse_duration(text.trim())
            .map_err(|_| format!("{text:?} is not a duration: write a number and a unit, as 90s, 12h or 30d"))?;
        Ok(Self(life))
    }
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

impl Certificates {
    /// Life of an agent's certificate.
    pub fn agent(&self) -> Duration {
        life(self.agent_life, self.program_days, 30)
    }

    /// Life of a coordinator's certificate.
    pub fn coordinator(&self) -> Duration {
        life(self.coordinator_life, self.program_days, 30)
    }

    /// Life of a mysqld's certificate.
    pub fn server(&self) -> Duration {
        life(self.server_life, self.mysqld_days, 365)
    }

    /// Life of an operator's certificate.
    pub fn operator(&self) -> Duration {
        life(self.operator_life, self.operator_days, 365)
    }

    /// What is wrong with them, and what would be right.
    fn check(&self) -> Result<(), (String, &'static str)> {
        for (key, life) in [
            ("agent_life", self.agent_life),
            ("coordinator_life", self.coordinator_life),
            ("server_life", self.server_life),
            ("operator_life", self.operator_life),
        ] {
            if let Some(Life(life)) = life
                && !(SHORTEST_LIFE..=LONGEST_LIFE).contains(&life)
            {
                let text = humantime::format_duration(life);
                return Err((
                    format!("certificates.{key} = \"{text}\" is out of range"),
                    "10s to 3650d",
                ));
            }
        }
        for (key, value, newer) in [
            (
                "program_days",
                self.program_days,
                self.agent_life
                    .and(self.coordinator_life)
                    .map(|_| "agent_life and coordinator_life"),
            ),
            ("mysqld_days", self.mysqld_days, self.server_life.map(|_| "server_life")),
            (
                "operator_days",
                self.operator_days,
                self.operator_life.map(|_| "operator_life"),
            ),
        ] {
            let Some(value) = value else { continue };
            if let Some(newer) = newer {
                let text = format!("certificates.{key} has no effect beside {newer}");
                return Err((text, "remove the key in days"));
            }
            if !(1..=3650).contains(&value) {
                return Err((
                    format!("certificates.{key} = {value} is out of range"),
                    "1 to 3650 days",
                ));
            }
        }
        Ok(())
    }
}

fn life(life: Option<Life>, in_days: Option<u32>, default_days: u32) -> Duration {
    life.map_or_else(|| days(in_days.unwrap_or(default_days)), |life| life.0)
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * DAY)
}

impl Config {
    /// Reads `coordinator.toml` of this directory; defaults where there is none.
    pub fn load(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join(FILE);
        let config: Self = settings::load_or_default(&path)?;
        config.certificates.check().map_err(|(what, hint)| {
            Failure::new("bad_settings", format!("{}: {what}", path.display()))
                .hint(hint)
                .exit(ExitClass::Usage)
        })?;
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
        assert!(config.is_ok_and(|config| config.listen.port() == 7441 && config.certificates.agent() == days(7)));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let failure = load("# comment\nlisen = \"0.0.0.0:1\"\n").expect_err("unknown key");
        assert!(failure.message.contains("line 2"), "{failure:?}");
        assert!(failure.hint.is_some_and(|hint| hint.contains("listen")));
        assert!(load("[certificates]\nmysqld_days = 0\n").is_err());
    }

    #[test]
    fn lives_are_configured_down_to_seconds() {
        let lives = |text: &str| load(&format!("[certificates]\n{text}")).map(|config| config.certificates);
        let all = |lives: Certificates| [lives.agent(), lives.coordinator(), lives.server(), lives.operator()];
        assert_eq!(lives("").map(all), Ok([days(30), days(30), days(365), days(365)]));
        let short =
            lives("agent_life = \"10s\"\ncoordinator_life = \"2m\"\nserver_life = \"12h\"\noperator_life = \"90d\"\n");
        let [agent, coordinator, server] = [10, 120, 43_200].map(Duration::from_secs);
        assert_eq!(short.map(all), Ok([agent, coordinator, server, days(90)]));
        // One key of an earlier version for two, of which one is named.
        let mixed = lives("agent_life = \"1h\"\nprogram_days = 7\n").map(all);
        assert_eq!(mixed, Ok([Duration::from_secs(3600), days(7), days(365), days(365)]));
        for (wrong, says) in [
            (
                "agent_life = \"9s\"",
                "certificates.agent_life = \"9s\" is out of range",
            ),
            ("server_life = \"4000d\"", "certificates.server_life"),
            ("operator_life = \"soon\"", "line 2: \"soon\" is not a duration"),
            ("agent_life = \"30\"", "write a number and a unit"),
            (
                "mysqld_days = 9\nserver_life = \"9d\"",
                "mysqld_days has no effect beside server_life",
            ),
            (
                "operator_days = 9999",
                "certificates.operator_days = 9999 is out of range",
            ),
        ] {
            let failure = lives(wrong).expect_err(wrong);
            assert!(failure.message.contains(says), "{wrong}: {failure:?}");
            assert_eq!(
                (failure.code.as_str(), failure.exit),
                ("bad_settings", ExitClass::Usage)
            );
        }
    }
}
