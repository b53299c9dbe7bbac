//! Where the coordinators are and who we are to them: flag, environment, user's file, system's file, in this order.

use std::path::{Path, PathBuf};

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::settings;
use serde::Deserialize;

use crate::cli::Global;

/// What `clusterctl init` writes on the first host.
pub const SYSTEM_FILE: &str = "/etc/clusterctl/ctl.toml";

/// The configuration file.
#[derive(Deserialize, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct File {
    /// `ip:port` of every coordinator.
    #[serde(default)]
    endpoints: Vec<String>,
    /// CA's certificate; paths count from the file's folder, so that the folder can be copied as it is.
    #[serde(default = "ca")]
    ca: PathBuf,
    /// Operator's certificate.
    #[serde(default = "cert")]
    cert: PathBuf,
    /// Its key.
    #[serde(default = "key")]
    key: PathBuf,
}

fn ca() -> PathBuf {
    "ca.pem".into()
}

fn cert() -> PathBuf {
    "cert.pem".into()
}

fn key() -> PathBuf {
    "key.pem".into()
}

/// What follows from file and options.
#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file that was read.
    pub file: PathBuf,
    /// `ip:port` of every coordinator.
    pub endpoints: Vec<String>,
    /// CA's certificate.
    pub ca: PathBuf,
    /// Operator's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Finds and reads the configuration.
pub fn load(global: &Global) -> Result<Settings, Failure> {
    let file = match &global.config {
        Some(named) => named.clone(),
        None => find(&candidates())?,
    };
    let read: File = settings::load(&file).map_err(|err| unreadable(&file, err))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let endpoints = if global.endpoints.is_empty() {
        read.endpoints
    } else {
        global.endpoints.clone()
    };
    if endpoints.is_empty() {
        return Err(
            Failure::new("no_endpoints", format!("{} names no coordinator", file.display()))
                .hint("add the line endpoints = [\"ADDRESS:7440\"], or use --endpoint ADDRESS:7440")
                .exit(ExitClass::Usage),
        );
    }
    Ok(Settings {
        endpoints,
        ca: folder.join(read.ca),
        cert: folder.join(read.cert),
        key: folder.join(read.key),
        file,
    })
}

/// The user's file, then the system's.
fn candidates() -> Vec<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let user = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    let user = user.map(|folder| folder.join("clusterctl/config.toml"));
    user.into_iter().chain([PathBuf::from(SYSTEM_FILE)]).collect()
}

fn find(candidates: &[PathBuf]) -> Result<PathBuf, Failure> {
    // A file that may not be looked at counts as there: the error that follows says so, instead of "none found".
    let there = |path: &&PathBuf| path.try_exists().unwrap_or(true);
    if let Some(found) = candidates.iter().find(there) {
        return Ok(found.clone());
    }
    let mut failure = Failure::new(
        "no_configuration",
        "no configuration is found: no coordinator and no certificate are known",
    )
    .exit(ExitClass::Usage);
    failure.facts = candidates
        .iter()
        .map(|path| format!("looked for {}", path.display()))
        .collect();
    Err(failure.hint(
        "on the first host, as root: clusterctl init; elsewhere ask an admin for the folder that \
         `clusterctl operator create NAME --role operator --out DIR` makes, and use --config DIR/ctl.toml",
    ))
}

fn unreadable(file: &Path, error: settings::SettingsError) -> Failure {
    let denied = matches!(&error, settings::SettingsError::File(err)
        if err.source.kind() == std::io::ErrorKind::PermissionDenied);
    let missing = matches!(&error, settings::SettingsError::File(err) if err.is_missing());
    let failure = Failure::from(error);
    if denied {
        return failure.hint(group_hint()).exit(ExitClass::Denied);
    }
    if missing {
        let hint = format!(
            "is the path right? it was named by --config or CLUSTERCTL_CONFIG: {}",
            file.display()
        );
        return failure.hint(hint).exit(ExitClass::Usage);
    }
    failure
}

/// What a user needs who may not read the operator's files of this host.
pub fn group_hint() -> String {
    "run it with sudo, or let root add you to the group: usermod -aG clusterctl-admin USER (then log in again)"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_count_from_the_file_and_have_defaults() {
        let read: File = settings::parse(
            Path::new("x.toml"),
            "endpoints = [\"10.0.0.1:7440\"]\nkey = \"/k.pem\"\n",
        )
        .unwrap();
        let folder = Path::new("/etc/clusterctl");
        assert_eq!(folder.join(read.ca), Path::new("/etc/clusterctl/ca.pem"));
        assert_eq!(folder.join(read.key), Path::new("/k.pem"));
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let error = settings::parse::<File>(Path::new("x.toml"), "\nendpoint = []\n").unwrap_err();
        let failure = Failure::from(error);
        assert!(failure.message.contains("line 2"), "{failure}");
        assert_eq!(failure.hint.as_deref(), Some("did you mean `endpoints`?"));
    }

    #[test]
    fn without_a_file_every_place_is_named() {
        let failure = find(&["/nonexistent/a".into(), "/nonexistent/b".into()]).unwrap_err();
        assert_eq!(
            failure.facts,
            ["looked for /nonexistent/a", "looked for /nonexistent/b"]
        );
        assert!(failure.hint.unwrap().contains("clusterctl init"));
    }
}
