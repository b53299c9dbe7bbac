//! `clusterctl-agent status`: what this host knows of itself, for whoever stands before it. Reads only.

use std::fmt::Write;

use clusterctl_proto::clock;
use clusterctl_proto::identity::Identity;
use clusterctl_proto::tls::Credentials;

use crate::config::Config;
use crate::enroll::Enrolment;
use crate::host::{Command, Host};
use crate::ledger::Ledger;
use crate::session::CONNECTED;

/// A few lines for people.
pub async fn text(config: &Config, host: &dyn Host) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        // writing to a string does not fail
        let _ = writeln!(out, "{name:<12} {value}");
    };
    match Enrolment::load(config) {
        Ok(Some(enrolment)) => {
            line(
                "enrolled",
                &format!("as {} (roles: {})", enrolment.host, enrolment.roles.join(", ")),
            );
            line("group", &enrolment.group);
            line("coordinators", &enrolment.endpoints.join(", "));
        }
        Ok(None) => line("enrolled", "no; clusterctl-agent enroll --token-file -"),
        Err(failure) => line("enrolled", &failure.to_string()),
    }
    match Credentials::load(&config.identity_dir()) {
        Ok(credentials) => {
            let (peer, facts) = (credentials.peer(), credentials.facts());
            let now = i64::try_from(clock::now_ms() / 1000).unwrap_or(i64::MAX);
            let again = match &peer.identity {
                Identity::Agent(host) if facts.not_after <= now => format!(
                    " (expired: clusterctl token create --host {host} --replace, then here: clusterctl-agent enroll --token-file -)"
                ),
                _ => String::new(),
            };
            line("certificate", &format!("{peer}, until {}{again}", facts.expires()));
        }
        Err(failure) => line("certificate", &failure.to_string()),
    }
    line("agent", &unit(host).await);
    if !config.state_dir.join("ledger.json").exists() {
        line("ledger", "none");
        return out;
    }
    let facts = Ledger::look(&config.state_dir);
    if facts.is_lost() {
        line(
            "ledger",
            "lost; rebuilt when the leading coordinator tells its committed index",
        );
    }
    if let Some(why) = &facts.unreadable {
        line("ledger", &format!("unreadable: {why}; no order is accepted"));
    }
    for (cluster, generation) in &facts.generations {
        let promise = facts
            .promises
            .get(cluster)
            .map_or_else(String::new, |promise| format!(", enters no group below {promise}"));
        line("ledger", &format!("{cluster}: newest order {generation}{promise}"));
    }
    out
}

/// State of the unit, and what the agent last said of its connection.
async fn unit(host: &dyn Host) -> String {
    match told(host).await {
        None => "unknown (no systemd here)".to_owned(),
        Some((state, _)) if state.is_empty() => "unknown".to_owned(),
        Some((state, text)) if text.is_empty() => state,
        Some((state, text)) => format!("{state}, {text}"),
    }
}

/// Whether the agent of this host has said that it is connected; else what it says.
pub async fn connected(host: &dyn Host) -> Result<(), String> {
    match told(host).await {
        Some((state, text)) if state == "active" && text.starts_with(CONNECTED) => Ok(()),
        Some((state, text)) if state == "active" && !text.is_empty() => Err(text),
        Some((state, _)) => Err(format!("the unit is {state}")),
        None => Err("systemd does not answer".to_owned()),
    }
}

/// `ActiveState` and `StatusText` of the unit.
async fn told(host: &dyn Host) -> Option<(String, String)> {
    let command =
        Command::new("systemctl").args(["show", "-p", "ActiveState,StatusText", "--", "clusterctl-agent.service"]);
    let output = command.run(host).await.ok()?;
    let get = |key: &str| {
        let found = output
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or("").to_owned()
    };
    Some((get("ActiveState"), get("StatusText")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn a_host_that_is_not_enrolled_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            state_dir: dir.path().to_owned(),
            ..Config::default()
        };
        let host = FakeHost::new().on("systemctl show", "ActiveState=inactive\nStatusText=\n");
        let text = text(&config, &host).await;
        assert!(text.contains("enrolled     no; clusterctl-agent enroll"), "{text}");
        assert!(text.contains("agent        inactive\n"), "{text}");
        assert!(text.contains("ledger       none\n"), "{text}");
    }
}
