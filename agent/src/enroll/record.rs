//! `enrolment.json`: whose host this is and where its coordinators are. Read at every start of the agent.

use std::path::Path;

use clusterctl_proto::failure::{ExitClass, Failure};
use clusterctl_proto::files;
use clusterctl_proto::ids::HostName;
use clusterctl_proto::tls::Credentials;
use clusterctl_proto::wire::enrolment::EnrollReply;
use serde::{Deserialize, Serialize};

use crate::config::Config;

const FORMAT: u32 = 1;

/// What enrolment left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Enrolment {
    format: u32,
    /// The enrolled name.
    pub host: HostName,
    /// Id of the coordinator group.
    pub group: String,
    /// `ip:port` of the coordinators.
    pub endpoints: Vec<String>,
    /// `db`, `router`, `coordinator`.
    pub roles: Vec<String>,
}

impl Enrolment {
    /// From the coordinator's answer, which has been checked.
    pub fn new(credentials: &Credentials, reply: &EnrollReply) -> Result<Self, Failure> {
        let host = reply.host.parse().map_err(|error| {
            Failure::new(
                "bad_enrolment",
                format!("the coordinator's answer cannot be used: {error}"),
            )
        })?;
        if reply.endpoints.is_empty() {
            return Err(Failure::new(
                "bad_enrolment",
                "the coordinator's answer names no coordinator",
            ));
        }
        Ok(Self {
            format: FORMAT,
            host,
            group: credentials.peer().group.clone(),
            endpoints: reply.endpoints.clone(),
            roles: reply.roles.clone(),
        })
    }

    /// None: this host was never enrolled.
    pub fn load(config: &Config) -> Result<Option<Self>, Failure> {
        let path = config.enrolment_path();
        let text = match files::read_text_limited(&path, 1 << 20) {
            Ok(text) => text,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bad = |why: String| {
            Failure::new("bad_enrolment_file", format!("cannot use {}: {why}", path.display()))
                .hint("enrol this host again: clusterctl-agent enroll --token-file -")
                .exit(ExitClass::Denied)
        };
        let enrolment: Self = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if enrolment.format != FORMAT {
            return Err(bad(format!(
                "its format {} is not known to this version",
                enrolment.format
            )));
        }
        Ok(Some(enrolment))
    }

    /// Writes it, 0600.
    pub fn save(&self, config: &Config) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|e| Failure::new("bad_enrolment", format!("the enrolment cannot be written down: {e}")))?;
        text.push('\n');
        Ok(files::write_atomic(&config.enrolment_path(), text.as_bytes(), 0o600)?)
    }
}

/// Keeps a file of the group that is left, under another name.
pub fn set_aside(path: &Path) -> Result<(), Failure> {
    match std::fs::rename(path, path.with_extension("json.left-group")) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Failure::new(
            "file_error",
            format!("cannot set {} aside: {e}", path.display()),
        )),
    }
}
