//! systemd units, by `systemctl`.
//!
//! Its properties are stable text; D-Bus would cost a large dependency. Too heavy for once a second: the observation asks
//! at most every few seconds.

use std::time::Duration;

use clusterctl_proto::failure::Failure;
use clusterctl_proto::observe::UnitState;

use super::{Command, Host, HostError};

/// mysqld may take long to stop or to recover: longer than systemd's own patience with mysql.service.
const JOB_TIMEOUT: Duration = Duration::from_secs(900);

/// What systemd knows of a unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unit {
    /// State, in our words.
    pub state: UnitState,
    /// Main process, 0 if none.
    pub main_pid: u32,
    /// How often systemd restarted it by itself.
    pub restarts: u32,
    /// Starts at boot.
    pub enabled: bool,
    /// Why it failed, `exit-code`.
    pub result: String,
}

/// Looks at a unit.
pub async fn unit(host: &dyn Host, name: &str) -> Result<Unit, HostError> {
    let command = Command::new("systemctl")
        .args([
            "show",
            "-p",
            "LoadState,ActiveState,MainPID,NRestarts,UnitFileState,Result",
            "--",
            name,
        ])
        .timeout(Duration::from_secs(5));
    Ok(parse(&command.checked(host).await?.stdout))
}

/// The first of these units that systemd knows.
pub async fn first_known<'a>(host: &dyn Host, names: &[&'a str]) -> Result<Option<(&'a str, Unit)>, HostError> {
    for name in names {
        let unit = unit(host, name).await?;
        if unit.state != UnitState::Absent {
            return Ok(Some((name, unit)));
        }
    }
    Ok(None)
}

fn parse(text: &str) -> Unit {
    let get = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .unwrap_or("")
    };
    let loaded = !matches!(get("LoadState"), "not-found" | "masked" | "");
    Unit {
        state: match (loaded, get("ActiveState")) {
            (_, "active") => UnitState::Running,
            (_, "activating" | "reloading") => UnitState::Starting,
            (_, "deactivating") => UnitState::Stopping,
            (false, _) => UnitState::Absent,
            (true, "failed") => UnitState::Failed,
            (true, _) => UnitState::Stopped,
        },
        main_pid: get("MainPID").parse().unwrap_or(0),
        restarts: get("NRestarts").parse().unwrap_or(0),
        enabled: matches!(get("UnitFileState"), "enabled" | "enabled-runtime" | "static"),
        result: get("Result").to_owned(),
    }
}

/// `systemctl start`; waits until it runs.
pub async fn start(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "start", unit).await
}

/// `systemctl stop`; waits until it has stopped.
pub async fn stop(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "stop", unit).await
}

/// `systemctl restart`; waits until it runs.
pub async fn restart(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "restart", unit).await
}

/// `systemctl enable`.
pub async fn enable(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "enable", unit).await
}

/// `systemctl disable`.
pub async fn disable(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "disable", unit).await
}

/// A unit that failed may be started again at once.
pub async fn reset_failed(host: &dyn Host, unit: &str) -> Result<(), Failure> {
    job(host, "reset-failed", unit).await
}

/// Unit files have changed.
pub async fn daemon_reload(host: &dyn Host) -> Result<(), Failure> {
    let command = Command::new("systemctl")
        .arg("daemon-reload")
        .timeout(Duration::from_secs(60));
    command.checked(host).await.map(drop).map_err(Failure::from)
}

async fn job(host: &dyn Host, verb: &str, name: &str) -> Result<(), Failure> {
    let command = Command::new("systemctl")
        .args(["--quiet", verb, "--", name])
        .timeout(JOB_TIMEOUT);
    let error = match command.checked(host).await {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let mut failure = Failure::from(error).hint(format!("journalctl -u {name} -n 50"));
    failure.code = format!("unit_{}", verb.replace('-', "_"));
    if matches!(verb, "start" | "restart") {
        for line in journal(host, name).await {
            failure = failure.fact(line);
        }
    }
    Err(failure)
}

/// Last lines that a unit logged, for the facts of a failure.
pub async fn journal(host: &dyn Host, unit: &str) -> Vec<String> {
    let command = Command::new("journalctl")
        .args(["-u", unit, "-n", "8", "--no-pager", "-o", "cat"])
        .timeout(Duration::from_secs(5));
    match command.run(host).await {
        Ok(output) if output.success() => output.stdout.lines().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read() {
        let text =
            "LoadState=loaded\nActiveState=active\nMainPID=42\nNRestarts=1\nUnitFileState=enabled\nResult=success\n";
        let unit = parse(text);
        assert_eq!(
            (unit.state, unit.main_pid, unit.restarts, unit.enabled),
            (UnitState::Running, 42, 1, true)
        );
        assert_eq!(
            parse("LoadState=not-found\nActiveState=inactive\n").state,
            UnitState::Absent
        );
        assert_eq!(parse("LoadState=loaded\nActiveState=failed\n").state, UnitState::Failed);
        assert_eq!(parse("").state, UnitState::Absent);
    }
}
